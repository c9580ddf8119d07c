"""The renderer of one target: what an app and a project are there, ordered by stage."""

from collections.abc import Callable, Sequence
from typing import Final, final, override

from adapters.k8s import viewing
from adapters.k8s.render import around, projects
from adapters.k8s.render.labels import Owner
from adapters.k8s.render.variables import variables
from adapters.k8s.render.workloads import claims, workload
from adapters.k8s.routes.routing import door, routes
from adapters.k8s.routes.routing import view as route_view
from domain.routing import Routing
from domain.target import K8sSettings
from reconcilers.object_ports import (
    AppOrder,
    Json,
    Manifest,
    ObjectRenderer,
    ObjectView,
    ProjectOrder,
    RouteView,
)

KEPT: Final = 256  # owners whose last objects are remembered, of about 20 kB each

type _Order = AppOrder | ProjectOrder


@final
class KubernetesRenderer(ObjectRenderer):
    """Pure: the same order gives the same objects, byte for byte."""

    def __init__(
        self,
        installation: str,
        target: str,
        settings: K8sSettings,
        routing: Routing | None = None,
    ) -> None:
        self._installation, self._target, self._settings = installation, target, settings
        self._routing = routing or Routing()
        self._last: dict[tuple[str, str], tuple[_Order, tuple[Manifest, ...]]] = {}

    @override
    def app(self, order: AppOrder) -> tuple[Manifest, ...]:
        return self._remembered((order.project, order.app), order, lambda: self._app(order))

    @override
    def project(self, order: ProjectOrder) -> tuple[Manifest, ...]:
        return self._remembered((order.project, ""), order, lambda: self._project(order))

    def _remembered(
        self, name: tuple[str, str], order: _Order, render: Callable[[], tuple[Manifest, ...]]
    ) -> tuple[Manifest, ...]:
        """A pass over an app asks for the same again and again while the cluster moves."""
        known = self._last.pop(name, None)
        rendered = known[1] if known is not None and known[0] == order else render()
        self._last[name] = order, rendered
        if len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
        return rendered

    def _app(self, order: AppOrder) -> tuple[Manifest, ...]:
        owner = self.owner(order.project, order.app, order.uid)
        told = variables(order, owner)
        made = routes(order, owner, self._routing)
        runs = workload(order, owner, told, user_namespaces=self._settings.user_namespaces)
        return _ordered(
            around.set_parent(owner),
            around.account(owner),
            *around.isolation(order, owner, door(order, made, self._routing)),
            *told.objects,
            *claims(order, owner),
            runs,
            *around.services(order, owner),
            *around.disruption(order, owner),
            *around.autoscaler(order, owner),
            *made.manifests,
        )

    def _project(self, order: ProjectOrder) -> tuple[Manifest, ...]:
        owner = self.owner(order.project, "", order.uid)
        return _ordered(
            projects.namespace(owner),
            around.set_parent(owner),
            *projects.bounds(owner),
            *projects.doors(owner),
        )

    @override
    def view(self, live: Sequence[Json], app: str) -> ObjectView:
        return viewing.view(live, app)

    @override
    def routed(self, order: AppOrder, live: Sequence[Json]) -> RouteView:
        if not order.reach.rows:
            return RouteView()
        owner = self.owner(order.project, order.app, order.uid)
        return route_view(order, routes(order, owner, self._routing), live)

    def owner(self, project: str, app: str, uid: int) -> Owner:
        """Whose the objects of an app are, or (`app` empty) those that a project shares."""
        namespace = f"{self._settings.namespace_prefix}{project}"
        return Owner(self._installation, self._target, namespace, project, app, uid)


def _ordered(*manifests: Manifest) -> tuple[Manifest, ...]:
    return tuple(sorted(manifests, key=lambda manifest: manifest.stage))
