"""The API as controllers inside the cluster use it: the writes of HTTP, as one manager."""

from dataclasses import dataclass, replace

from tests.support.kubernetes import requests
from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.deleting import Deleting
from tests.support.kubernetes.kinds import Kind, Kinds
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Place, Store, place_of
from tests.support.kubernetes.writing import Writing

_CONTROLLER = "kube-controller-manager"


@dataclass(slots=True)
class Inside:
    store: Store
    kinds: Kinds
    writing: Writing
    deleting: Deleting

    def kind_at(self, place: Place) -> Kind | None:
        for kind in self.kinds:
            if (kind.group, kind.plural) == place[:2]:
                return kind
        return None

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """A copy of an object."""
        found = self.store.get(place_of(self._named(kind), namespace, name))
        return None if found is None else found.copied()

    def all(self, kind: str, namespace: str = "") -> list[Object]:
        found = self._named(kind)
        return [one.object for _, one in self.store.all(found.group, found.plural, namespace)]

    def create(self, kind: str, namespace: str, body: Object) -> Object:
        request = self._request(kind, namespace, "", "create")
        return self.writing.create(replace(request, body=body)).object

    def patch(self, kind: str, namespace: str, name: str, patch: Object) -> None:
        """Merge-patch, if the object is (still) there."""
        self._patch(self._request(kind, namespace, name, "patch"), patch)

    def patch_status(self, kind: str, namespace: str, name: str, status: Object) -> None:
        """Set the whole status, if the object is (still) there."""
        request = self._request(kind, namespace, name, "patch")
        live = self.store.get(request.place)
        if live is None:
            return
        dropped = {key: None for key in live.object.get("status", {}) if key not in status}
        request = replace(request, subresource="status")
        self._patch(request, {"status": {**dropped, **status}})

    def annotate_status(self, kind: str, namespace: str, name: str, annotations: Object) -> None:
        """Annotate beside the status, which makes no new generation."""
        request = replace(self._request(kind, namespace, name, "patch"), subresource="status")
        self._patch(request, {"metadata": {"annotations": annotations}})

    def delete(self, kind: str, namespace: str, name: str, *, grace: int | None = None) -> None:
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        self._delete(replace(self._request(kind, namespace, name, "delete"), body=options))

    def delete_at(self, place: Place) -> None:
        """Delete whatever is at a place, if it is (still) there."""
        if (kind := self.kind_at(place)) is not None:
            self._delete(Request(verb="delete", kind=kind, namespace=place[2], name=place[3]))

    def event(self, about: Object, reason: str, message: str, *, kind: str = "Warning") -> None:
        """Record an Event about an object; a repeated one only counts."""
        metadata = about["metadata"]
        namespace = metadata["namespace"]
        name = f"{metadata['name']}.{reason.lower()}"
        if (before := self.get("Event", namespace, name)) is not None:
            self.patch("Event", namespace, name, {"count": before["count"] + 1, "message": message})
            return
        body = {
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": namespace,
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message,
            "type": kind,
            "count": 1,
            "firstTimestamp": self.writing.now(),
            "lastTimestamp": self.writing.now(),
            "source": {"component": _CONTROLLER},
        }
        self.create("Event", namespace, body)

    def _named(self, kind: str) -> Kind:
        return next(one for one in self.kinds if one.name == kind)  # built-in ones come first

    def _request(self, kind: str, namespace: str, name: str, verb: str) -> Request:
        return Request(
            verb=verb,
            kind=self._named(kind),
            namespace=namespace,
            name=name,
            user_agent=_CONTROLLER,
            content_type=requests.MERGE,
        )

    def _patch(self, request: Request, patch: Object) -> None:
        if self.store.get(request.place) is not None:
            self.writing.patch(replace(request, body=patch))

    def _delete(self, request: Request) -> None:
        try:
            self.deleting.delete(request)
        except Refused as refused:
            if refused.code != 404:
                raise
