"""The `scale` subresource: how many replicas, and nothing else."""

from dataclasses import dataclass

from tests.support.kubernetes import merging, requests
from tests.support.kubernetes.answers import Refused, not_found
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Store, Stored
from tests.support.kubernetes.writing import Writing, Written


@dataclass(slots=True)
class Scaling:
    store: Store
    writing: Writing

    def get(self, request: Request) -> Object:
        return _scale(self._live(request))

    def write(self, request: Request) -> Written:
        """Replace or merge-patch the scale, by `request.verb`."""
        live = self._live(request)
        if request.verb == "update":
            scale: Object = request.body
        elif request.content_type in {requests.MERGE, requests.STRATEGIC}:
            scale = merging.merge_patched(_scale(live), request.body)
        else:
            raise Refused(415, f"the scale cannot be patched by {request.content_type}")
        sent = live.copied()
        sent["spec"]["replicas"] = int(scale["spec"].get("replicas", 0))
        written = self.writing.update(request, live, sent)
        return Written(_scale(Stored(written)))

    def _live(self, request: Request) -> Stored:
        live = self.store.get(request.place)
        if live is None:
            raise not_found(request.kind.plural, request.kind.group, request.name)
        return live


def _scale(live: Stored) -> Object:
    written = live.object
    labels = (written["spec"].get("selector") or {}).get("matchLabels") or {}
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: live.metadata[name] for name in names},
        "spec": {"replicas": written["spec"].get("replicas", 0)},
        "status": {
            "replicas": written.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{key}={of}" for key, of in labels.items()),
        },
    }
