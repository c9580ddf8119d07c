"""Driving one router: what it shall serve is brought to it, at two speeds, for ever.

Endpoints are published at once, routes are applied a moment after the first change, so that many
changes are one; both again on every replay tick and whenever the router says that it began anew.
A failure backs off and is told; what the router had goes on serving.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing, suppress
from typing import Final, NamedTuple, final

import structlog

from domain.target import TargetSpec
from projections.route_table import Endpoint, RouteTable, Row
from reconcilers import certifying
from reconcilers.certifying import Certifying
from reconcilers.endpoints import Snapshot, backends
from reconcilers.following import run_all
from reconcilers.ports import Address
from reconcilers.reached import ReachedReplicas
from reconcilers.router_ports import (
    OpenedRouter,
    Router,
    RouterError,
    RouterMissing,
    RouterOpener,
    RouterRefused,
    RouterUnavailable,
    RouterUnwanted,
)

DEBOUNCE: Final = 0.25  # seconds in which changes of routes become one
REPLAY: Final = 10.0  # seconds after which a router is looked at although nothing has changed
RETRY_MOST: Final = 30.0
LOOK: Final = 0.05  # seconds until it is asked again what is not answered yet, twice as much ...
LOOK_MOST: Final = 1.0  # ... each time, up to this

_log = structlog.get_logger("routing")


class Wishes(NamedTuple):
    """What a router shall serve, asked whenever it is time; `may_write` may forbid it for now."""

    table: Callable[[], RouteTable]
    snapshot: Callable[[RouteTable], Snapshot]
    may_write: Callable[[], bool]


class Reports(NamedTuple):
    """Who is told what. Apps are told of by their streams: those whose replicas began or ceased to
    be reached, with the time of the clock from which that is so for all requests, and those whose
    rows are new to the router.
    """

    routed: Callable[[Iterable[str], float], None]
    applied: Callable[[Iterable[str]], None]
    troubled: Callable[[], None]
    repaired: Callable[[tuple[str, ...]], None]
    lost: Callable[[str], None]


class Trouble(NamedTuple):
    """Why a router does not serve what it should: a reason for programs, a sentence for people."""

    reason: str
    message: str


@final
class RouterDriver:
    """One router of one target, while this worker decides over the target."""

    def __init__(
        self,
        target: str,
        spec: TargetSpec,
        *,
        opener: RouterOpener,
        wishes: Wishes,
        reports: Reports,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.target, self._spec, self._opener = target, spec, opener
        self._wishes, self._reports, self._clock = wishes, reports, clock
        self._opened: OpenedRouter | None = None
        self._publish_due, self._apply_due = asyncio.Event(), asyncio.Event()
        self._tried = asyncio.Event()
        self._moved = asyncio.Event()
        self._taken = self._confirmed = 0  # snapshots taken, and the last that is published
        self._again = True  # although the router may have it already
        self._reached = ReachedReplicas(clock, lambda: self._propagation)
        self._troubles: dict[str, Trouble] = {}
        self.tried: RouteTable | None = None
        """The last table that the router was asked to serve."""
        self._applied = RouteTable()
        self._rows: dict[str, Row] = {}
        self.unserved: dict[str, str] = {}
        """Why the router does not serve a row, by the row's id."""
        self.certificates = Certifying(
            lambda: certifying.hosts(self._applied), clock, now, self._other_certificates
        )

    # -- asking -------------------------------------------------------------------------------

    @property
    def reached(self) -> Counter[str]:
        """How many replicas of each app requests are sent to."""
        return self._reached.by_app

    @property
    def trouble(self) -> Trouble | None:
        """What is wrong, the most telling first."""
        for part in ("open", "apply", "publish"):
            if part in self._troubles:
                return self._troubles[part]
        return None

    @property
    def is_missing(self) -> bool:
        """Whether there is no router at all, so that nothing waits for one."""
        trouble = self._troubles.get("open")
        return trouble is not None and trouble.reason == "RouterMissing"

    @property
    def without_copies(self) -> str:
        """Why the router copies no requests, as far as that is known."""
        return self._opened.router.without_copies if self._opened is not None else ""

    def serves(self, row: Row) -> bool:
        """Whether the router was given this row, as it is."""
        return self._rows.get(row.id) == row

    def is_routed(self, replica: str) -> bool:
        """Whether requests reach a replica by now, wherever they come in."""
        at = self.routed_at(replica)
        return at is not None and self._clock() >= at

    def routed_at(self, replica: str) -> float | None:
        """When (of the clock) requests reach a replica; None if it is not published."""
        return self._reached.routed_at(replica)

    def may_meet(self, replica: str) -> bool:
        """Whether a new request may still be sent to a replica, as far as this worker knows."""
        return self._reached.may_meet(replica)

    @property
    def _propagation(self) -> float:
        return self._opened.router.propagation if self._opened is not None else 0.0

    # -- being told ---------------------------------------------------------------------------

    def endpoints_moved(self) -> None:
        self._publish_due.set()

    def routes_moved(self) -> None:
        """A backend may be new as well."""
        self._publish_due.set()
        self._apply_due.set()

    async def without(self, needed: Callable[[], bool]) -> None:
        """Return when what is published from now on has reached every new request.

        While `needed`, however long the router does not answer.
        """
        mark = self._taken
        self._publish_due.set()
        while self._confirmed <= mark and needed():
            try:
                async with asyncio.timeout(1.0):
                    await self._moved.wait()
            except TimeoutError:
                continue
        await asyncio.sleep(self._propagation)

    async def idle(self, addresses: Iterable[Address], within: float) -> bool:
        """Wait until everything is answered that the router sent to these addresses.

        Or until so many seconds are over. Returns False, at once, where the router cannot tell.
        """
        asked = frozenset(Endpoint(one.host, one.number) for one in addresses)
        end, pause = self._clock() + within, LOOK
        while (opened := self._opened) is not None:
            try:
                left = await opened.router.unanswered(asked)
            except RouterError:
                return False
            if left is None:
                return False
            over = end - self._clock()
            if not left or over <= 0:
                return True
            await asyncio.sleep(min(pause, over))
            pause = min(2 * pause, LOOK_MOST)
        return False

    # -- working ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Drive the router, for ever; when cancelled, it goes on serving what it has."""
        opened = await self._open()
        self._opened = opened
        self._publish_due.set()
        self._apply_due.set()
        router = opened.router
        try:
            await run_all(
                iter(
                    (
                        ("endpoints", lambda: self._publishing(router)),
                        ("routes", lambda: self._applying(router)),
                        ("router", lambda: self._watching(router)),
                        ("certificates", lambda: self.certificates.run(router)),
                    )
                ),
                lost=self._reports.lost,
            )
        finally:
            self._opened = None
            await opened.close()

    async def _open(self) -> OpenedRouter:
        failures = 0
        while True:
            try:
                opened = await _done(self._opener(self.target, self._spec))
            except RouterError as error:
                failures += 1
                self._failed("open", error)
                await _pause(failures)
            else:
                self._went_well("open")
                return opened

    async def _publishing(self, router: Router) -> None:
        failures = 0
        while True:
            await self._publish_due.wait()
            self._publish_due.clear()
            try:
                await self._publish(router)
            except RouterError as error:
                failures += 1
                self._again = True
                self._failed("publish", error)
                self._tried.set()
                await _pause(failures)
                self._publish_due.set()
            else:
                failures = 0
                self._went_well("publish")
                self._tried.set()

    async def _publish(self, router: Router) -> None:
        if not self._wishes.may_write():
            await asyncio.sleep(1.0)
            self._publish_due.set()
            return
        self._taken += 1
        taken, found = self._taken, self._wishes.snapshot(self._applied)
        if self._again or found.endpoints != self._reached.present.endpoints:
            self._again = False
            self._reached.begin(found)
            await _done(router.publish(found.endpoints))
        moved, now = self._reached.end(found), self._clock()
        self._confirmed = taken
        self._moved.set()
        self._moved = asyncio.Event()
        if moved:
            self._reports.routed(moved, now + self._propagation)

    async def _applying(self, router: Router) -> None:
        await self._tried.wait()  # a route without endpoints would be answered with 503
        failures = 0
        while True:
            try:
                await self._apply(router)
            except RouterError as error:
                failures += 1
                self._failed("apply", error)
                await _pause(failures, self._apply_due)
                continue
            failures = 0
            await self._pause_for_routes()

    async def _pause_for_routes(self) -> None:
        try:
            async with asyncio.timeout(REPLAY):
                await self._apply_due.wait()
        except TimeoutError:
            self._again = True
            self._publish_due.set()
            return
        await asyncio.sleep(DEBOUNCE)

    async def _apply(self, router: Router) -> None:
        self._apply_due.clear()
        if not self._wishes.may_write():
            return
        self.tried = table = self._wishes.table()
        done = await _done(router.apply(table))
        self._went_well("apply")
        if done.drift:
            _log.warning("a router was edited", target=self.target, fields=done.drift)
            self._reports.repaired(done.drift)
        unserved = {one.row: one.reason for one in done.unserved}
        is_news, self.unserved = unserved != self.unserved, unserved
        if self._applied is not table:
            self._take_over(table)
        if done.changed:  # a Secret may have another certificate by now
            secrets = certifying.hosts(table)
            self.certificates.look(host for host, secret in secrets.items() if secret)
        if is_news:
            self._reports.troubled()

    def _take_over(self, table: RouteTable) -> None:
        """The router serves this table; what only the former one asked for can go."""
        rows = {row.id: row for row in table.rows}
        moved = tuple(row for name, row in rows.items() if self._rows.get(name) != row)
        self._applied, self._rows = table, rows
        self._publish_due.set()
        self.certificates.look(certifying.hosts_of(moved))
        self._reports.applied(dict.fromkeys(one.app for one in backends(RouteTable(rows=moved))))

    def _other_certificates(self, hosts: frozenset[str]) -> None:
        self._reports.applied(
            dict.fromkeys(row.app for row in self._applied.rows if row.host in hosts)
        )

    async def _watching(self, router: Router) -> None:
        async with aclosing(router.watch()) as news:  # type: ignore[type-var]
            async for _ in news:
                self._again = True
                self.routes_moved()

    def _failed(self, part: str, error: RouterError) -> None:
        reason = "RouterUnavailable"
        if isinstance(error, RouterMissing):
            reason = "RouterMissing"
        elif isinstance(error, RouterRefused):
            reason = "RouterRefused"
        trouble = Trouble(reason, f"router of target {self.target}: {error}")
        if self._troubles.get(part) != trouble:
            self._troubles[part] = trouble
            if not isinstance(error, RouterUnwanted):
                _log.warning("a router does not do what it should", part=part, error=str(error))
            self._reports.troubled()

    def _went_well(self, part: str) -> None:
        if self._troubles.pop(part, None) is not None:
            self._reports.troubled()


async def _done[T](call: Awaitable[T]) -> T:
    """What a call gives; what its host refuses it, such as room on a disk, is told as trouble."""
    try:
        return await call
    except OSError as error:
        raise RouterUnavailable(f"its host does not allow it: {error}") from error


async def _pause(failures: int, moved: asyncio.Event | None = None) -> None:
    """Wait before the next try, or until there is something else to try."""
    seconds = min(RETRY_MOST, 2.0 ** min(failures, 10) / 2)
    if moved is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await moved.wait()
