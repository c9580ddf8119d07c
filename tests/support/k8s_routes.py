"""Routes of an app of a cluster, as each router gets them."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from adapters.k8s.routes.asked import Asked, Routes
from adapters.k8s.routes.gateway import gateway_routes
from adapters.k8s.routes.ingress import ingresses
from adapters.k8s.routes.traefik import traefik_routes
from domain.routing import ClusterRouter, Gateway, IngressClass, TraefikEntries
from projections.route_table import Backend, Reach, RouteTable, Row, Share
from reconcilers.object_ports import AppOrder
from tests.support.k8s_orders import RENDERER
from tests.support.route_tables import API, EVERYTHING, FEATURE, STREAM, WEB, row

SETTINGS: Final = ClusterRouter(
    traefik=TraefikEntries(
        cert_resolver="le", verify="http://stateward.stateward:7440/auth/verify"
    ),
    ingress=IngressClass(issuer="le"),
    gateway=Gateway(mirror_percent=True),
)
PORTS: Final = {WEB: 80, FEATURE: 80, API: 8080, STREAM: 9000}
WAYS: Final[Mapping[str, Callable[[Asked, ClusterRouter], Routes]]] = {
    "gateway": gateway_routes,
    "traefik": traefik_routes,
    "ingress": ingresses,
}


def rendered(
    way: str, *rows: Row, table: RouteTable = EVERYTHING, settings: ClusterRouter = SETTINGS
) -> Routes:
    """Routes of the app `web`: these rows, or all of the table."""
    owner = RENDERER.owner("shop", "web", 17)
    return WAYS[way](Asked(owner, rows or table.rows, table.rows, PORTS), settings)


def reached(order: AppOrder, *rows: Row, port: str = "http") -> AppOrder:
    """The order of an app that has these rows, or one of its own host."""
    stream = f"App/{order.project}/{order.app}"
    shares = (Share(Backend(stream, order.uid, port), 1),)
    whole = rows or (row(f"{order.app}.example", "/", shares, "own"),)
    return msgspec.structs.replace(order, reach=Reach(whole, whole))
