"""Routes of an app of a cluster, as each router gets them."""

from collections.abc import Callable, Mapping
from typing import Final

from adapters.k8s.routes.asked import Asked, Routes, RouteSettings
from adapters.k8s.routes.gateway import gateway_routes
from adapters.k8s.routes.ingress import ingresses
from adapters.k8s.routes.traefik import traefik_routes
from projections.route_table import RouteTable, Row
from tests.support.k8s_orders import RENDERER
from tests.support.route_tables import API, EVERYTHING, FEATURE, STREAM, WEB

SETTINGS: Final = RouteSettings(
    cert_resolver="le", verify="http://stateward.stateward:7440/auth/verify", issuer="le"
)
PORTS: Final = {WEB: 80, FEATURE: 80, API: 8080, STREAM: 9000}
WAYS: Final[Mapping[str, Callable[[Asked, RouteSettings], Routes]]] = {
    "gateway": gateway_routes,
    "traefik": traefik_routes,
    "ingress": ingresses,
}


def rendered(
    way: str, *rows: Row, table: RouteTable = EVERYTHING, settings: RouteSettings = SETTINGS
) -> Routes:
    """Routes of the app `web`: these rows, or all of the table."""
    owner = RENDERER.owner("shop", "web", 17)
    return WAYS[way](Asked(owner, rows or table.rows, table.rows, PORTS), settings)
