"""What a renderer of routes is asked, and what it answers; shared by all of them, and pure.

The cluster knows by itself which pods are ready, so no endpoints are rendered; a row leads to
Services, and only to those of its app's namespace.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import product
from typing import Any, Final, NamedTuple

from adapters.k8s.render.labels import Owner
from projections.route_table import Backend, Header, Mirror, Row, Share
from reconcilers.object_ports import Manifest

JSON = dict[str, Any]

IDENTITY_HEADER: Final = "X-Forwarded-User"


class Asked(NamedTuple):
    """The rows of one app, the table that they are of, and the ports of Services by backend."""

    owner: Owner
    rows: tuple[Row, ...]
    table: tuple[Row, ...]
    ports: Mapping[Backend, int]


class Routes(NamedTuple):
    """The objects; by the ids of rows why one is not served, and what another cannot have."""

    manifests: tuple[Manifest, ...]
    unserved: Mapping[str, str]
    notes: Mapping[str, str]


def where(row: Row) -> str:
    return f"{row.scheme}://{row.host}{row.path}"


def name_of(row: Row, owner: Owner, what: str = "") -> str:
    """The name of an object of a row: the same as long as the row's id is."""
    digest = blake2b(row.id.encode(), digest_size=4).hexdigest()
    return "--".join(part for part in (owner.app, f"route-{digest}", what) if part)


def reachable(row: Row, asked: Asked) -> str:
    """Say why the Services that a row leads to cannot be reached by it; empty if they can."""
    for share in row.shares:
        _, project, app = share.backend.app.split("/")
        if project != asked.owner.project:
            return (
                f"{where(row)} leads to {share.backend.app} of another project, but routes of a "
                "cluster stay within their namespace; put both apps into one project"
            )
        if share.backend not in asked.ports:
            return f"{where(row)} leads to port {share.backend.port!r} of {app}, which it has not"
    return ""


def service_of(share: Share, asked: Asked) -> JSON:
    """The Service of a share and its port."""
    return {
        "name": share.backend.app.rpartition("/")[2],
        "port": asked.ports[share.backend],
    }


def notes_of(row: Row, uncopied: str = "") -> str:
    """What a row cannot have, though it is served. `uncopied` is why the router copies nothing."""
    notes = []
    if row.fallback:
        notes.append(
            f"{where(row)} falls back when its app is gone, but answers 503 while the app has no "
            "ready replica: a cluster does not choose between Services by that"
        )
    if row.mirror is not None:
        if not uncopied and not row.mirror.backend.uid:
            uncopied = "it is not on this target with a port for them; apply it there"
        if uncopied:
            notes.append(f"{row.mirror.backend.app} gets no copies of requests: {uncopied}")
    return "; ".join(notes)


def longer_below(row: Row, table: Iterable[Row]) -> tuple[str, ...]:
    """Return the paths below a context's that rows after it have, the row's own first.

    Where a cluster takes longer paths first, a context must ask for these, too, to come before.
    """
    below = {
        other.path
        for other in table
        if row.context is not None
        and (other.scheme, other.host) == (row.scheme, row.host)
        and other.precedence < row.precedence
        and other.path.startswith(row.path.rstrip("/") + "/")
        and other.path != row.path
    }
    return (row.path, *sorted(below))


def spellings() -> list[str]:
    """All ways to write the header that names a user to apps: `_` is `-` to some of them."""
    parts = IDENTITY_HEADER.split("-")
    return [
        "".join(map("".join, zip(parts, (*marks, ""), strict=True)))
        for marks in product("-_", repeat=len(parts) - 1)
    ]


def copies_to(mirror: Mirror) -> JSON:
    """The Service that gets copies, and its port; an app's Service is named as the app."""
    return {"name": mirror.backend.app.rpartition("/")[2], "port": mirror.number}


def plain(headers: Iterable[Header]) -> dict[str, str]:
    return {header.name: header.value for header in headers}


def stripped(path: str, prefix: str) -> str:
    """What is left of a path without a prefix."""
    return path.removeprefix(prefix.rstrip("/")) or "/"
