"""Routes as `Ingress`, for clusters that have nothing better; pure.

An Ingress leads a host and a path to one Service, and that is all: what more a row asks for is
said, and such a row is not served, since it would be served wrongly.
"""

from collections.abc import Iterator
from typing import Final

from adapters.k8s.render.manifests import given, manifest
from adapters.k8s.routes.asked import (
    JSON,
    Asked,
    Routes,
    name_of,
    notes_of,
    reachable,
    service_of,
    where,
)
from domain.routing import ClusterRouter
from projections.route_table import Row
from reconcilers.object_ports import Manifest, Stage

KIND: Final = "networking.k8s.io/v1 Ingress"
_ISSUER: Final = "cert-manager.io/cluster-issuer"
_BETTER: Final = "use the router gateway or traefik"


def ingresses(asked: Asked, settings: ClusterRouter) -> Routes:
    """Redirects are none of an Ingress: its controller redirects, or does not, for all."""
    reasons = {row.id: _reason(row, asked, settings) for row in asked.rows}
    served = [row for row in asked.rows if not reasons[row.id] and not row.redirect]
    return Routes(
        tuple(one for row in served for one in _ingress(row, asked, settings)),
        {name: reason for name, reason in reasons.items() if reason},
        {row.id: note for row in asked.rows if (note := _note(row))},
    )


def _reason(row: Row, asked: Asked, settings: ClusterRouter) -> str:
    wanted = {
        "a context: give the feature a host of its own": row.context is not None,
        "a part of the requests": len([one for one in row.shares if one.weight]) > 1,
        "stripping a prefix": row.strip_prefix and row.path != "/",
        "setting headers": bool(row.request_headers or row.response_headers),
        f"auth {row.auth!r}": row.auth != "off",
        "h2c": row.h2c,
    }
    missing = [name for name, is_wanted in wanted.items() if is_wanted]
    if missing:
        return f"{where(row)} asks an Ingress for {', '.join(missing)}, which it has not; {_BETTER}"
    if row.tls is not None and row.tls.mode == "auto" and not settings.ingress.issuer:
        return (
            f"{where(row)} asks for tls mode 'auto', but no issuer of cert-manager is named to its "
            "target; name one, or use tls mode internal"
        )
    if row.tls is not None and row.tls.mode == "secret":
        return (
            f"{where(row)} shows a certificate of {row.tls.secret}, which is not brought into the "
            "cluster; use tls mode auto with an issuer, or internal"
        )
    return "" if row.redirect else reachable(row, asked)


def _note(row: Row) -> str:
    if row.redirect:
        return f"{where(row)} is redirected only if the cluster's Ingress controller does so"
    return notes_of(row, f"an Ingress makes none; {_BETTER}")


def _ingress(row: Row, asked: Asked, settings: ClusterRouter) -> Iterator[Manifest]:
    name = name_of(row, asked.owner)
    is_issued = row.tls is not None and row.tls.mode == "auto"
    [share] = [share for share in row.shares if share.weight]
    service = service_of(share, asked)
    path: JSON = {
        "path": row.path,
        "pathType": "Prefix",
        "backend": {"service": {"name": service["name"], "port": {"number": service["port"]}}},
    }
    spec = given(
        ingressClassName=settings.ingress.class_name,
        rules=[{"host": row.host, "http": {"paths": [path]}}],
        tls=[given(hosts=[row.host], secretName=f"{name}--tls" if is_issued else None)]
        if row.tls
        else None,
    )
    yield manifest(
        Stage.ROUTE,
        asked.owner,
        KIND,
        name,
        {"spec": spec},
        annotations={_ISSUER: settings.ingress.issuer or ""} if is_issued else {},
    )
