"""Rows that cannot be served as they are defined, as long as the world is as it is."""

from collections.abc import Container, Iterable, Iterator

from adapters.caddy.site import Verify
from projections.route_table import Row
from reconcilers.router_ports import Unserved


def limits_met(
    rows: Iterable[Row], verify: Verify | None, certified: Container[str]
) -> Iterator[Unserved]:
    """Those rows, each with what to do.

    Args:
        rows: of the table.
        verify: who knows users where a row names nobody.
        certified: the Secrets whose certificate is at hand.
    """
    for row in rows:
        if row.auth == "hard" and not row.verify and verify is None:
            yield Unserved(
                row.id,
                "the route is for users who signed in, but no sign-in is set up here: it answers "
                "503; have the server know users (setting login.developers, for trying out), name "
                "who does by spec.routing.domains[].verify of the target, or have "
                "spec.routes[].auth be soft or off",
            )
        elif row.tls and row.tls.mode == "secret" and row.tls.secret not in certified:
            yield Unserved(
                row.id,
                f"{row.tls.secret} has no certificate of {row.host} with a key that can be read, "
                "so nobody can connect; give it tls.crt (the chain) and tls.key, both as PEM",
            )
