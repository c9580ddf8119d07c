"""The router of a simulated cluster: by routes, Services and pods it says where requests go.

Routes and Services count at once; that a pod is ready, or on its way out, reaches requests when
`propagation` has passed. Routes are those of Gateway API; each gets the word of who serves it.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, final

from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.merging import Body
from simulation.cluster.nodes import Nodes, Pod
from simulation.cluster.store import Store

_ROUTE: Final = "HTTPRoute"


class Served(NamedTuple):
    """A URL that a route leads to a Service: `header` is that of a context, `name: value`."""

    host: str
    path: str
    header: str
    service: ObjectKey
    route: ObjectKey


@final
class Serving:
    def __init__(
        self, store: Store, nodes: Nodes, clock: Callable[[], float], propagation: float
    ) -> None:
        self._store, self._nodes, self._clock = store, nodes, clock
        self.propagation = propagation

    def step(self) -> None:
        """Say of each route whether it is taken, and finds its Services."""
        for key, body in self._store.all(_ROUTE):
            if "deletionTimestamp" not in body["metadata"]:
                self._store.set(key, {**body, "status": self._status(body)})

    def _status(self, route: Json) -> Body:
        lacks = [one.service for one in _urls(route) if self._store.get(one.service) is None]
        resolved = {"type": "ResolvedRefs", "status": str(not lacks)}
        if lacks:
            resolved |= {"reason": "BackendNotFound", "message": f"no {lacks[0]}"}
        told = [{"type": "Accepted", "status": "True"}, resolved]
        return {
            "parents": [
                {"parentRef": parent, "conditions": told}
                for parent in route["spec"].get("parentRefs", ())
            ]
        }

    def urls(self) -> Iterator[Served]:
        """What is served, in the order in which routes were made."""
        for _, body in self._store.all(_ROUTE):
            if "deletionTimestamp" not in body["metadata"]:
                yield from _urls(body)

    def behind(self, service: ObjectKey) -> list[Pod]:
        """The pods that a Service means, whatever they do; none if it is not there."""
        there = self._store.get(service)
        wanted = ((there or {}).get("spec", {}).get("selector") or {}).items()
        if not wanted:
            return []
        return [
            pod
            for key, pod in self._nodes.pods.items()
            if key.namespace == service.namespace and wanted <= self._labels(key).items()
        ]

    def _labels(self, pod: ObjectKey) -> Json:
        found: Json = (self._store.get(pod) or {}).get("metadata", {}).get("labels", {})
        return found

    def meets(self, pod: Pod) -> bool:
        """Whether a new request for its Services may be sent there now."""
        left = pod.left_at
        is_fading = left is not None and self._clock() < left + self.propagation
        return pod.ready_since is not None or is_fading

    def reaches(self, pod: Pod) -> bool:
        """Whether requests for its Services are sent there, wherever they come in."""
        since = pod.ready_since
        return since is not None and self._clock() >= since + self.propagation


def _urls(route: Json) -> Iterator[Served]:
    key, spec = ObjectKey.of(route), route["spec"]
    for host in spec.get("hostnames", ()):
        for rule in spec.get("rules", ()):
            for named in rule.get("backendRefs", ()):
                where = named.get("namespace", key.namespace)
                service = ObjectKey("v1", "Service", where, named["name"])
                for match in rule["matches"]:
                    headers = [f"{one['name']}: {one['value']}" for one in match.get("headers", ())]
                    path = match["path"]["value"]
                    yield Served(host, path, ", ".join(headers), service, key)
