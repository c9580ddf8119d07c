"""The routes of one app on one target, for the router that the target has; pure.

They are rendered, and judged by what that router wrote into their status: of Gateway API whether it
accepts a route and finds its Services, of an Ingress by which addresses it is reached. Traefik's
own kinds have no status: there, what the cluster took is served.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from adapters.k8s.render.around import Door
from adapters.k8s.render.labels import Owner
from adapters.k8s.routes import gateway, ingress
from adapters.k8s.routes.asked import Asked, Routes
from adapters.k8s.routes.traefik import traefik_routes
from domain.names import app
from domain.routing import ClusterRouter, Routing
from projections.route_table import Backend
from reconcilers.object_ports import AppOrder, Json, ObjectKey, RouteView

_NOTHING: Final = Routes((), {}, {})
_COPYING: Final = frozenset({"gateway", "traefik"})
_RENDERERS: Final[Mapping[str, Callable[[Asked, ClusterRouter], Routes]]] = {
    "gateway": gateway.gateway_routes,
    "ingress": ingress.ingresses,
    "traefik": traefik_routes,
}


class Said(NamedTuple):
    """What a router has said of one object: what it has against it, or why that is not known."""

    refused: str = ""
    silent: str = ""


def routes(order: AppOrder, owner: Owner, routing: Routing) -> Routes:
    """The objects of an app's rows; none where the target has no router."""
    render = _RENDERERS.get(routing.router_for("k8s"))
    if render is None or not order.reach.rows:
        return _NOTHING
    stream = app(order.project, order.app).stream
    ports = {Backend(stream, order.uid, port.name): port.port for port in order.spec.ports}
    asked = Asked(owner, order.reach.rows, order.reach.beside, ports)
    return render(asked, routing.cluster or ClusterRouter())


def door(order: AppOrder, made: Routes, routing: Routing) -> Door | None:
    """Who of other namespaces is let in to which ports: the router, to those it leads to.

    And to those that it sends copies to of what it leads to other apps.
    """
    served = [row for row in order.reach.rows if row.id not in made.unserved]
    ports = {share.backend.port for row in served for share in row.shares if made.manifests}
    if routing.router_for("k8s") in _COPYING:
        ports |= order.reach.copied
    if not ports:
        return None
    cluster = routing.cluster or ClusterRouter()
    namespace = cluster.pods.namespace or cluster.gateway.namespace
    return Door(namespace, cluster.pods.labels, frozenset(ports))


def view(order: AppOrder, made: Routes, live: Sequence[Json]) -> RouteView:
    """How the app's URLs fare, as their objects show it."""
    seen = {ObjectKey.of(one): one for one in live}
    said = [_said(seen[one.key]) for one in made.manifests if one.key in seen]
    served = [row for row in order.reach.rows if row.id not in made.unserved and not row.redirect]
    return RouteView(
        urls=len(served),
        unserved=next(iter(made.unserved.values()), ""),
        refused=next((one.refused for one in said if one.refused), ""),
        silent=next((one.silent for one in said if one.silent), ""),
        notes="; ".join(dict.fromkeys(made.notes.values())),
    )


def _said(live: Json) -> Said:
    match live["kind"]:
        case "HTTPRoute":
            return next(_of_parents(live), Said())
        case "Ingress" if not _addresses(live):
            name = live.get("spec", {}).get("ingressClassName")
            return Said(
                silent=f"no controller has told an address of {ObjectKey.of(live)}: one of "
                f"{f'class {name}' if name else 'the default class'} has to run in the cluster; "
                "some never tell any"
            )
        case _:
            return Said()


def _of_parents(route: Json) -> Iterator[Said]:
    """What is said against a route, for each Gateway that it is attached to."""
    told = route.get("status", {}).get("parents") or ()
    for parent in route["spec"]["parentRefs"]:
        where = f"Gateway {parent['namespace']}/{parent['name']}"
        conditions = [
            condition
            for one in told
            if _is_of(one.get("parentRef", {}), parent, route["metadata"]["namespace"])
            for condition in one.get("conditions", ())
            if condition.get("observedGeneration", 0) >= route["metadata"].get("generation", 0)
        ]
        for condition in conditions:
            if condition["type"] in {"Accepted", "ResolvedRefs"} and condition["status"] == "False":
                said = f"{condition.get('reason', '')}: {condition.get('message', '')}"
                yield Said(refused=f"{where} refuses {ObjectKey.of(route)}: {said}")
        if not any(one["type"] == "Accepted" for one in conditions):
            yield Said(
                silent=f"{where} has not said that it takes {ObjectKey.of(route)}: it has to be "
                f"there, and its listener {parent['sectionName']!r} has to allow routes of "
                f"namespace {route['metadata']['namespace']}"
            )


def _is_of(told: Mapping[str, Any], parent: Json, namespace: str) -> bool:
    there = (told.get("namespace", namespace), told.get("name"), told.get("sectionName"))
    return there == (parent["namespace"], parent["name"], parent["sectionName"])


def _addresses(one: Json) -> Sequence[Json]:
    found: Sequence[Json] = one.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    return found
