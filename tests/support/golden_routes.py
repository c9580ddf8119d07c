"""Golden files of routers: what each is given for a table with everything that a row can say.

`make golden` writes them anew; look at the difference before you commit it.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from adapters.haproxy.config import Shape
from adapters.haproxy.disk import State, lines_of, told
from adapters.haproxy.limits import limits_met
from adapters.haproxy.pool import Pool
from adapters.haproxy.servers import configured
from adapters.haproxy.settings import HAProxySettings, Verify
from adapters.haproxy.wanted import Wanted, wanted
from adapters.traefik import limits as traefik_limits
from adapters.traefik import render as traefik_render
from adapters.traefik.certificates import Certificate
from adapters.traefik.settings import TraefikSettings
from domain.secret import SecretText
from projections.route_table import Endpoint, RouteTable
from tests.support.route_tables import API, EVERYTHING, FEATURE, STREAM, WEB, asked_by_domain

DIRECTORY: Final = Path(__file__).parents[1] / "routers" / "golden"
ENDPOINTS: Final = {
    WEB: (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 8080)),
    FEATURE: (Endpoint("10.0.0.3", 8080),),
    API: (Endpoint("127.0.0.1", 20001, 3), Endpoint("fd00::1", 20002)),
    STREAM: (Endpoint("10.0.0.4", 9000),),
}


def _haproxy() -> Wanted:
    settings = HAProxySettings(
        http=("0.0.0.0:80", ":::80"),
        https=("0.0.0.0:443",),
        verify=Verify("127.0.0.1:7440"),
        user="haproxy",
    )
    pool = Pool(sizes={"b": 8, "h": 2}, free=_free())
    state = State(pool=pool, shape=Shape(), slots={}, told=told(ENDPOINTS))
    unserved = limits_met(EVERYTHING.rows, has_https=True, knows_users=True)
    return wanted(settings, state, EVERYTHING, unserved)


def _free() -> tuple[str, ...]:
    return (*(f"b{number}" for number in range(1, 9)), "h1", "h2")


TRAEFIK: Final = TraefikSettings(
    https_port=8443, cert_resolver="le", verify="http://127.0.0.1:7440/auth/verify"
)


CERTIFICATE: Final = Certificate(
    "-----BEGIN CERTIFICATE-----\nof own.example\n-----END CERTIFICATE-----\n",
    SecretText("-----BEGIN PRIVATE KEY-----\nof own.example\n-----END PRIVATE KEY-----\n"),
)


def _traefik(table: RouteTable, *certificates: Certificate) -> str:
    unserved = traefik_limits.limits_met(table.rows, TRAEFIK, {})
    document = traefik_render.render(table, ENDPOINTS, TRAEFIK, unserved, certificates)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


CASES: Final[Mapping[str, Callable[[], str]]] = {
    "haproxy.cfg": lambda: _haproxy().configuration,
    "haproxy-backends.cfg": lambda: configured(_haproxy().slots),
    "haproxy-routes.map": lambda: lines_of(_haproxy().entries),
    "traefik.json": lambda: _traefik(EVERYTHING, CERTIFICATE),
    "traefik-domains.json": lambda: _traefik(asked_by_domain("login@file", "limit@docker")),
}


def text(name: str) -> str:
    """What is rendered now."""
    return CASES[name]()


def present(name: str) -> str:
    """What the golden file holds."""
    path = DIRECTORY / name
    return path.read_text() if path.exists() else ""


def names() -> list[str]:
    return sorted(path.name for path in DIRECTORY.iterdir())


def write() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for path in DIRECTORY.iterdir():
        path.unlink()
    for name in CASES:
        (DIRECTORY / name).write_text(text(name))


if __name__ == "__main__":
    write()
