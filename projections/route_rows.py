"""The rows of one host: from the routes that apps claim there to what a table says of them. Pure.

Rows are ordered by their precedence: those with a context before all others, then the longer path;
each class has room, so that nobody's number depends on how many others there are.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import structs

from domain import claims
from domain.domains import Domain
from domain.names import Ref
from domain.route import Route, RouteContext, RouteHeaders
from projections.route_table import Backend, Header, Mirror, Scheme, Share, Tls
from projections.route_table import Row as RouteRow

CONTEXTS: Final = 1_000_000_000  # the class of rows with a context; the others begin at 0
ROOM: Final = 100_000  # for each letter of a path: contexts on one path differ within it

type Key = tuple[int, str, str, str, Header, str]
_NO_HEADER: Final = Header("", "")


class Claimed(NamedTuple):
    """One route of one app, for one scheme."""

    stream: str
    uid: int
    route: Route
    mirror: Mirror | None = None


def rows_of_host(
    target: str, domain: Domain | None, claimed: Sequence[Claimed]
) -> tuple[RouteRow, ...]:
    """All rows of one host on a target, in no order; `domain` is the one that decides over it."""
    bases: dict[tuple[str, str], Claimed] = {}
    for one in claimed:
        if not one.route.contexts:
            for scheme in claims.schemes(one.route):
                if not _redirects(one.route, scheme):
                    bases[scheme, one.route.path] = one
    ranks = _ranks(claimed)
    return tuple(
        _asking(domain, _row(target, one, scheme, context, bases, ranks))
        for one in claimed
        for scheme in claims.schemes(one.route)
        for context in one.route.contexts or (None,)
    )


def _row(
    target: str,
    one: Claimed,
    scheme: str,
    context: RouteContext | None,
    bases: dict[tuple[str, str], Claimed],
    ranks: dict[str, int],
) -> RouteRow:
    route = one.route
    redirect = _redirects(route, scheme)
    header = Header(context.header, context.value) if context is not None else None
    falls_back = context is not None and context.fallback == "base" and not redirect
    headers = RouteHeaders() if redirect else route.headers
    return RouteRow(
        id=_id(one.stream, scheme, route, header),
        target=target,
        scheme=_SCHEMES[scheme],
        host=route.host,
        path=route.path,
        context=header,
        precedence=_precedence(route.path, header, ranks),
        shares=() if redirect else _shares(one),
        fallback=_fallback(bases, scheme, route) if falls_back else (),
        strip_prefix=route.strip_prefix and not redirect,
        redirect=redirect,
        h2c=route.h2c and not redirect,
        auth="off" if redirect else route.auth,
        tls=_tls(one) if scheme == "https" else None,
        request_headers=tuple(Header(h.name, h.value) for h in headers.request),
        response_headers=tuple(Header(h.name, h.value) for h in headers.response),
        mirror=None if redirect else one.mirror,
        app=one.stream,
    )


def _asking(domain: Domain | None, row: RouteRow) -> RouteRow:
    """A row with what the operator says of who is asked about its users."""
    if domain is None or row.auth == "off" or not (domain.verify or domain.middlewares):
        return row
    middlewares = domain.middlewares.of(row.auth) if domain.middlewares is not None else ()
    return structs.replace(row, verify=domain.verify or "", middlewares=middlewares)


_SCHEMES: Final[dict[str, Scheme]] = {"http": "http", "https": "https"}


def _redirects(route: Route, scheme: str) -> bool:
    """Whether its http twin of an https row is all that the route has here."""
    return scheme == "http" and route.tls.mode != "off"


def _shares(one: Claimed) -> tuple[Share, ...]:
    return (Share(Backend(one.stream, one.uid, one.route.port or ""), 1),)


def _tls(one: Claimed) -> Tls:
    tls = one.route.tls
    assert tls.mode != "off", "a route without TLS has no https row"
    if tls.secret is None:
        return Tls(mode=tls.mode)
    return Tls(
        mode=tls.mode, secret=Ref("Secret", Ref.parse(one.stream).project, tls.secret).stream
    )


def _fallback(
    bases: dict[tuple[str, str], Claimed], scheme: str, route: Route
) -> tuple[Share, ...]:
    """Who answers a context's requests while its own app cannot.

    They are sent on as the context's row says, so nobody is asked who wants them otherwise: only
    from users who signed in, say, be it only below some path.
    """
    base = _base(bases, scheme, route.path)
    if base is None:
        return ()
    below = (
        other.route.auth
        for (at, path), other in bases.items()
        if at == scheme and other.stream == base.stream and claims.covers(route.path, path)
    )
    if max(_AUTHS[auth] for auth in (base.route.auth, *below)) > _AUTHS[route.auth]:
        return ()
    return _shares(base) if _arrives(base.route) == _arrives(route) else ()


_AUTHS: Final = {"off": 0, "soft": 1, "hard": 2}


def _arrives(route: Route) -> tuple[bool, str]:
    """In which protocol requests arrive at the app, and without which part of their path."""
    return route.h2c, route.path if route.strip_prefix else ""


def _base(bases: dict[tuple[str, str], Claimed], scheme: str, path: str) -> Claimed | None:
    """Who answers a path without a context: the longest base that covers it."""
    above = path
    while True:
        found = bases.get((scheme, above))
        if found is not None or above == "/":
            return found
        above = above.rpartition("/")[0] or "/"


def _ranks(claimed: Sequence[Claimed]) -> dict[str, int]:
    """An order of the headers that contexts ask for here: a request may carry several of them."""
    names = {context.header for one in claimed for context in one.route.contexts}
    return {name: rank for rank, name in enumerate(sorted(names, reverse=True))}


def _precedence(path: str, context: Header | None, ranks: dict[str, int]) -> int:
    number = ROOM * len(path)
    return number if context is None else CONTEXTS + number + ranks[context.name]


def _id(stream: str, scheme: str, route: Route, context: Header | None) -> str:
    told = f"{context.name}: {context.value}" if context is not None else ""
    url = claims.Url(scheme, route.host, route.path, told)
    return blake2b(f"{stream} {url}".encode(), digest_size=8).hexdigest()


def key_of(row: RouteRow) -> Key:
    """Where a row stands among all: first by its precedence, then for the order to be one."""
    context = row.context or _NO_HEADER
    return -row.precedence, row.host, row.path, row.scheme, context, row.id
