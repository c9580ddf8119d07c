"""An object as it would be stored: with what the server sets, defaults filled in, and judged."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.kubernetes import checking, defaults, validation
from tests.support.kubernetes.answers import Refused, cause, invalid, not_found
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Place, Store, Stored, without

_SET_BY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


@dataclass(slots=True)
class Preparing:
    store: Store
    now: Callable[[], str]
    new_uid: Callable[[], str]
    webhooks: list[Callable[[Object], None]]  # admission: each may change what is written
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def prepared(self, request: Request, new: Object, live: Stored | None) -> Object:
        """The object as it would be stored: with what the server sets, defaults, and judged."""
        kind = request.kind
        metadata = {**(new.get("metadata") or {}), "name": request.name}
        if kind.namespaced:
            metadata["namespace"] = request.namespace
        old = {} if live is None else live.metadata
        for name in (*_SET_BY_SERVER, "generation", "resourceVersion"):
            metadata.pop(name, None)
            if name in old:
                metadata[name] = old[name]
        if live is None:
            metadata |= {"uid": self.new_uid(), "creationTimestamp": self.now()}
            self._admit(request)
            if kind.has_status:
                new = without(new, "status")
        new = {"apiVersion": kind.api_version, "kind": kind.name, **new, "metadata": metadata}
        new = _without_empty_metadata(new)
        if kind.custom:
            new = checking.filled(kind.schema, new)
        defaults.fill(kind.name, new)
        for change in self.webhooks:
            change(new)
        self._addressed(kind.name, new)
        causes = [*checking.broken(kind.schema, new)] if kind.custom else []
        causes += validation.broken_rules(kind.name, new, None if live is None else live.object)
        causes += _added_finalizers(metadata, old)
        if causes:
            raise invalid(kind.name, request.name, causes)
        return new

    def _admit(self, request: Request) -> None:
        """Refuse what would be created in a namespace that is not there, or on its way out."""
        if not request.kind.namespaced:
            return
        namespace = self.store.get(Place("", "namespaces", "", request.namespace))
        if namespace is None:
            raise not_found("namespaces", "", request.namespace)
        if "deletionTimestamp" in namespace.metadata:
            terminated = f"namespace {request.namespace} because it is being terminated"
            said = f"unable to create new content in {terminated}"
            why = cause(
                "NamespaceTerminating",
                "metadata.namespace",
                f"namespace {request.namespace} is being terminated",
            )
            raise Refused(
                403, f'{request.kind.qualified} "{request.name}" is forbidden: {said}', causes=[why]
            )

    def _addressed(self, kind: str, new: Object) -> None:
        spec = new.get("spec", {})
        if kind == "Service" and spec["type"] != "ExternalName" and not spec.get("clusterIP"):
            number = next(self._addresses)
            spec["clusterIP"] = f"10.96.{number // 250 % 250}.{number % 250 + 1}"
        if kind == "Service" and spec.get("clusterIP"):
            spec["clusterIPs"] = [spec["clusterIP"]]


def _without_empty_metadata(new: Object) -> Object:
    empty = [
        key
        for key in ("labels", "annotations", "finalizers", "ownerReferences")
        if key in new["metadata"] and not new["metadata"][key]
    ]
    return {**new, "metadata": without(new["metadata"], *empty)}


def _added_finalizers(metadata: Object, old: Object) -> list[dict[str, str]]:
    added = set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if "deletionTimestamp" not in metadata or not added:
        return []
    said = f"Forbidden: no new finalizers can be added while deleting, found {sorted(added)}"
    return [cause("FieldValueForbidden", "metadata.finalizers", said)]
