"""Routing: every target's router serves its route table, and passes know what is reached.

The order in which a replica replaces another is kept here and in `reconcilers.replicas`: the new
one is ready, it is published, what was published has reached every request (`routed`); only then
the old one may be ended, which begins with being published no more and waiting for that to have
reached every request, too (`withdrawn`); then it drains until it has no request left (`answered`),
and is told to stop.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, final

import msgspec

from domain import events as e
from domain.names import target as target_ref
from domain.target import TargetSpec
from projections.desired import DesiredApp, DesiredState
from projections.route_table import Backend, Reach, RouteTable, Row
from projections.routing import RouteTables
from reconcilers import certifying, endpoints, routed
from reconcilers.endpoints import Snapshot
from reconcilers.following import supervised
from reconcilers.journal import Journal
from reconcilers.leaving import By, Leaving
from reconcilers.metrics import ReconcileMetrics
from reconcilers.ports import Replica
from reconcilers.replica_facts import Seen
from reconcilers.router_driver import Reports, RouterDriver, Wishes
from reconcilers.router_ends import RouterEnds
from reconcilers.router_ports import (
    Certified,
    OpenedRouter,
    RouterMissing,
    RouterOpener,
)
from reconcilers.serving import Found, Serving
from reconcilers.sharing import Sharing
from reconcilers.status import Condition
from reconcilers.targets import Targets, TargetView, router_of

LOOK_SECONDS: Final = 0.25  # between two looks whether a router is driven by now
LEAVING: Final = 30.0  # seconds that the end of what nothing replaces waits for a silent router
DRAIN: Final = 30.0  # seconds that requests may take, where a router says that they still do
UNTOLD: Final = 5.0  # seconds that they are given where it does not


async def no_router(name: str, spec: TargetSpec) -> OpenedRouter:  # noqa: ARG001 -- a port
    """An opener for who has no router at all."""
    raise RouterMissing(f"nothing here can route requests to target {name}")


class Surrounding(NamedTuple):
    """What routing works with. `again` queues an app now, `wake` at a time of the clock.

    `was_routed` says whether the router of a target may have something from an earlier life, and
    `left` names all such targets; `log_answers` whether what is desired is known; `now` is seconds
    since the epoch.
    """

    desired: DesiredState
    tables: RouteTables
    targets: Targets
    sharing: Sharing
    opener: RouterOpener
    was_routed: Callable[[str], bool]
    left: Callable[[], Iterable[str]]
    log_answers: Callable[[], bool]
    journal: Journal
    metrics: ReconcileMetrics
    halted: Callable[[], str | None]
    clock: Callable[[], float]
    now: Callable[[], float]
    again: Callable[[str], None]
    wake: Callable[[str, float], None]


@final
class Routing:
    def __init__(self, around: Surrounding) -> None:
        self._ = around
        self._drivers: dict[TargetView, tuple[RouterDriver, asyncio.Task[None]]] = {}
        self._ends = RouterEnds(around.desired, around.opener, around.halted)
        self._serving = Serving(around.desired)
        self._asked: dict[str, tuple[RouteTable, dict[Backend, None]]] = {}
        self._leaving = Leaving(around.clock)
        self._met: dict[str, None] = {}  # to end, and may have requests in hand until it does

    # -- what passes ask ----------------------------------------------------------------------

    def judge(self, app: DesiredApp, view: TargetView, seen: Sequence[Seen]) -> list[Seen]:
        """Take in what a pass sees of an app; say of what is ready whether it is reached."""
        stream = app.ref.stream
        driver = self._driver(view)
        is_awaited = driver is None and bool(app.spec.routes) and self._is_to_be_driven(view)
        if not is_awaited and (driver is None or driver.is_missing):
            self._serving.take(stream, view, None)
            return list(seen)
        is_asked = app.spec.routes or self._.tables.mirroring(stream)
        if not is_asked and stream not in self._serving:
            return list(seen)
        before = self._serving.before(view)
        if before is not None:  # else it is not known yet who ran there when this worker began
            found = Found(view.name, endpoints.serving(app, seen, before))
            if self._serving.take(stream, view, found) and driver is not None:
                driver.endpoints_moved()
        self._leaving.seen(seen)
        if app.reached_at != view.name:
            return list(seen)  # it moves: requests do not come here yet
        mine = [Backend(stream, app.uid, route.port or "") for route in app.spec.routes]
        return [
            msgspec.structs.replace(one, routed=False)
            if one.ready and _is_asked(one.replica, mine) and not _is_routed(driver, one)
            else one
            for one in seen
        ]

    def reached_at(self, view: TargetView, seen: Iterable[Seen]) -> float | None:
        """When (of the clock) the next of these is reached that is published and not reached yet.

        Whatever leads to a look before that takes its place in the queue.
        """
        driver = self._driver(view)
        if driver is None:
            return None
        times = (driver.routed_at(one.replica.id) for one in seen if not one.routed)
        return min((at for at in times if at is not None), default=None)

    def leave(self, replica: Replica) -> None:
        """A replica that a pass ends gets no new request, whatever it says from now on."""
        self._leaving.mark(replica.id, "pass")

    def stay(self, target: str, replica: Replica, by: By) -> None:
        """A replica that was to end goes on instead, and gets requests as before."""
        view = self._.targets.get(target)
        driver = self._driver(view) if view is not None else None
        if self._leaving.unmark(replica.id, by) and driver is not None:
            driver.endpoints_moved()

    async def withdrawn(
        self, target: str, stream: str, replica: Replica, goes: Callable[[], bool] | None = None
    ) -> None:
        """Return when no new request meets a replica that is to end.

        A removal says by `goes` whether it still is to end; else it is waited for no longer.
        """
        self._leaving.mark(replica.id, "removal" if goes is not None else "pass")
        began = self._.clock()

        def needed() -> bool:
            app = self._.desired.app(stream)
            replaced = (
                app is not None
                and (app.uid, app.target) == (replica.uid, target)
                and app.wanted > 0
            )
            is_over = goes is not None and not goes()
            return not is_over and (replaced or self._.clock() < began + LEAVING)

        driver = await self._driver_of(target, needed)
        if driver is not None and not driver.is_missing and driver.may_meet(replica.id):
            self._met[replica.id] = None
            await driver.without(needed)

    async def _driver_of(self, target: str, needed: Callable[[], bool]) -> RouterDriver | None:
        """Who drives a target's router; where that is still to begin, it is waited for."""
        while True:
            view = self._.targets.get(target)
            if view is None:
                return None
            driver = self._driver(view)
            if driver is not None or not (self._is_to_be_driven(view) and needed()):
                return driver
            await asyncio.sleep(LOOK_SECONDS)

    async def answered(self, target: str, replica: Replica, drain: float | None) -> None:
        """Return when a replica that is withdrawn has no request left, or has had its time.

        `drain` is that time in seconds. None leaves it to us: nothing where no router is.
        """
        was_asked = replica.id in self._met
        self._met.pop(replica.id, None)
        view = self._.targets.get(target)
        driver = self._driver(view) if view is not None else None
        if drain == 0.0:
            return
        if driver is None or driver.is_missing:
            await asyncio.sleep(drain or 0.0)
        elif not await driver.idle(replica.addresses, DRAIN if drain is None else drain):
            untold = UNTOLD if was_asked else 0.0
            await asyncio.sleep(untold if drain is None else drain)

    def condition(self, app: DesiredApp) -> Condition | None:
        """Whether requests reach the app by its routes; None if it has none."""
        if not app.spec.routes:
            return None
        view = self._.targets.get(app.reached_at)
        if view is not None and router_of(view) == "none":
            return routed.without_router(view.name)
        driver = self._driver(view) if view is not None else None
        return routed.condition(app.ref.stream, self._.tables.rows_of(app.ref.stream), driver)

    def certified(self, app: DesiredApp) -> Condition | None:
        """Whether the certificates of its hosts go on for a while; None if it has none."""
        rows, shown = self._certificates(app)
        return certifying.condition(rows, shown, self._.now()) if shown else None

    def certificates(self, app: DesiredApp) -> Mapping[str, float]:
        """When the certificate of each of its hosts ends, in seconds since the epoch."""
        return certifying.ends(*self._certificates(app))

    def _certificates(self, app: DesiredApp) -> tuple[Sequence[Row], Mapping[str, Certified]]:
        view = self._.targets.get(app.reached_at) if app.spec.routes else None
        driver = self._driver(view) if view is not None else None
        if driver is None:
            return (), {}
        return self._.tables.rows_of(app.ref.stream), driver.certificates.shown

    def ends(self) -> Iterator[tuple[str, str, float]]:
        """Target, host and end of every certificate that routers which are driven here show."""
        for driver, _ in self._drivers.values():
            for host, found in sorted(driver.certificates.shown.items()):
                if found.not_after:
                    yield driver.target, host, found.not_after

    def serve(self) -> Iterator[tuple[str, float]]:
        """Each target with routes whose router is driven here: 1.0 if it serves as it should."""
        for driver, _ in self._drivers.values():
            if self._.tables.table(driver.target).rows:
                yield driver.target, float(driver.trouble is None)

    def reach(self, app: DesiredApp) -> Reach:
        """By which URLs an app is to be reached, for who renders its routes."""
        return self._.tables.reach(app)

    def forget(self, stream: str) -> None:
        """There is no such app here any more."""
        self._serving.forget(stream)

    # -- what leads to work -------------------------------------------------------------------

    def follow(self) -> None:
        """Targets, leases or routes have changed: drive what is ours, and let go of the rest."""
        around = self._
        listed = [view for view in around.targets if view.is_listed]
        self._serving.observe(listed)
        wanted = [view for view in listed if self._is_to_be_driven(view)]
        for view in [one for one in self._drivers if one not in wanted]:
            _, driving = self._drivers.pop(view)
            driving.cancel()
            if self._ends.is_gone(view.name):
                self._ends.begin(view.name, view.spec, driving)
        for view in wanted:
            if view not in self._drivers:
                self._begin(view)
        for driver, _ in self._drivers.values():
            if driver.tried is not around.tables.table(driver.target):
                driver.routes_moved()
        for stream in around.tables.touched():
            app = around.desired.app(stream)
            there = around.targets.get(app.target) if app is not None else None
            if there is not None and there.objects is not None:
                around.again(stream)  # its objects name paths that other apps have on its hosts

    def _is_to_be_driven(self, view: TargetView) -> bool:
        """Whether this worker drives its router, once it is known what runs there."""
        around = self._
        if around.targets.get(view.name) is not view:
            return False
        if view.spec.engine == "k8s":
            return False  # a cluster has its routes among its objects
        asked = view.spec.routing is not None or view in self._drivers
        asked = asked or bool(around.tables.table(view.name).rows) or around.was_routed(view.name)
        return asked and around.sharing.holds_all(view.name)

    def tidy(self) -> None:
        """End the routers of targets that were deleted while nobody was here to see it.

        To be called when the log was read: a target that is not known yet is not gone.
        """
        if not self._.log_answers() or self._.halted() is not None:
            return
        self._ends.tidy(self._.left())

    def _begin(self, view: TargetView) -> None:
        driver = RouterDriver(
            view.name,
            view.spec,
            opener=self._.opener,
            wishes=Wishes(
                table=partial(self._.tables.table, view.name),
                snapshot=partial(self._snapshot, view),
                may_write=partial(self._may_write, view.name),
            ),
            reports=Reports(
                routed=self._routed,
                applied=self._look_again,
                troubled=partial(self._troubled, view.name),
                repaired=partial(self._repaired, view.name),
                lost=self._.metrics.lost,
            ),
            clock=self._.clock,
            now=self._.now,
        )
        driving = supervised("routers", driver.run, lost=self._.metrics.lost)
        task = asyncio.create_task(driving, name=f"router-{view.name}")
        self._drivers[view] = driver, task

    def _driver(self, view: TargetView) -> RouterDriver | None:
        found = self._drivers.get(view)
        return found[0] if found is not None else None

    def _snapshot(self, view: TargetView, applied: RouteTable) -> Snapshot:
        asked = self._backends(view.name)
        if applied is not self._.tables.table(view.name):
            asked = asked | endpoints.backends(applied)
        return endpoints.snapshot(asked, partial(self._serving.of, view), self._leaving.all)

    def _backends(self, target: str) -> dict[Backend, None]:
        """Those of a target's present table; found out once for each table."""
        table = self._.tables.table(target)
        known = self._asked.get(target)
        if known is None or known[0] is not table:
            known = self._asked[target] = table, endpoints.backends(table)
        return known[1]

    def _may_write(self, target: str) -> bool:
        return self._.halted() is None and self._.sharing.may_call_any(target)

    # -- what drivers tell --------------------------------------------------------------------

    def _routed(self, streams: Iterable[str], at: float) -> None:
        for stream in streams:
            for one in (stream, *self._.tables.mirroring(stream)):
                self._.wake(one, at)

    def _look_again(self, streams: Iterable[str]) -> None:
        for stream in streams:
            self._.again(stream)

    def _troubled(self, target: str) -> None:
        self._look_again(dict.fromkeys(one.app for one in self._backends(target)))

    def _repaired(self, target: str, fields: tuple[str, ...]) -> None:
        self._.metrics.drifted("router")
        resource = self._.desired.resource(target_ref(target).stream)
        if resource is not None:
            self._.journal.record(
                resource.ref,
                e.RouterRepaired,
                cause=resource.generation,
                uid=resource.uid,
                fields=fields,
            )

    async def close(self) -> None:
        """Let go of all routers; they go on serving what they have."""
        driving = (task for _, task in self._drivers.values())
        tasks: list[asyncio.Task[None]] = [*driving, *self._ends.tasks]
        self._drivers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _is_routed(driver: RouterDriver | None, one: Seen) -> bool:
    return driver is not None and driver.is_routed(one.replica.id)


def _is_asked(replica: Replica, backends: Iterable[Backend]) -> bool:
    """Whether a router would send it requests at all."""
    return any(endpoints.endpoint_of(replica, one) is not None for one in backends)
