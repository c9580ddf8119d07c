"""Routes as `HTTPRoute` of Gateway API, attached to a Gateway that the operator has; pure.

Which rule answers is decided by the cluster: longer paths first, then more headers. A context that
comes before a longer path therefore asks for that path as well.
Source: gateway-api.sigs.k8s.io, the specification of HTTPRoute v1.
"""

import re
from collections.abc import Iterator
from itertools import batched
from typing import Final

from adapters.k8s.render.manifests import manifest
from adapters.k8s.routes.asked import (
    JSON,
    Asked,
    Routes,
    copies_to,
    longer_below,
    name_of,
    notes_of,
    reachable,
    service_of,
    spellings,
    stripped,
    where,
)
from domain.routing import ClusterRouter
from projections.route_table import Header, Mirror, Row
from reconcilers.object_ports import Manifest, Stage

KIND: Final = "gateway.networking.k8s.io/v1 HTTPRoute"
_GROUP: Final = "gateway.networking.k8s.io"
_RULES: Final = 16  # of one HTTPRoute
_PATH: Final = re.compile(r"(?!.*%2[fF])(?!.*//)(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")


def gateway_routes(asked: Asked, settings: ClusterRouter) -> Routes:
    unserved = {row.id: reason for row in asked.rows if (reason := _reason(row, asked))}
    served = [row for row in asked.rows if row.id not in unserved]
    return Routes(
        tuple(one for row in served for one in _routes(row, asked, settings)),
        unserved,
        {row.id: note for row in served if (note := _note(row, settings))},
    )


def _reason(row: Row, asked: Asked) -> str:
    if row.auth != "off":
        return (
            f"{where(row)} asks for auth {row.auth!r}, but Gateway API has no standard way to ask "
            "who a user is; use auth off, or the router traefik"
        )
    if row.h2c:
        return (
            f"{where(row)} speaks h2c to its app, which Gateway API leaves to each Service; "
            "use the router traefik"
        )
    for path in longer_below(row, asked.table):
        if _PATH.fullmatch(path) is None:
            return f"{where(row)} asks for the path {path!r}, which Gateway API does not take"
    return reachable(row, asked)


def _note(row: Row, settings: ClusterRouter) -> str:
    notes = [notes_of(row, _uncopied(row, settings))]
    if row.tls is not None:
        gateway = settings.gateway
        notes.append(
            f"{where(row)} shows the certificate of listener {gateway.https!r} of "
            f"Gateway {gateway.namespace}/{gateway.name}, whatever its tls mode says"
        )
    return "; ".join(note for note in notes if note)


def _uncopied(row: Row, settings: ClusterRouter) -> str:
    """Versions before 1.3 know no percentage, and would copy everything."""
    if row.mirror is None or row.mirror.percent == 100 or settings.gateway.mirror_percent:
        return ""
    return (
        f"a part of them ({row.mirror.percent} %) needs Gateway API 1.3: where the cluster has it, "
        "set spec.routing.cluster.gateway.mirrorPercent of the target; or ask for 100"
    )


def _routes(row: Row, asked: Asked, settings: ClusterRouter) -> Iterator[Manifest]:
    rules = [_rule(row, path, asked, settings) for path in longer_below(row, asked.table)]
    listener = settings.gateway.https if row.scheme == "https" else settings.gateway.http
    parent = {
        "group": _GROUP,
        "kind": "Gateway",
        "name": settings.gateway.name,
        "namespace": settings.gateway.namespace,
        "sectionName": listener,
    }
    for number, some in enumerate(batched(rules, _RULES)):
        spec = {"parentRefs": [parent], "hostnames": [row.host], "rules": list(some)}
        name = name_of(row, asked.owner, str(number) if number else "")
        yield manifest(Stage.ROUTE, asked.owner, KIND, name, {"spec": spec})


def _rule(row: Row, path: str, asked: Asked, settings: ClusterRouter) -> JSON:
    match: JSON = {"path": {"type": "PathPrefix", "value": path}}
    if row.context is not None:
        header = {"type": "Exact", "name": row.context.name, "value": row.context.value}
        match["headers"] = [header]
    rule: JSON = {"matches": [match], "filters": list(_filters(row, path))}
    if row.mirror is not None and row.mirror.backend.uid and not _uncopied(row, settings):
        rule["filters"].append(_copying(row.mirror))
    if not row.redirect:
        rule["backendRefs"] = [
            {"group": "", "kind": "Service", **service_of(share, asked), "weight": share.weight}
            for share in row.shares
        ]
    return rule


def _filters(row: Row, path: str) -> Iterator[JSON]:
    if row.redirect:
        redirect = {"scheme": "https", "statusCode": 301}
        yield {"type": "RequestRedirect", "requestRedirect": redirect}
        return
    gone = [*spellings(), *(one.name for one in row.request_headers if not one.value)]
    changed = {"set": _values(row.request_headers), "remove": gone}
    yield {"type": "RequestHeaderModifier", "requestHeaderModifier": changed}
    if row.response_headers:
        gone = [one.name for one in row.response_headers if not one.value]
        changed = {"set": _values(row.response_headers), "remove": gone}
        yield {"type": "ResponseHeaderModifier", "responseHeaderModifier": changed}
    if row.strip_prefix and row.path != "/":
        replaced = {
            "type": "ReplacePrefixMatch",
            "replacePrefixMatch": stripped(path, row.path),
        }
        yield {"type": "URLRewrite", "urlRewrite": {"path": replaced}}


def _copying(mirror: Mirror) -> JSON:
    copied: JSON = {"backendRef": {"group": "", "kind": "Service", **copies_to(mirror)}}
    if mirror.percent < 100:
        copied["percent"] = mirror.percent
    return {"type": "RequestMirror", "requestMirror": copied}


def _values(headers: tuple[Header, ...]) -> list[JSON]:
    return [{"name": one.name, "value": one.value} for one in headers if one.value]
