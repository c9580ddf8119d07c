"""What Traefik cannot do for a row through a document that it polls; pure.

One such row does not stop the others: it is answered with an error, never served without what it
asks for.
"""

from collections.abc import Iterable

from adapters.traefik.settings import TraefikSettings
from projections.route_table import Row


def limits_met(rows: Iterable[Row], settings: TraefikSettings) -> dict[str, str]:
    """Return why each row that cannot be served cannot, by its id."""
    reasons = ((row.id, _reason(row, settings)) for row in rows)
    return {name: reason for name, reason in reasons if reason}


def _reason(row: Row, settings: TraefikSettings) -> str:
    where = f"{row.scheme}://{row.host}{row.path}"
    if row.auth != "off" and not settings.verify:
        return (
            f"{where} asks for auth {row.auth!r}, but nobody is named to this Traefik who knows "
            "users; give its target one, or use auth off"
        )
    if row.tls is not None and row.tls.mode == "secret":
        return (
            f"{where} shows a certificate of {row.tls.secret}, but the value of a secret is in no "
            "answer of ours, and so not in what Traefik polls; use tls mode internal, or "
            "a target whose router is caddy or haproxy"
        )
    if row.tls is not None and row.tls.mode == "auto" and not settings.cert_resolver:
        return (
            f"{where} asks for tls mode 'auto', but no certificate resolver of this Traefik is "
            "known; use tls mode internal, or a target whose router is caddy"
        )
    return ""
