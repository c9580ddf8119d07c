"""Route tables: folds what apps say of their routes into one ordered table for each target.

When an app changes, only the rows of its hosts are made anew. What a whole rebuild gives is equal,
row by row. Rows are ordered by their precedence: those with a context before all others, then the
longer path; each class has room, so that nobody's number depends on how many others there are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import chain
from typing import Final, NamedTuple, final

from domain import claims
from domain.events import RolloutCompleted
from domain.names import Ref
from domain.route import Publish, Route, RouteContext, RouteHeaders
from projections.desired import DesiredApp, DesiredState, Row
from projections.route_table import Backend, Header, Published, RouteTable, Scheme, Share, Tls
from projections.route_table import Row as RouteRow

CONTEXTS: Final = 1_000_000_000  # the class of rows with a context; the others begin at 0
ROOM: Final = 100_000  # for each letter of a path: contexts on one path differ within it

type _Key = tuple[int, str, str, str, Header, str]
_WORDS: Final = (b'"routes":[', b'"publish":[')
_COMPLETED: Final = RolloutCompleted.type
_NO_HEADER: Final = Header("", "")


class _Reached(NamedTuple):
    """What one app says of how it is reached."""

    stream: str
    uid: int
    target: str
    routes: tuple[Route, ...]
    publish: tuple[Publish, ...]


class _Claimed(NamedTuple):
    """One route of one app, for one scheme."""

    stream: str
    uid: int
    route: Route


@final
class _Ordered:
    """The rows of one target in order, found by the host that they are of."""

    def __init__(self) -> None:
        self._keys: list[_Key] = []
        self._rows: list[RouteRow] = []
        self._of_host: dict[str, tuple[RouteRow, ...]] = {}
        self.published: dict[str, tuple[Published, ...]] = {}
        self._table: RouteTable | None = None

    def replace(self, host: str, rows: tuple[RouteRow, ...]) -> None:
        for row in self._of_host.pop(host, ()):
            place = bisect_left(self._keys, _key(row))
            del self._keys[place], self._rows[place]
        for row in rows:
            key = _key(row)
            place = bisect_left(self._keys, key)
            self._keys.insert(place, key)
            self._rows.insert(place, row)
        if rows:
            self._of_host[host] = rows
        self._table = None

    def of_host(self, host: str) -> tuple[RouteRow, ...]:
        return self._of_host.get(host, ())

    def publish(self, stream: str, published: tuple[Published, ...]) -> None:
        if published:
            self.published[stream] = published
        else:
            self.published.pop(stream, None)
        self._table = None

    def table(self) -> RouteTable:
        if self._table is None:
            published = chain.from_iterable(self.published.values())
            in_order = sorted(published, key=lambda one: (one.host_port, one.protocol))
            self._table = RouteTable(rows=tuple(self._rows), published=tuple(in_order))
        return self._table


@final
class RouteTables:
    """The tables of all targets, as far as `desired` has folded the log.

    `fold` is told of every page that was folded; work is done when a table is asked for.
    """

    def __init__(self, desired: DesiredState) -> None:
        self._desired = desired
        self._reached: dict[str, _Reached] = {}
        self._hosts: dict[tuple[str, str], dict[str, None]] = {}
        self._targets: dict[str, _Ordered] = {}
        self._dirty: dict[str, None] = dict.fromkeys(desired.streams("App"))

    def fold(self, rows: Iterable[Row]) -> None:
        """The last events of these streams may say something else of their routes."""
        for row in rows:
            stream = row[1]
            if not stream.startswith("App/"):
                continue
            if "#" not in stream:
                self._dirty[stream] = None
            elif row[3] == _COMPLETED:  # an app that moved has arrived
                self._dirty[stream.partition("#")[0]] = None

    def table(self, target: str) -> RouteTable:
        """The present table of a target; the same object while nothing of it differs."""
        self._catch_up()
        ordered = self._targets.get(target)
        return ordered.table() if ordered is not None else _EMPTY

    def rows_of(self, stream: str) -> tuple[RouteRow, ...]:
        """The rows that lead to an app."""
        self._catch_up()
        reached = self._reached.get(stream)
        if reached is None:
            return ()
        ordered = self._ordered(reached.target)
        return tuple(
            row
            for _, host in _hosts_of(reached)
            for row in ordered.of_host(host)
            if row.app == stream and not row.redirect
        )

    def targets(self) -> Sequence[str]:
        """Those that have a route or a published port, in order."""
        self._catch_up()
        return sorted(name for name, one in self._targets.items() if one.table() != _EMPTY)

    def _catch_up(self) -> None:
        if not self._dirty:
            return
        hosts: dict[tuple[str, str], None] = {}
        for stream in self._dirty:
            before = self._reached.get(stream)
            after = self._present(stream)
            if before != after:
                self._take_over(stream, before, after, hosts)
        self._dirty.clear()
        for target, host in hosts:
            there = self._hosts.get((target, host), {})
            claimed = [
                _Claimed(stream, reached.uid, route)
                for reached in map(self._reached.__getitem__, there)
                for stream in (reached.stream,)
                for route in reached.routes
                if route.host == host
            ]
            self._ordered(target).replace(host, rows_of_host(target, claimed))

    def _present(self, stream: str) -> _Reached | None:
        """What an app says now; of most apps a look at the bytes tells that they say nothing."""
        if not any(self._desired.mentions(stream, word) for word in _WORDS):
            return None
        return _reached(stream, self._desired.app(stream))

    def _take_over(
        self,
        stream: str,
        before: _Reached | None,
        after: _Reached | None,
        hosts: dict[tuple[str, str], None],
    ) -> None:
        """Note what an app says now, and of which hosts the rows are to be made anew."""
        if before is not None:
            del self._reached[stream]
            for at in _hosts_of(before):
                del self._hosts[at][stream]
                hosts[at] = None
            self._ordered(before.target).publish(stream, ())
        if after is not None:
            self._reached[stream] = after
            for at in _hosts_of(after):
                self._hosts.setdefault(at, {})[stream] = None
                hosts[at] = None
            self._ordered(after.target).publish(stream, _published(after))

    def _ordered(self, target: str) -> _Ordered:
        return self._targets.setdefault(target, _Ordered())


def rebuilt(desired: DesiredState) -> RouteTables:
    """The tables that the whole desired state gives."""
    return RouteTables(desired)


def rows_of_host(target: str, claimed: Sequence[_Claimed]) -> tuple[RouteRow, ...]:
    """All rows of one host on a target, in no order."""
    bases: dict[tuple[str, str], tuple[Share, ...]] = {}
    for one in claimed:
        if not one.route.contexts:
            for scheme in claims.schemes(one.route):
                if not _redirects(one.route, scheme):
                    bases[scheme, one.route.path] = _shares(one)
    ranks = _ranks(claimed)
    return tuple(
        _row(target, one, scheme, context, bases, ranks)
        for one in claimed
        for scheme in claims.schemes(one.route)
        for context in one.route.contexts or (None,)
    )


def _row(
    target: str,
    one: _Claimed,
    scheme: str,
    context: RouteContext | None,
    bases: dict[tuple[str, str], tuple[Share, ...]],
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
        fallback=_base(bases, scheme, route.path) if falls_back else (),
        strip_prefix=route.strip_prefix and not redirect,
        redirect=redirect,
        h2c=route.h2c and not redirect,
        auth="off" if redirect else route.auth,
        tls=_tls(one) if scheme == "https" else None,
        request_headers=tuple(Header(h.name, h.value) for h in headers.request),
        response_headers=tuple(Header(h.name, h.value) for h in headers.response),
        app=one.stream,
    )


_SCHEMES: Final[dict[str, Scheme]] = {"http": "http", "https": "https"}
_EMPTY: Final = RouteTable()


def _reached(stream: str, app: DesiredApp | None) -> _Reached | None:
    if app is None or not (app.spec.routes or app.spec.publish):
        return None
    return _Reached(stream, app.uid, app.reached_at, app.spec.routes, app.spec.publish)


def _hosts_of(reached: _Reached) -> dict[tuple[str, str], None]:
    return {(reached.target, route.host): None for route in reached.routes}


def _published(reached: _Reached) -> tuple[Published, ...]:
    return tuple(
        Published(
            target=reached.target,
            backend=Backend(reached.stream, reached.uid, one.port),
            protocol=one.protocol,
            host_port=one.host_port,
        )
        for one in reached.publish
    )


def _redirects(route: Route, scheme: str) -> bool:
    """Whether its http twin of an https row is all that the route has here."""
    return scheme == "http" and route.tls.mode != "off"


def _shares(one: _Claimed) -> tuple[Share, ...]:
    return (Share(Backend(one.stream, one.uid, one.route.port or ""), 1),)


def _tls(one: _Claimed) -> Tls:
    tls = one.route.tls
    assert tls.mode != "off", "a route without TLS has no https row"
    if tls.secret is None:
        return Tls(mode=tls.mode)
    return Tls(
        mode=tls.mode, secret=Ref("Secret", Ref.parse(one.stream).project, tls.secret).stream
    )


def _base(
    bases: dict[tuple[str, str], tuple[Share, ...]], scheme: str, path: str
) -> tuple[Share, ...]:
    """Who answers a path without a context: the longest base that covers it."""
    above = path
    while True:
        found = bases.get((scheme, above))
        if found is not None or above == "/":
            return found or ()
        above = above.rpartition("/")[0] or "/"


def _ranks(claimed: Sequence[_Claimed]) -> dict[str, int]:
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


def _key(row: RouteRow) -> _Key:
    """Where a row stands among all: first by its precedence, then for the order to be one."""
    context = row.context or _NO_HEADER
    return -row.precedence, row.host, row.path, row.scheme, context, row.id
