"""Routes as Traefik's own kinds: `IngressRoute`, `Middleware`, `TraefikService`; pure."""

from collections.abc import Iterator
from typing import Final

from adapters.k8s.render.manifests import manifest
from adapters.k8s.routes.asked import (
    IDENTITY_HEADER,
    JSON,
    Asked,
    Routes,
    copies_to,
    name_of,
    notes_of,
    plain,
    reachable,
    service_of,
    spellings,
    where,
)
from adapters.k8s.routes.certificates import (
    certificates,
    lacks_certificate,
    name_of_certificate,
)
from adapters.traefik.rules import MOST_COPIED, compared, rule
from domain.routing import ClusterRouter
from projections.route_table import Mirror, Row
from reconcilers.object_ports import Manifest, Stage

_API: Final = "traefik.io/v1alpha1"
_ASKING: Final = "auth"
_NOTHING: Final[JSON] = {"kind": "TraefikService", "name": "noop@internal"}
_FIRST: Final = 1  # is added to precedences, which begin at 0: that is the length of a rule


def traefik_routes(asked: Asked, settings: ClusterRouter) -> Routes:
    reasons = {row.id: _reason(row, asked, settings) for row in asked.rows}
    served = [row for row in asked.rows if not reasons[row.id]]
    return Routes(
        (
            *certificates(served, asked),
            *(one for row in served for one in _objects(row, asked, settings)),
        ),
        {name: reason for name, reason in reasons.items() if reason},
        {row.id: note for row in served if (note := notes_of(row))},
    )


def _reason(row: Row, asked: Asked, settings: ClusterRouter) -> str:
    if row.auth != "off" and not (row.middlewares or row.verify or settings.traefik.verify):
        return (
            f"{where(row)} asks for auth {row.auth!r}, but nobody is named to its target who knows "
            "users; name one by spec.routing.cluster.traefik.verify, or for this domain by "
            "spec.routing.domains[].verify, or use auth off"
        )
    if row.tls is not None and row.tls.mode == "auto" and not settings.traefik.cert_resolver:
        return (
            f"{where(row)} asks for tls mode 'auto', but no certificate resolver of Traefik is "
            "named to its target; name one, or use tls mode internal"
        )
    if lacking := lacks_certificate(row, asked):
        return f"{where(row)} is not served: {lacking}"
    return reachable(row, asked)


def _objects(row: Row, asked: Asked, settings: ClusterRouter) -> Iterator[Manifest]:
    passed: list[JSON] = []  # in this order
    for name, spec in _middlewares(row, settings):
        if name == _ASKING and row.middlewares:
            passed += map(_reference, row.middlewares)
            continue
        passed.append({"name": name_of(row, asked.owner, name)})
        yield _object("Middleware", row, asked, spec, name)
    services = [_service(row, number, asked) for number in range(len(row.shares))]
    if len(services) > 1:
        yield _object("TraefikService", row, asked, {"weighted": {"services": services}})
        services = [{"kind": "TraefikService", "name": name_of(row, asked.owner)}]
    if row.mirror is not None and row.mirror.backend.uid:
        [served] = services
        name, spec = name_of(row, asked.owner, "mirrored"), _mirroring(row, row.mirror, served)
        yield _object("TraefikService", row, asked, spec, "mirrored")
        services = [{"kind": "TraefikService", "name": name}]
    if row.redirect:
        services = [_NOTHING]
    route = {
        "kind": "Rule",
        "match": rule(row),
        "priority": row.precedence + _FIRST,
        "middlewares": passed,
        "services": services,
    }
    shut = {
        "kind": "Rule",
        "match": rule(row),
        "priority": row.precedence + _FIRST - 1,
        "services": [_NOTHING],
    }
    is_secure = row.scheme == "https"
    routed: JSON = {
        "entryPoints": [settings.traefik.https if is_secure else settings.traefik.http],
        # Traefik drops a route with a middleware that it does not know: no wider one is to answer.
        "routes": [route, shut] if row.middlewares else [route],
    }
    if row.tls is not None and row.tls.mode == "auto":
        routed["tls"] = {"certResolver": settings.traefik.cert_resolver}
    elif row.tls is not None and row.tls.mode == "secret":
        routed["tls"] = {"secretName": name_of_certificate(row, asked)}
    elif is_secure:
        routed["tls"] = {"store": {"name": "default"}}
    yield _object("IngressRoute", row, asked, routed)


def _middlewares(row: Row, settings: ClusterRouter) -> Iterator[tuple[str, JSON]]:
    """What happens to requests on the way, in this order: a name, and the spec of that."""
    if row.redirect:
        yield "redirect", {"redirectScheme": {"scheme": "https", "permanent": True}}
        return
    yield "identity", {"headers": {"customRequestHeaders": dict.fromkeys(spellings(), "")}}
    if row.auth != "off":
        address = f"{row.verify or settings.traefik.verify}?auth={row.auth}"
        asking = {"address": address, "authResponseHeaders": [IDENTITY_HEADER]}
        yield _ASKING, {"forwardAuth": asking}
    if row.strip_prefix and row.path != "/":
        yield "strip", {"stripPrefix": {"prefixes": [compared(row.path)]}}
    if row.request_headers or row.response_headers:
        changed = {
            "customRequestHeaders": plain(row.request_headers),
            "customResponseHeaders": plain(row.response_headers),
        }
        yield "headers", {"headers": changed}


def _reference(middleware: str) -> JSON:
    """To one of the operator's; Traefik follows it where `allowCrossNamespace` is set."""
    namespace, _, name = middleware.partition("/")
    return {"name": name, "namespace": namespace}


def _service(row: Row, number: int, asked: Asked) -> JSON:
    share = row.shares[number]
    scheme = {"scheme": "h2c"} if row.h2c else {}
    weight = {"weight": share.weight} if len(row.shares) > 1 else {}
    return {"kind": "Service", **service_of(share, asked), **scheme, **weight}


def _mirroring(row: Row, mirror: Mirror, served: JSON) -> JSON:
    scheme = {"scheme": "h2c"} if row.h2c else {}
    copies = {"kind": "Service", **copies_to(mirror), **scheme, "percent": mirror.percent}
    return {"mirroring": {**served, "mirrors": [copies], "maxBodySize": MOST_COPIED}}


def _object(kind: str, row: Row, asked: Asked, spec: JSON, what: str = "") -> Manifest:
    name = name_of(row, asked.owner, what)
    return manifest(Stage.ROUTE, asked.owner, f"{_API} {kind}", name, {"spec": spec})
