"""Invariants of routers: who may get requests, until when, and what is served at rest.

The order is: a new replica is ready, it is published, that has reached every request; only then an
old one is published no more, and asked to end when that has reached every request, too.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, final

from domain.names import Ref
from domain.target import TargetSpec
from domain.target import decode as target_of
from projections.desired import DesiredApp
from projections.route_table import Backend, Endpoints, RouteTable
from projections.routing import RouteTables
from reconcilers import endpoints
from reconcilers.ports import ReplicaState
from reconcilers.status import AppStatus
from simulation.invariants.engines import EngineInvariants
from simulation.invariants.truth import PROBES_LAG, Truth
from simulation.invariants.violations import Invariant, Report
from simulation.machine import Deed, Running
from simulation.router import SimulatedRouter

TROUBLED: Final = 60.0  # seconds after a call that failed, in which what ends is not waited for
REPLAY: Final = 10.0  # seconds after which a router at rest is looked at again
CALLS: Final = 2  # for each look
SLACK: Final = 8

type StatusOf = Callable[[str], AppStatus | None]
type Broken = tuple[Invariant, str]


@final
class RouterInvariants:
    """Told of every deed right before it happens, and of every publish right after.

    `born` says when (of the clock) the last control plane began: it publishes what ran before it
    and had completed its rollout, without a look.
    """

    def __init__(
        self,
        truth: Truth,
        routers: Mapping[str, SimulatedRouter],
        engines: EngineInvariants,
        report: Report,
        clock: Callable[[], float],
        born: Callable[[], float],
    ) -> None:
        self._truth, self._routers, self._engines = truth, routers, engines
        self._report, self._clock, self._born = report, clock, born
        self._ready: dict[Running, None] = {}
        """Replicas that requests were sent to once: a clock that jumps back makes none new."""
        self._tables: tuple[object, int, RouteTables] | None = None

    # -- deeds --------------------------------------------------------------------------------

    def deed(self, target: str, deed: Deed) -> None:
        """Somebody is about to do something to a machine."""
        truth, one, router = self._truth, deed.about, self._routers.get(target)
        if router is None or one is None or deed.verb not in ("stop", "remove"):
            return
        stream = Ref("App", deed.project, deed.app).stream
        if deed.installation != truth.installation or self._engines.is_confused(stream):
            return
        disturbed = truth.disturbed.get(stream, -PROBES_LAG)
        if not truth.is_well(one) or self._clock() < disturbed + PROBES_LAG:
            return
        app = truth.desired.app(stream)
        ends = app is None or (app.uid, app.target) != (one.order.uid, target) or not app.wanted
        met = any(router.meets((end.host, end.number)) for end in one.seen.addresses)
        if met and not (ends and self._clock() < router.troubled_at + TROUBLED):
            words = f"{deed.verb} of {_named(one)} on {target}"
            self._report(Invariant.UNMET, f"{words}, which may still get requests")
        if app is not None and not ends and app.spec.routes and app.reached_at == target:
            self._check_reached(app, target, one, router)

    def _check_reached(
        self, app: DesiredApp, target: str, one: Running, router: SimulatedRouter
    ) -> None:
        """Those that stay are as many as a rollout has to keep, and requests reach them."""
        is_kept = app.spec.rollout.strategy != "stopFirst" and app.paused is None
        if not is_kept or not app.stable or not self._engines.is_settled(app):
            return
        truth, least = self._truth, self._engines.least(app)
        reached = [
            r
            for there, r in truth.running(app.ref.project, app.ref.name)
            if there == target
            and r is not one
            and truth.is_well(r)
            and any(router.reaches((end.host, end.number)) for end in r.seen.addresses)
        ]
        lost = self._engines.lost_lately(app)
        if len(reached) + len(lost) < least:
            words = f"the end of {_named(one)} leaves {len(reached)} of at least {least}"
            self._report(Invariant.REACHED, f"{words} for requests")

    def published(self, target: str, before: Endpoints, after: Endpoints) -> None:
        """A router sends requests to other endpoints than before."""
        machine = self._truth.machines[target]
        for backend, ends in after.items():
            for end in ends:
                one = machine.hosts.get(end.host)
                if one is None or one in self._ready or end in before.get(backend, ()):
                    continue
                self._ready[one] = None
                if self._is_too_early(backend, one):
                    words = f"{_named(one)} gets requests on {target}"
                    self._report(Invariant.PROVEN, f"{words}, and was never ready")

    def _is_too_early(self, backend: Backend, one: Running) -> bool:
        if one.seen.state is not ReplicaState.RUNNING:
            return False
        if one.program.unready <= one.age and not one.program.deaf:
            return False
        app = self._truth.desired.app(backend.app)
        if app is None:
            return False  # it was deleted a moment ago: what was stable then is on its way out
        is_stable = one.order.name.revision == app.stable
        return not (is_stable and one.age > self._clock() - self._born())

    # -- at rest ------------------------------------------------------------------------------

    def broken(self, status_of: StatusOf) -> Iterator[Broken]:
        """What routers do not (yet) serve as they should."""
        for target, router in sorted(self._routers.items()):
            if router.working:
                yield Invariant.SETTLED, f"calls are on their way to the router of {target}"
            wanted = self._wanted(target)
            if router.table != wanted:
                yield Invariant.ROUTES, f"{target}: {_difference(router.table, wanted)}"
                continue
            yield from self._endpoints(target, router, wanted)
        for app in self._truth.apps():
            if app.spec.routes and self._is_routed(app.reached_at) and self._can_serve(app):
                status = status_of(app.ref.stream)
                said = status.condition("Routed") if status is not None else None
                if said is None or (said.status == "True") != (app.wanted > 0):
                    words = said.message if said is not None else "nothing"
                    yield Invariant.ROUTES, f"{app.ref} has routes, and its status says {words!r}"

    def _endpoints(
        self, target: str, router: SimulatedRouter, table: RouteTable
    ) -> Iterator[Broken]:
        """Exactly the healthy replicas of what can run get requests."""
        truth = self._truth
        asked = endpoints.backends(table)
        for backend in asked:
            app = truth.desired.app(backend.app)
            if app is None or not self._can_serve(app):
                continue
            well = [
                endpoints.endpoint_of(one.seen, backend)
                for there, one in truth.running(app.ref.project, app.ref.name)
                if there == target and truth.is_well(one)
            ]
            healthy = sorted(end for end in well if end is not None)
            served = sorted(router.endpoints.get(backend, ()))
            if served != healthy:
                words = f"requests for {backend.app} on {target} go to {_hosts(served)}"
                yield Invariant.ROUTES, f"{words}, and {_hosts(healthy)} are healthy"
        for backend in router.endpoints:
            if backend not in asked:
                yield Invariant.ROUTES, f"{target} has endpoints of {backend}, which has no route"

    def _can_serve(self, app: DesiredApp) -> bool:
        truth = self._truth
        return app.ref.stream not in truth.frozen and truth.runs_as_held(app)

    def _wanted(self, target: str) -> RouteTable:
        """What the log says that the router of a target serves."""
        return self.table(target) if self._is_routed(target) else RouteTable()

    def table(self, target: str) -> RouteTable:
        """The routes of a target, by the log."""
        desired = self._truth.desired
        known = self._tables
        if known is None or known[0] is not desired or known[1] != desired.position:
            known = self._tables = desired, desired.position, RouteTables(desired)
        return known[2].table(target)

    def _is_routed(self, target: str) -> bool:
        """Whether there is a router for the routes of a target."""
        resource = self._truth.desired.resource(f"Target/{target}")
        if target not in self._routers or resource is None:
            return False
        return not _has_none(target_of(resource.spec))

    def counts(self) -> dict[str, tuple[int, int]]:
        """How many calls each router had, and how many of them changed anything."""
        return {
            target: (router.calls.total(), router.changes.total())
            for target, router in sorted(self._routers.items())
        }

    def quiet(self, before: Mapping[str, tuple[int, int]], seconds: float) -> Iterator[Broken]:
        """What was done to routers at rest: looks, and nothing more.

        What cannot run comes and goes, and requests follow it.
        """
        most = CALLS * seconds / REPLAY + SLACK
        for target, (calls, changes) in self.counts().items():
            restless = any(
                app.spec.routes and not self._can_serve(app) for app in self._truth.apps()
            )
            new = Counter(calls=calls - before[target][0], changes=changes - before[target][1])
            if new["changes"] and not restless:
                yield Invariant.QUIET, f"{new['changes']} changes of the router of {target} at rest"
            if new["calls"] > most and not restless:
                yield Invariant.QUIET, f"{new['calls']} calls to the router of {target} at rest"

    def summary(self) -> dict[str, list[tuple[str, int, str]]]:
        """What each router serves, in words that are the same wherever it is the same."""
        return {
            f"routes of {target}": [
                (f"{row.host}{row.path} {row.context}", row.precedence, row.app)
                for row in router.table.rows
            ]
            for target, router in sorted(self._routers.items())
        }


def _has_none(spec: TargetSpec) -> bool:
    return spec.routing is not None and spec.routing.router == "none"


def _difference(served: RouteTable, wanted: RouteTable) -> str:
    rows, asked = ({row.id: row for row in table.rows} for table in (served, wanted))
    foreign = [f"{row.host}{row.path}" for name, row in rows.items() if name not in asked]
    missing = [f"{row.host}{row.path}" for name, row in asked.items() if rows.get(name) != row]
    return f"rows {foreign} are served and not in the log, {missing} not served as they are"


def _hosts(ends: Sequence[object]) -> str:
    return ", ".join(str(getattr(end, "host", end)) for end in ends) or "nobody"


def _named(one: Running) -> str:
    name = one.order.name
    return f"{name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"
