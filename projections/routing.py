"""Route tables: folds what apps say of their routes into one ordered table for each target.

When an app changes, only the rows of its hosts are made anew. What a whole rebuild gives is equal,
row by row.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, final

from domain.events import RolloutCompleted
from projections import declared
from projections.declared import Declared
from projections.desired import DesiredApp, DesiredState, Row
from projections.route_domains import TargetDomains
from projections.route_rows import Claimed, Key, key_of, rows_of_host
from projections.route_table import Published, Reach, RouteTable
from projections.route_table import Row as RouteRow

_WORDS: Final = (b'"routes":[', b'"publish":[')
_COMPLETED: Final = RolloutCompleted.type
_TARGET: Final = "Target/"


@final
class _Ordered:
    """The rows of one target in order, found by the host that they are of."""

    def __init__(self) -> None:
        self._keys: list[Key] = []
        self._rows: list[RouteRow] = []
        self._of_host: dict[str, tuple[RouteRow, ...]] = {}
        self.published: dict[str, tuple[Published, ...]] = {}
        self._table: RouteTable | None = None

    def replace(self, host: str, rows: tuple[RouteRow, ...]) -> None:
        for row in self._of_host.pop(host, ()):
            place = bisect_left(self._keys, key_of(row))
            del self._keys[place], self._rows[place]
        for row in rows:
            key = key_of(row)
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
        self._domains = TargetDomains(desired)
        self._reached: dict[str, Declared] = {}
        self._hosts: dict[tuple[str, str], dict[str, None]] = {}
        self._targets: dict[str, _Ordered] = {}
        self._leaning: dict[str, dict[str, None]] = {}  # apps, by what else their rows speak of
        self._dirty: dict[str, None] = dict.fromkeys(desired.streams("App"))
        self._touched: dict[str, None] = {}

    def fold(self, rows: Iterable[Row]) -> None:
        """The last events of these streams may say something else of their routes."""
        for row in rows:
            stream = row[1]
            if stream.startswith("Secret/"):
                self._touched.update(self._leaning.get(stream, {}))
            if stream.startswith(_TARGET):
                self._domains.moved(stream.removeprefix(_TARGET))
            if not stream.startswith("App/"):
                continue
            if "#" not in stream:
                self._moved(stream)
            elif row[3] == _COMPLETED:  # an app that moved has arrived
                self._moved(stream.partition("#")[0])

    def _moved(self, stream: str) -> None:
        self._dirty[stream] = None
        self._dirty.update(self._leaning.get(stream, {}))

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
            for _, host in declared.hosts_of(reached)
            for row in ordered.of_host(host)
            if row.app == stream and not row.redirect
        )

    def reach(self, app: DesiredApp) -> Reach:
        """How an app is to be reached where it runs, as it is desired or as it might be.

        While it moves there, the tables have its rows on the target that it leaves.
        """
        self._catch_up()
        stream = app.ref.stream
        said = declared.by(self._desired, app)
        copied = declared.copied((self._reached[one] for one in self.mirroring(stream)), app)
        if said is None or not said.routes:
            return Reach(copied=copied) if copied else _NOWHERE
        reached = said._replace(target=app.target)
        is_present = reached == self._reached.get(stream)
        rows = [
            row
            for at in declared.hosts_of(reached)
            for row in (
                self._ordered(app.target).of_host(at[1])
                if is_present
                else self._rows_of_host(at, reached)
            )
        ]
        rows.sort(key=key_of)
        own = tuple(row for row in rows if row.app == stream)
        tokens = {one: self._desired.token(one) for one in declared.secrets(said)}
        held = tuple((one, token) for one, token in tokens.items() if token is not None)
        return Reach(own, tuple(rows), copied, held)

    def mirroring(self, stream: str) -> Sequence[str]:
        """The apps of whose requests an app gets copies."""
        self._catch_up()
        return tuple(self._leaning.get(stream, ()))

    def touched(self) -> Sequence[str]:
        """Apps of hosts whose rows were made anew, each told once: perhaps another's did change."""
        self._catch_up()
        touched = list(self._touched)
        self._touched.clear()
        return touched

    def targets(self) -> Sequence[str]:
        """Those that have a route or a published port, in order."""
        self._catch_up()
        return sorted(name for name, one in self._targets.items() if one.table() != _EMPTY)

    def _catch_up(self) -> None:
        moved = self._domains.changed()
        if not self._dirty and not moved:
            return
        hosts = {at: None for target in moved for at in self._hosts if at[0] == target}
        for stream in self._dirty:
            before = self._reached.get(stream)
            after = self._present(stream)
            if before != after:
                self._take_over(stream, before, after, hosts)
        self._dirty.clear()
        for at in hosts:
            target, host = at
            self._ordered(target).replace(host, self._rows_of_host(at))
            self._touched.update(self._hosts.get(at, {}))

    def _rows_of_host(
        self, at: tuple[str, str], instead: Declared | None = None
    ) -> tuple[RouteRow, ...]:
        return rows_of_host(at[0], self._domains.decides(*at), self._claimed(at, instead))

    def _claimed(self, at: tuple[str, str], instead: Declared | None = None) -> list[Claimed]:
        """All routes of a host; of one app, what it says `instead`."""
        there = {stream: self._reached[stream] for stream in self._hosts.get(at, {})}
        if instead is not None:
            there[instead.stream] = instead
        return [
            Claimed(reached.stream, reached.uid, route, mirror)
            for reached in there.values()
            for route, mirror in zip(reached.routes, reached.mirrors, strict=True)
            if route.host == at[1]
        ]

    def _present(self, stream: str) -> Declared | None:
        """What an app says now; of most apps a look at the bytes tells that they say nothing."""
        if not any(self._desired.mentions(stream, word) for word in _WORDS):
            return None
        return declared.by(self._desired, self._desired.app(stream))

    def _take_over(
        self,
        stream: str,
        before: Declared | None,
        after: Declared | None,
        hosts: dict[tuple[str, str], None],
    ) -> None:
        """Note what an app says now, and of which hosts the rows are to be made anew."""
        if before is not None:
            del self._reached[stream]
            for at in declared.hosts_of(before):
                del self._hosts[at][stream]
                hosts[at] = None
            self._ordered(before.target).publish(stream, ())
            for one in declared.spoken_of(before):
                del self._leaning[one][stream]
                self._touched[one] = None
        if after is not None:
            self._reached[stream] = after
            for at in declared.hosts_of(after):
                self._hosts.setdefault(at, {})[stream] = None
                hosts[at] = None
            self._ordered(after.target).publish(stream, declared.published(after))
            for one in declared.spoken_of(after):
                self._leaning.setdefault(one, {})[stream] = None
                self._touched[one] = None

    def _ordered(self, target: str) -> _Ordered:
        return self._targets.setdefault(target, _Ordered())


def rebuilt(desired: DesiredState) -> RouteTables:
    """The tables that the whole desired state gives."""
    return RouteTables(desired)


_EMPTY: Final = RouteTable()
_NOWHERE: Final = Reach()
