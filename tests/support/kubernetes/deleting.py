"""How objects go: preconditions, grace, finalizers, propagation to what they own.

What a deletion leaves to be done afterwards (owned objects, the content of a namespace) is the work
of `tests.support.kubernetes.garbage`, as on a real cluster.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.answers import changed, not_found
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Place, Store, Stored

_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


@dataclass(slots=True)
class Deleting:
    store: Store
    now: Callable[[], str]

    def delete(self, request: Request) -> Object:
        """Delete one object; returns it while something holds it, else a success.

        Raises:
            Refused: 404; or 409, it is not the one that the preconditions name.
        """
        live = self.store.get(request.place)
        if live is None:
            raise not_found(request.kind.plural, request.kind.group, request.name)
        options: Object = request.body or {}
        self._expected(request, live, options.get("preconditions") or {})
        if request.dry:
            return _success(request, live)
        self._mark(request.place, live, request.kind.name, options | dict(request.query))
        left = self.store.get(request.place)
        return _success(request, live) if left is None else left.object

    def _expected(self, request: Request, live: Stored, preconditions: Object) -> None:
        for name, said in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted, there = preconditions.get(name), live.metadata[name]
            if wanted and wanted != there:
                why = f"Precondition failed: {said} in precondition: {wanted}, in object: {there}"
                raise changed(request.kind.qualified, request.name, why)

    def _mark(self, place: Place, live: Stored, kind: str, options: Any) -> None:
        written = live.copied()
        metadata = written["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        added = _FINALIZERS.get(options.get("propagationPolicy", ""))
        if added and added not in finalizers and "deletionTimestamp" not in metadata:
            finalizers.append(added)
        grace = _grace(kind, written, options)
        held = bool(finalizers) or grace > 0 or bool(_content(kind, written))
        if not held:
            self.store.remove(place)
            return
        if "deletionTimestamp" in metadata and metadata.get("deletionGracePeriodSeconds") == grace:
            return
        metadata.setdefault("deletionTimestamp", self.now())
        metadata["deletionGracePeriodSeconds"] = grace
        if finalizers:
            metadata["finalizers"] = finalizers
        if "generation" in metadata:
            metadata["generation"] += 1
        if kind == "Namespace":
            written.setdefault("status", {})["phase"] = "Terminating"
        self.store.put(place, written)


def _grace(kind: str, written: Object, options: Any) -> int:
    """Only a pod on a node has time to end; one that ended, or is on no node, goes at once."""
    if kind != "Pod" or not written["spec"].get("nodeName"):
        return 0
    if written.get("status", {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(written["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)


def _content(kind: str, written: Object) -> list[str]:
    """The finalizers of a namespace that hold it until it is empty."""
    return list(written["spec"].get("finalizers") or ()) if kind == "Namespace" else []


def _success(request: Request, live: Stored) -> Object:
    details = {"name": request.name, "kind": request.kind.plural, "uid": live.metadata["uid"]}
    if request.kind.group:
        details["group"] = request.kind.group
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }
