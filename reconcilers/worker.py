"""The worker: keeps the projection near the log's head, and every app near its desired state.

Four things lead to a pass: a hint after a commit, the tail timer, an event of an engine, and the
replay tick, which looks at every app of every target. Each alone is enough to converge; the others
only make it sooner. Nothing is ever given up.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final, final, override

import structlog

from bus.leases import Partition
from bus.leasing import Tenant
from projections.desired import TOLD, DesiredState, Row
from reconcilers.app_pass import AppReconciler
from reconcilers.differing import Wanted, differing
from reconcilers.following import Following, Loops, run_all, supervised
from reconcilers.journal import Journal
from reconcilers.metrics import ReconcileMetrics
from reconcilers.passing import Passing, WorkerSettings
from reconcilers.places import Places
from reconcilers.ports import EngineError
from reconcilers.probing import Probing
from reconcilers.queue import KeyQueue, Priority
from reconcilers.removal import Remover
from reconcilers.routing import Routing
from reconcilers.sharing import Sharing
from reconcilers.taking import Taking
from reconcilers.targets import Targets, TargetView

TIDY_SECONDS: Final = 10.0  # after which a target that is not tidied is swept again
SWEEP_SECONDS: Final = 1.0  # that a tick waits for the lists of its targets

_log = structlog.get_logger("worker")


@final
class Worker(Tenant):
    def __init__(  # noqa: PLR0913 -- the assembly hands in one of each part
        self,
        *,
        following: Following,
        desired: DesiredState,
        targets: Targets,
        places: Places,
        sharing: Sharing,
        queue: KeyQueue,
        passing: Passing,
        apps: AppReconciler,
        remover: Remover,
        routing: Routing,
        probing: Probing,
        journal: Journal,
        metrics: ReconcileMetrics,
        settings: WorkerSettings,
        clock: Callable[[], float],
    ) -> None:
        self._following, self._desired = following, desired
        self._targets, self._places, self._sharing = targets, places, sharing
        self._queue, self._passing = queue, passing
        self._apps, self._remover = apps, remover
        self._routing = routing
        self._probing, self._journal, self._metrics = probing, journal, metrics
        self._settings, self._clock = settings, clock
        self._wanted = Wanted(desired)
        self._sweeping: dict[TargetView, asyncio.Task[None]] = {}
        self._taking = Taking(self._take_up)
        self._watchers: dict[TargetView, asyncio.Task[None]] = {}
        self._met: set[TargetView] = set()
        self.progress = following.progress
        following.follow_up = self._follow_up

    # -- what leads to passes -----------------------------------------------------------------

    def engine_event(self, stream: str) -> None:
        """Something of an app has moved on its target."""
        if not self._apps.looks_again(stream):
            self._queue.add(stream, Priority.ENGINE)

    async def _follow_up(self, page: Sequence[Row]) -> None:
        """Queue the apps that new events speak of; follow changed targets and routes."""
        follow = False
        for stream in dict.fromkeys(row[1] for row in page if row[3] not in TOLD):
            if stream.startswith("App/"):
                app, _, part = stream.partition("#")
                self._wanted.moved(app)
                self._queue.add(app, Priority.ENGINE if part else Priority.INTENT)
            elif stream.startswith("Target/") and "#" not in stream:
                follow = True
        if follow:
            await self._follow_targets()
        else:
            self._routing.follow()

    async def _follow_targets(self) -> None:
        await self._places.follow(lambda _opened: self._mind())
        present = set(self._targets)
        self._met &= present
        self._mind()

    def _mind(self) -> None:
        """Watch the targets of which something is held, and tell what is reached."""
        wanted = [
            view
            for view in self._targets
            if view.opened is not None and self._sharing.holds_any(view.name)
        ]
        for view in [one for one in self._watchers if one not in wanted]:
            self._watchers.pop(view).cancel()
        for view in wanted:
            if view not in self._watchers:
                self._watch(view)
        self._routing.follow()
        self._sharing.tell()

    # -- what is held changes -----------------------------------------------------------------

    @override
    def gained(self, partition: Partition) -> None:
        self._taking.begin(partition)

    @override
    async def finish(self, partition: Partition) -> None:
        await self._sharing.finished(partition)

    @override
    def lost(self, partition: Partition) -> None:
        """What was known of its apps is not kept up any more; the next holder finds out anew."""
        for stream in self._apps.known():
            app = self._desired.app(stream)
            if app is None or self._sharing.partition(app.target, stream) == partition:
                self._passing.forget(stream)
        self._mind()

    async def _take_up(self, target: str, partitions: set[Partition]) -> None:
        """Look at everything there that is ours from now on."""
        await self._following.quietly_catch_up(by_timer=False)
        await self._follow_targets()
        for view in self._targets:
            if view.name == target:
                await self._sweep(view)
        for stream in list(self._desired.streams("App")):
            app = self._desired.app(stream)
            if app is not None and self._sharing.partition(app.target, stream) in partitions:
                self._queue.add(stream, Priority.ENGINE)
        for removal in self._desired.removals():
            if removal.target == target:
                self._queue.add(removal.ref.stream, Priority.REPLAY)

    # -- loops --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work, for ever; cancel to stop. What is under way is left for whoever comes next."""
        for loop in ("replay", "tail", "passes"):  # a first round that hangs is late, too
            self.progress[loop] = self._clock()
        # Of what was there before, nobody could tell.
        await self._following.quietly_catch_up(by_timer=False)
        try:
            await run_all(self._loops(), lost=self._metrics.lost)
        finally:
            await self._taking.close()
            await self._routing.close()
            beside = [*self._watchers.values(), *self._sweeping.values()]
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._passing.close()

    def _loops(self) -> Loops:
        yield "probing", self._probing.run
        yield "journal", self._journal.run
        yield "replay", self._replay
        yield from self._following.loops()
        yield from self._passing.loops()

    async def _replay(self) -> None:
        """The replay tick: catch up, list every target, and queue every app that differs."""
        while True:
            await self.tick()
            self.progress["replay"] = self._clock()
            await self._following.pause(self._settings.replay_interval)

    async def tick(self) -> None:
        await self._following.quietly_catch_up(by_timer=True)
        await self._follow_targets()
        for stream in list(self._desired.streams("Project")):
            self._desired.resource(stream)  # one that cannot be read freezes its apps from now on
        for view in self._targets:
            if view not in self._sweeping and (
                view.is_in_doubt or self._sharing.holds_any(view.name)
            ):
                task = asyncio.create_task(self._sweep_and_tidy(view))
                self._sweeping[view] = task
                task.add_done_callback(partial(self._swept, view))
        if self._sweeping:  # whoever takes longer delays no other
            await asyncio.wait(self._sweeping.values(), timeout=SWEEP_SECONDS)
        for removal in self._desired.removals():
            self._add(removal.ref.stream, removal.target)
        for stream in self._desired.adopting():
            self._queue.add(stream, Priority.REPLAY)
        self._mind()  # what was swept may have been lost or found again
        self._routing.tidy()

    def _swept(self, view: TargetView, done: asyncio.Task[None]) -> None:
        del self._sweeping[view]
        if not done.cancelled() and (error := done.exception()) is not None:
            self._metrics.lost("sweep")
            _log.error("sweep broke", target=view.name, exc_info=error)

    async def _sweep_and_tidy(self, view: TargetView) -> None:
        await self._sweep(view)
        if view.trouble:
            return
        try:
            async with asyncio.timeout(TIDY_SECONDS):
                await self._remover.tidy(view)
        except (EngineError, TimeoutError) as error:
            _log.warning("it is not tidied", target=view.name, error=str(error) or repr(error))

    async def _sweep(self, view: TargetView) -> None:
        is_back = view.is_in_doubt and view.objects is not None
        try:
            await view.sweep()
        except EngineError as error:
            _log.warning("target does not answer", target=view.name, error=str(error))
            self._targets.publish(view)
            self._queue_all_of(view)
            return
        self._targets.publish(view)
        self._routing.follow()  # only now it is known whom its router may send requests to
        if is_back:  # no object may have moved meanwhile, and still all is told anew
            self._queue_all_of(view, Priority.ENGINE)
        if view not in self._met:  # what runs there as it should is neither judged nor probed yet
            self._met.add(view)
            self._queue_all_of(view)
        wanted = self._wanted.of(view.name) if self._targets.get(view.name) is view else {}
        for stream in differing(wanted, view):
            self._add(stream, view.name)
        unsettled = self._passing.unsettled
        for stream in list(unsettled):  # what they were judged by may have been an old list
            app = self._desired.app(stream)
            if app is None:
                del unsettled[stream]
            elif app.target == view.name:
                self._add(stream, view.name)
        for stream in view.ended:  # has no fingerprint: of an app of this target, that may be so
            if not self._wanted.is_at(stream, view.name):
                self._add(stream, view.name)

    def _add(self, stream: str, target: str, priority: Priority = Priority.REPLAY) -> None:
        """Queue a key, if this worker decides over it there."""
        if self._sharing.holds(target, stream):
            self._queue.add(stream, priority)

    def _queue_all_of(self, view: TargetView, priority: Priority = Priority.REPLAY) -> None:
        """Every app there must be judged: how it is, or that this is unknown."""
        if self._targets.get(view.name) is not view:
            return
        for stream in list(self._desired.streams("App")):
            app = self._desired.app(stream)
            if app is not None and app.target == view.name:
                self._add(stream, view.name, priority)

    # -- engine events ------------------------------------------------------------------------

    def _watch(self, view: TargetView) -> None:
        task = asyncio.create_task(
            supervised(
                f"events-{view.name}", lambda: self._follow_events(view), lost=self._metrics.lost
            )
        )
        self._watchers[view] = task

    async def _follow_events(self, view: TargetView) -> None:
        async with aclosing(view.engine.events.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.app is None:
                    await self._sweep(view)
                elif self._sharing.holds(view.name, stream := f"App/{event.app[0]}/{event.app[1]}"):
                    self.engine_event(stream)
