"""A route table and its endpoints as the document that Traefik polls; pure.

It is never empty, for Traefik skips a document in which there is nothing and goes on with the last
one: a route for everything comes last, and answers 404. Priorities are numbers of ours, for without
one Traefik takes the length of a rule.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import product
from typing import Any, Final

import msgspec

from adapters.traefik.certificates import Certificate
from adapters.traefik.rules import EVERYTHING, MOST_COPIED, compared, rule
from adapters.traefik.settings import TraefikSettings
from projections.route_table import Backend, Endpoint, Endpoints, Header, RouteTable, Row, Share

JSON = dict[str, Any]

NOTHING: Final = "nothing"
"""The name of the last route, and of what it leads to."""

_LAST: Final = 1  # priority of the last route: 0 would mean the length of its rule
_FIRST: Final = 2  # is added to precedences, which begin at 0
_NOBODY: Final = ["0.0.0.0/32"]  # no client has this address
_UNSERVED: Final = "unserved"
_IDENTITY: Final = "no-identity"


def render(
    table: RouteTable,
    endpoints: Endpoints,
    settings: TraefikSettings,
    unserved: Mapping[str, str],
    certificates: Iterable[Certificate] = (),
) -> JSON:
    """Return the document; rows named by `unserved` answer 501.

    Traefik shows of `certificates` the one that names the host. Their keys are in it as they are.
    """
    routers: JSON = {}
    middlewares: JSON = {
        NOTHING: _refusing(404),
        _UNSERVED: _refusing(501),
        _IDENTITY: _without_identity(settings.identity_header),
    }
    services: JSON = {NOTHING: {"loadBalancer": {"servers": []}}}
    for row in table.rows:
        if row.id in unserved:
            chain, leads_to = [_UNSERVED], NOTHING
        else:
            asking, used = _asking(row, settings), _middlewares(row, settings)
            middlewares |= asking | used
            chain = [_IDENTITY, *(row.middlewares or asking), *used]
            leads_to = _copied(row, _service(row, endpoints, services), endpoints, services)
        routers[row.id] = _router(row, chain, leads_to, settings)
        if row.middlewares and row.id not in unserved:
            routers[f"{row.id}-shut"] = _shut(routers[row.id])
    routers[NOTHING] = {
        "rule": EVERYTHING,
        "entryPoints": [settings.http],
        "service": NOTHING,
        "priority": _LAST,
        "middlewares": [NOTHING],
    }
    routers[f"{NOTHING}-https"] = {
        **routers[NOTHING],
        "entryPoints": [settings.https],
        "tls": {},
    }
    http = {"routers": routers, "services": services, "middlewares": middlewares}
    shown = [{"certFile": one.chain, "keyFile": one.key.reveal()} for one in certificates]
    return {"http": http, "tls": {"certificates": shown}} if shown else {"http": http}


def _router(row: Row, chain: Iterable[str], leads_to: str, settings: TraefikSettings) -> JSON:
    router: JSON = {
        "rule": rule(row),
        "entryPoints": [settings.https if row.scheme == "https" else settings.http],
        "service": leads_to,
        "priority": row.precedence + _FIRST,
        "middlewares": list(chain),
    }
    if row.scheme == "https":
        is_issued = row.tls is not None and row.tls.mode == "auto" and settings.cert_resolver
        router["tls"] = {"certResolver": settings.cert_resolver} if is_issued else {}
    return router


def _shut(router: JSON) -> JSON:
    """What answers while Traefik does not know a middleware of the operator's.

    It drops such a router, and a wider one would let in whoever was to be asked.
    """
    below = {"priority": router["priority"] - 1, "middlewares": [_UNSERVED], "service": NOTHING}
    return {**router, **below}


def _asking(row: Row, settings: TraefikSettings) -> JSON:
    """Who asks about a row's users, by name; nobody of ours where the operator has his own."""
    if row.auth == "off" or row.middlewares:
        return {}
    own = f"-{blake2b(row.verify.encode(), digest_size=4).hexdigest()}" if row.verify else ""
    address = f"{row.verify or settings.verify}?auth={row.auth}"
    asks = {"address": address, "authResponseHeaders": [settings.identity_header]}
    return {f"auth-{row.auth}{own}": {"forwardAuth": asks}}


def _middlewares(row: Row, settings: TraefikSettings) -> JSON:
    """What else happens to a row's requests on the way, by name and in this order."""
    used: JSON = {}
    if row.redirect:
        port = {} if settings.https_port == 443 else {"port": str(settings.https_port)}
        used[f"{row.id}-redirect"] = {
            "redirectScheme": {"scheme": "https", "permanent": True, **port}
        }
    if row.strip_prefix and row.path != "/":
        used[f"{row.id}-strip"] = {"stripPrefix": {"prefixes": [compared(row.path)]}}
    if row.request_headers or row.response_headers:
        used[f"{row.id}-headers"] = {
            "headers": {
                "customRequestHeaders": _set(row.request_headers),
                "customResponseHeaders": _set(row.response_headers),
            }
        }
    return used


def _set(headers: Iterable[Header]) -> dict[str, str]:
    return {header.name: header.value for header in headers}


def _without_identity(header: str) -> JSON:
    """Take away what a client says about its user, however it spells it: `_` is `-` to some apps.

    An empty value is how Traefik says that a header goes.
    """
    parts = header.split("-")
    spellings = (
        "".join(map("".join, zip(parts, (*marks, ""), strict=True)))
        for marks in product("-_", repeat=len(parts) - 1)
    )
    return {"headers": {"customRequestHeaders": dict.fromkeys(spellings, "")}}


def _refusing(status: int) -> JSON:
    return {"ipAllowList": {"sourceRange": _NOBODY, "rejectStatusCode": status}}


# --- where requests go ------------------------------------------------------------------------


def _service(row: Row, endpoints: Endpoints, services: JSON) -> str:
    """Add what a row's requests need to `services`, and return its name."""
    if row.redirect:
        return NOTHING
    shares = _healthy(row.shares, endpoints) or _healthy(row.fallback, endpoints)
    scheme = _scheme(row)
    for share in shares:
        _add(share.backend, scheme, endpoints, services)
    if not shares:
        services[f"{row.id}-nobody"] = {"loadBalancer": {"servers": []}}
        return f"{row.id}-nobody"
    if len(shares) == 1:
        return _named(shares[0].backend, scheme)
    weighted = [{"name": _named(share.backend, scheme), "weight": share.weight} for share in shares]
    services[f"{row.id}-weighted"] = {"weighted": {"services": weighted}}
    return f"{row.id}-weighted"


def _copied(row: Row, leads_to: str, endpoints: Endpoints, services: JSON) -> str:
    """The name of what a row leads to, with somebody who gets copies, if that can be."""
    mirror = row.mirror
    if mirror is None or row.redirect or not endpoints.get(mirror.backend):
        return leads_to
    copies = _add(mirror.backend, _scheme(row), endpoints, services)
    services[f"{row.id}-mirrored"] = {
        "mirroring": {
            "service": leads_to,
            "mirrors": [{"name": copies, "percent": mirror.percent}],
            "maxBodySize": MOST_COPIED,
        }
    }
    return f"{row.id}-mirrored"


def _scheme(row: Row) -> str:
    return "h2c" if row.h2c else "http"


def _add(backend: Backend, scheme: str, endpoints: Endpoints, services: JSON) -> str:
    name = _named(backend, scheme)
    services[name] = {"loadBalancer": _servers(endpoints[backend], scheme)}
    return name


def _healthy(shares: Iterable[Share], endpoints: Endpoints) -> tuple[Share, ...]:
    return tuple(share for share in shares if share.weight and endpoints.get(share.backend))


def _named(backend: Backend, scheme: str) -> str:
    """Names in Traefik have no `@`; that of an app's stream would do, but reads badly."""
    place = backend.app.removeprefix("App/").replace("/", "-")
    suffix = "-h2c" if scheme == "h2c" else ""
    return f"{place}-{backend.uid}-{backend.port}{suffix}"


def _servers(endpoints: Iterable[Endpoint], scheme: str) -> JSON:
    servers = [
        {"url": f"{scheme}://{_bracketed(one.host)}:{one.number}", "weight": one.weight}
        for one in endpoints
    ]
    return {"servers": servers, "passHostHeader": True}


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def encoded(document: JSON) -> bytes:
    """The same for the same document, byte by byte."""
    return msgspec.json.encode(document, order="deterministic")
