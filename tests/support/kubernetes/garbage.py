"""What follows a deletion or a definition: owned objects go, namespaces empty, kinds are served.

It runs behind the requests, as on a real cluster: a test that wants its effect waits for it.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubernetes.definitions import ESTABLISHED
from tests.support.kubernetes.inside import Inside
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Change, Place

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(slots=True)
class Garbage:
    inside: Inside
    _changes: deque[Change] = field(default_factory=deque)
    _owned: dict[str, set[Place]] = field(default_factory=lambda: defaultdict(set))

    def __post_init__(self) -> None:
        self.inside.store.followers.append(self._changes)

    async def run(self) -> None:
        while True:
            while self._changes:
                self._follow(self._changes.popleft())
            await self.inside.store.changed()

    def _follow(self, change: Change) -> None:
        place = change.place
        if change.after is not None:
            for owner in change.after.metadata.get("ownerReferences") or ():
                self._owned[owner["uid"]].add(place)
        if place.plural == "customresourcedefinitions":
            self._define(change)
        if change.after is None:
            self._forsake(change)
        elif "deletionTimestamp" in change.after.metadata:
            self._progress(place)
        self._release_owners(change)
        self._empty(place.namespace or (place.name if place.plural == "namespaces" else ""))

    # --- owners -------------------------------------------------------------------------------

    def _forsake(self, change: Change) -> None:
        """Delete what the deleted one owned alone."""
        uid = change.last.metadata["uid"]
        for place in self._dependents(uid):
            self.inside.delete_at(place)
        self._owned.pop(uid, None)

    def _progress(self, place: Place) -> None:
        """Let a deletion go on that waits for what the object owns."""
        live = self.inside.store.get(place)
        if live is None:
            return
        finalizers = live.metadata.get("finalizers") or ()
        dependents = self._dependents(live.metadata["uid"])
        if ORPHAN in finalizers:
            for dependent in dependents:
                self._disown(dependent, live.metadata["uid"])
            self._without_finalizer(place, ORPHAN)
        elif FOREGROUND in finalizers:
            for dependent in dependents:
                self.inside.delete_at(dependent)
            if not self._dependents(live.metadata["uid"]):
                self._without_finalizer(place, FOREGROUND)

    def _release_owners(self, change: Change) -> None:
        """Look again at owners that wait for this one to be gone."""
        if change.after is not None:
            return
        for owner in change.last.metadata.get("ownerReferences") or ():
            self._owned[owner["uid"]].discard(change.place)
            for kind in self.inside.kinds:
                if kind.name == owner["kind"]:
                    namespace = change.place.namespace if kind.namespaced else ""
                    self._progress(Place(kind.group, kind.plural, namespace, owner["name"]))

    def _dependents(self, uid: str) -> list[Place]:
        return [
            place
            for place in sorted(self._owned.get(uid, ()))
            if (found := self.inside.store.get(place)) is not None
            and any(one["uid"] == uid for one in found.metadata.get("ownerReferences") or ())
        ]

    def _disown(self, place: Place, uid: str) -> None:
        found = self.inside.store.get(place)
        if found is None:
            return
        written = found.copied()
        owners = [one for one in written["metadata"]["ownerReferences"] if one["uid"] != uid]
        _set(written["metadata"], "ownerReferences", owners)
        self.inside.store.put(place, written)

    def _without_finalizer(self, place: Place, name: str) -> None:
        found = self.inside.store.get(place)
        if found is None:
            return
        written = found.copied()
        left = [one for one in written["metadata"].get("finalizers") or () if one != name]
        _set(written["metadata"], "finalizers", left)
        if left:
            self.inside.store.put(place, written)
        else:
            self.inside.store.remove(place)

    # --- namespaces and definitions -----------------------------------------------------------

    def _empty(self, name: str) -> None:
        """Let a terminating namespace go on: delete what is in it, then itself."""
        place = Place("", "namespaces", "", name)
        namespace = self.inside.store.get(place)
        if namespace is None or "deletionTimestamp" not in namespace.metadata:
            return
        content = [inner for inner, _ in self.inside.store.inside(name)]
        for inner in content:
            found = self.inside.store.get(inner)
            if found is not None and "deletionTimestamp" not in found.metadata:
                self.inside.delete_at(inner)
        if any(True for _ in self.inside.store.inside(name)):
            return
        written = namespace.copied()
        written["spec"].pop("finalizers", None)
        if written["metadata"].get("finalizers"):
            if namespace.object["spec"].get("finalizers"):
                self.inside.store.put(place, written)
        else:
            self.inside.store.remove(place)

    def _define(self, change: Change) -> None:
        if change.after is None:
            for kind in self.inside.kinds.forget(change.last.object):
                for place, _ in self.inside.store.all(kind.group, kind.plural):
                    self.inside.store.remove(place)
            return
        written = change.after.copied()
        self.inside.kinds.define(written)
        if written.get("status", {}).get("conditions"):
            return
        names = written["spec"]["names"]
        written["status"] = {
            "conditions": [dict(one) for one in ESTABLISHED],
            "acceptedNames": names,
            "storedVersions": ["v1"],
        }
        self.inside.store.put(change.place, written)


def _set(metadata: Object, key: str, value: list[Any]) -> None:
    if value:
        metadata[key] = value
    else:
        metadata.pop(key, None)
