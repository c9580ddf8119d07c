"""The objects of a simulated cluster, as its API server keeps them.

Each write makes a new body and a new version; bodies are never changed in place, so that whoever
holds one holds what was true then. Those who follow are told of every change, in order.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, final

from reconcilers.object_ports import Json, ObjectChanged, ObjectKey, ObjectRefused
from simulation.cluster.merging import Body, fields, merged, without
from simulation.program import ImpossibleWorld

_NOT_SPEC: Final = frozenset({"status", "metadata"})
_COUNTED: Final = frozenset({"Deployment", "StatefulSet"})  # kinds that have a generation
_FIXED: Final = ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy")


class Change(NamedTuple):
    """What an object was and is; None: it was, or is, not there."""

    key: ObjectKey
    before: Json | None
    after: Json | None
    version: int


@dataclass(slots=True)
class _Stored:
    body: Json
    owned: dict[str, Body] = field(default_factory=dict)  # by manager


@final
class Store:
    """The truth. `followers` are told of each change, after it."""

    def __init__(self) -> None:
        self._stored: dict[ObjectKey, _Stored] = {}
        self._of_kind: defaultdict[str, dict[ObjectKey, _Stored]] = defaultdict(dict)
        self.followers: list[Callable[[Change], None]] = []
        self.version = 0
        self._uids = 0

    # -- looking ------------------------------------------------------------------------------

    def get(self, key: ObjectKey) -> Json | None:
        found = self._stored.get(key)
        return None if found is None else found.body

    def all(self, *kinds: str) -> Iterator[tuple[ObjectKey, Json]]:
        """Objects of some kinds, or all, in the order of their making."""
        among = self._of_kind[kinds[0]] if len(kinds) == 1 else self._stored
        for key, one in list(among.items()):
            if not kinds or key.kind in kinds:
                yield key, one.body

    def within(self, namespace: str) -> list[ObjectKey]:
        return [key for key in self._stored if key.namespace == namespace]

    # -- writing ------------------------------------------------------------------------------

    def apply(self, body: Json, manager: str, uid: str | None, *, dry: bool = False) -> Json:
        """Server-side apply, by force; raises as `ObjectEngine.apply` says."""
        key = ObjectKey.of(body)
        there = self._stored.get(key)
        if uid is not None and (there is None or there.body["metadata"]["uid"] != uid):
            raise ObjectChanged(f"409: {key} has not the uid {uid} any more")
        if there is None:
            self._check_home(key)
            made = self._born(key, body)
            return made if dry else self._put(key, _Stored(made, {manager: {**body}}))
        live = merged(there.body, body, there.owned.get(manager, {}))
        fixed = _FIXED if key.kind in _COUNTED else ()
        if any(_spec(live).get(name) != _spec(there.body).get(name) for name in fixed):
            raise ObjectRefused(f"422: a fixed field of {key} would change")
        owned = {who: without(owns, body) for who, owns in there.owned.items() if who != manager}
        owned = {who: owns for who, owns in owned.items() if owns} | {manager: {**body}}
        return live if dry else self._update(key, live, owned)

    def edit(self, key: ObjectKey, changes: Body, manager: str) -> None:
        """Somebody else changes fields of an object, and owns them from now on."""
        there = self._there(key)
        ours = {who: without(owns, changes) for who, owns in there.owned.items()}
        owned = {**ours, manager: merged(there.owned.get(manager, {}), changes, {})}
        self._update(key, merged(there.body, changes, {}), owned)

    def make(self, body: Json) -> Json:
        """A controller of the cluster makes an object."""
        key = ObjectKey.of(body)
        if key in self._stored:
            raise ImpossibleWorld(f"{key} is made twice")
        return self._put(key, _Stored(self._born(key, body)))

    def set(self, key: ObjectKey, body: Json) -> None:
        """A controller of the cluster changes an object, if that is a change."""
        there = self._there(key)
        if body != there.body:
            self._update(key, body, there.owned)

    def end(self, key: ObjectKey, at: str) -> None:
        """It is on its way out: whoever holds it back removes it later."""
        body = self._there(key).body
        if "deletionTimestamp" not in body["metadata"]:
            self.set(key, {**body, "metadata": {**body["metadata"], "deletionTimestamp": at}})

    def remove(self, key: ObjectKey) -> None:
        """It is gone. Twice is as once."""
        gone = self._stored.pop(key, None)
        if gone is not None:
            del self._of_kind[key.kind][key]
            self.version += 1
            self._tell(Change(key, gone.body, None, self.version))

    def _there(self, key: ObjectKey) -> _Stored:
        found = self._stored.get(key)
        if found is None:
            raise ImpossibleWorld(f"{key} is not there")
        return found

    def _check_home(self, key: ObjectKey) -> None:
        if not key.namespace:
            return
        home = self.get(ObjectKey("v1", "Namespace", "", key.namespace))
        if home is None:
            raise ObjectChanged(f"404: namespace {key.namespace} is not there")
        if "deletionTimestamp" in home["metadata"]:
            raise ObjectChanged(f"403: namespace {key.namespace} is being terminated")

    def _born(self, key: ObjectKey, body: Json) -> Body:
        self._uids += 1
        made = merged({}, body, {})
        made["metadata"] = {**body["metadata"], "uid": f"uid-{self._uids}"}
        if key.kind in _COUNTED:
            made["metadata"]["generation"] = 1
            made["spec"] = {"replicas": 1, **made["spec"]}
        return made

    def _update(self, key: ObjectKey, body: Json, owned: dict[str, Body]) -> Json:
        there = self._there(key)
        others = [
            {"manager": who, "operation": "Update", "fieldsV1": fields(owns)}
            for who, owns in sorted(owned.items())
            if not who.startswith("stateward") and owns
        ]
        metadata = {n: v for n, v in body["metadata"].items() if n != "managedFields"}
        if others:
            metadata["managedFields"] = others
        changed = {**body, "metadata": metadata}
        if changed == there.body:
            there.owned = owned
            return there.body
        if key.kind in _COUNTED and _counted(changed) != _counted(there.body):
            metadata["generation"] = there.body["metadata"]["generation"] + 1
        return self._put(key, _Stored(changed, owned))

    def _put(self, key: ObjectKey, stored: _Stored) -> Json:
        before = self._stored.get(key)
        self.version += 1
        metadata = {**stored.body["metadata"], "resourceVersion": str(self.version)}
        stored.body = {**stored.body, "metadata": metadata}
        self._stored[key] = self._of_kind[key.kind][key] = stored
        was = None if before is None else before.body
        self._tell(Change(key, was, stored.body, self.version))
        return stored.body

    def _tell(self, change: Change) -> None:
        for follower in list(self.followers):
            follower(change)


def _spec(body: Json) -> Mapping[str, Any]:
    found: Mapping[str, Any] = body.get("spec") or {}
    return found


def _counted(body: Json) -> Body:
    return {name: value for name, value in body.items() if name not in _NOT_SPEC}
