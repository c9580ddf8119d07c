"""What Traefik cannot do for a row through a document that it polls; pure.

One such row does not stop the others: it is answered with an error, never served without what it
asks for.
"""

from collections.abc import Iterable, Mapping

from adapters.traefik.settings import TraefikSettings
from projections.route_table import Row


def limits_met(
    rows: Iterable[Row], settings: TraefikSettings, lacking: Mapping[str, str]
) -> dict[str, str]:
    """Return why each row that cannot be served cannot, by its id.

    `lacking` says of Secrets, by their streams, why their certificates are not shown.
    """
    reasons = ((row.id, _reason(row, settings, lacking)) for row in rows)
    return {name: reason for name, reason in reasons if reason}


def _reason(row: Row, settings: TraefikSettings, lacking: Mapping[str, str]) -> str:
    where = f"{row.scheme}://{row.host}{row.path}"
    if row.auth != "off" and not (row.middlewares or row.verify or settings.verify):
        return (
            f"{where} asks for auth {row.auth!r}, but nobody is named to this Traefik who knows "
            "users; have the server know them (setting login.developers, for trying out), name who "
            "does by spec.routing.domains[].verify of its target, or use auth off"
        )
    if row.tls is not None and row.tls.secret in lacking:
        return f"{where} is not served: {lacking[row.tls.secret]}"
    if row.tls is not None and row.tls.mode == "auto" and not settings.cert_resolver:
        return (
            f"{where} asks for tls mode 'auto', but no certificate resolver of this Traefik is "
            "known; use tls mode internal, or a target whose router is caddy"
        )
    return ""
