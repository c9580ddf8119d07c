"""A cluster for tests of plans: what each action does when nothing goes wrong, in a few lines.

Fields belong to who applied them, as on a server: one that its last manager lets go of is gone.
A server's own rules are those of the fake API server; this one only knows objects, uids and ends.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from adapters.k8s.render.manifests import sent
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_labels import PART_OF
from reconcilers.object_planning import Plan, Whose, plan
from reconcilers.object_ports import Json, Manifest, ObjectKey
from tests.support.k8s_orders import INSTALLATION

type Body = dict[str, Any]


def whose(manifests: tuple[Manifest, ...]) -> Whose:
    """The owner of rendered objects."""
    labels = [manifest.body["metadata"]["labels"] for manifest in manifests]
    return Whose(INSTALLATION, "prod", next(one[PART_OF] for one in labels if PART_OF in one))


@dataclass
class Cluster:
    """`rolls_out`: workloads are at once as they should be; else they stay as they were made."""

    rolls_out: bool = True
    applied: dict[ObjectKey, dict[str, Body]] = field(default_factory=dict)
    uids: dict[ObjectKey, str] = field(default_factory=dict)
    others: dict[ObjectKey, Body] = field(default_factory=dict)  # what others put on top
    made: list[Body] = field(default_factory=list)  # by the cluster itself
    ending: set[ObjectKey] = field(default_factory=set)
    writes: int = 0

    def execute(self, action: Action) -> None:
        self.writes += 1
        if isinstance(action, DeleteObject):
            assert self.uids[action.key] == action.uid, "a uid that is not that of the object"
            self.remove(action.key)
            return
        assert self.uids.get(action.key) == action.uid
        self._apply(action)

    def _apply(self, action: ApplyObject) -> None:
        key = action.key
        body = deepcopy(sent(action.manifest, 42))
        self.uids.setdefault(key, f"uid-{len(self.uids)}-{self.writes}")
        self.applied.setdefault(key, {})[action.manager] = body
        if action.because == "edited":
            self.others.pop(key, None)

    def remove(self, key: ObjectKey) -> None:
        for owned in (self.applied, self.uids, self.others):
            owned.pop(key, None)

    def live(self) -> list[Json]:
        return [*(self._body(key) for key in self.applied), *map(deepcopy, self.made)]

    def find(self, kind: str) -> Json:
        [found] = [one for one in self.live() if one["kind"] == kind]
        return found

    def _body(self, key: ObjectKey) -> Body:
        body: Body = {}
        for manager in sorted(self.applied[key], reverse=True):
            merge(body, self.applied[key][manager])
        if "spec" in body and key.kind in {"Deployment", "StatefulSet"}:
            body["spec"].setdefault("replicas", 1)
            body["metadata"]["generation"] = 1
            count = body["spec"]["replicas"]
            body["status"] = {"observedGeneration": 1}
            if self.rolls_out:
                body["status"] |= {"updatedReplicas": count, "availableReplicas": count}
        merge(body, self.others.get(key, {}))
        body["metadata"]["uid"] = self.uids[key]
        if key in self.ending:
            body["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
        return body


def merge(into: Body, other: Mapping[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            merge(into[name], value)
        elif value is None:
            into.pop(name, None)
        else:
            into[name] = deepcopy(value)


def converge(cluster: Cluster, wanted: tuple[Manifest, ...], *, stop_after: int = 99) -> Plan:
    """Plan and act until nothing is left to do, or `stop_after` actions; return the last plan."""
    owner = whose(wanted)
    for _ in range(4):
        found = plan(wanted, cluster.live(), owner)
        for action in found.actions[:stop_after]:
            cluster.execute(action)
        stop_after -= len(found.actions)
        if not found.actions or stop_after < 0:
            return found
    raise AssertionError("it does not come to rest")
