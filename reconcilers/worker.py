"""The worker: keeps the projection near the log's head, and every app near its desired state.

Four things lead to a pass: a hint after a commit, the tail timer, an event of an engine, and the
replay tick, which looks at every app of every target. Each alone is enough to converge; the others
only make it sooner. Nothing is ever given up.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final, final

import structlog
from structlog.contextvars import bind_contextvars

from bus.log import LogError
from domain.names import Ref
from projections.desired import DesiredApp, DesiredState, Row
from reconcilers.adopting import Adopter
from reconcilers.app_pass import AppReconciler, Outcome
from reconcilers.differing import Wanted, differing
from reconcilers.journal import Journal
from reconcilers.lanes import Lanes
from reconcilers.metrics import ReconcileMetrics
from reconcilers.places import Places
from reconcilers.ports import EngineError, EngineUnavailable
from reconcilers.probing import Probing
from reconcilers.queue import KeyQueue, Priority
from reconcilers.reading import Reader
from reconcilers.removal import Remover
from reconcilers.targets import Targets, TargetView

TIDY_SECONDS: Final = 10.0  # after which a target that is not tidied is swept again
SWEEP_SECONDS: Final = 1.0  # that a tick waits for the lists of its targets

_log = structlog.get_logger("worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How a worker runs; times in seconds, the jitter as a share of the interval.

    `hints` may be off, and so may the tail (interval 0): the replay tick alone converges, too. Of
    the passes, a quarter is for intents alone, so that none waits for the end of another pass.
    """

    passes: int = 32
    pass_deadline: float = 120.0
    replay_interval: float = 10.0
    replay_jitter: float = 0.1
    hints: bool = True
    tail_interval: float = 2.0

    @property
    def common_passes(self) -> int:
        """How many passes there are for keys of all priorities."""
        return self.passes - self.passes // 4


@final
class Worker:
    def __init__(  # noqa: PLR0913 -- the assembly hands in one of each part
        self,
        *,
        reader: Reader,
        desired: DesiredState,
        targets: Targets,
        places: Places,
        queue: KeyQueue,
        apps: AppReconciler,
        remover: Remover,
        adopter: Adopter,
        probing: Probing,
        journal: Journal,
        metrics: ReconcileMetrics,
        settings: WorkerSettings,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._reader, self._desired = reader, desired
        self._targets, self._places = targets, places
        self._queue, self._apps, self._remover = queue, apps, remover
        self._adopter = adopter
        self._probing, self._journal, self._metrics = probing, journal, metrics
        self._settings, self._clock, self._rng = settings, clock, rng
        self._wanted = Wanted(desired)
        self._lanes = Lanes(queue, lane=self._lane, share=self._share)
        self._sweeping: dict[TargetView, asyncio.Task[None]] = {}
        self._hinted = asyncio.Event()
        self._numbers = count(1)
        self._told = 0  # the highest position that a hint has named
        self._untold: list[int] = []
        self._watchers: dict[TargetView, asyncio.Task[None]] = {}
        self._met: set[TargetView] = set()
        self._unsettled: dict[str, None] = {}  # apps that their last pass found not as wanted
        self.progress: dict[str, float] = {}
        """When each loop last got round (of the clock): `/livez` asks."""

    # -- what leads to passes -----------------------------------------------------------------

    def hint(self, position: int, keys: Sequence[str] | None) -> None:
        """The log has moved to `position`; never blocks. `keys` None: look yourself."""
        self._told = max(self._told, position)
        if self._settings.hints and position > self._desired.position:
            self._hinted.set()
        for key in keys or ():
            if position <= self._desired.position and key.startswith("App/"):
                self._queue.add(key.partition("#")[0], Priority.REPLAY)

    def engine_event(self, stream: str) -> None:
        self._queue.add(stream, Priority.ENGINE)

    async def catch_up(self, *, by_timer: bool = False) -> int:
        """Fold what the log has and the projection lacks; return how many events that were.

        Raises:
            LogUnavailable: the log cannot be read.
        """
        if not (by_timer and self._settings.hints):
            return await self._reader.catch_up(self._follow_up)
        self._count_lost()
        return await self._reader.catch_up(self._follow_untold)

    async def seen(self, position: int) -> None:
        """Return when the projection has folded up to `position`."""
        if position > self._desired.position:
            await self.catch_up()
        await self._reader.wait_for(position)

    def _count_lost(self) -> None:
        """Of what a timer found before, no hint has come since: a late one would be there."""
        lost = sum(position > self._told for position in self._untold)
        self._untold.clear()
        if lost:
            self._metrics.healed_by_replay(lost)

    async def _follow_untold(self, page: Sequence[Row]) -> None:
        """Follow up what a timer found, and remember the intents that no hint told of yet."""
        self._untold += [row[0] for row in page if row[0] > self._told and "#" not in row[1]]
        await self._follow_up(page)

    async def _follow_up(self, page: Sequence[Row]) -> None:
        """Queue the apps that new events speak of; follow changed targets."""
        follow = False
        for stream in dict.fromkeys(row[1] for row in page):
            if stream.startswith("App/"):
                app, _, part = stream.partition("#")
                self._wanted.moved(app)
                self._queue.add(app, Priority.ENGINE if part else Priority.INTENT)
            elif stream.startswith("Target/") and "#" not in stream:
                follow = True
        if follow:
            await self._follow_targets()

    async def _follow_targets(self) -> None:
        await self._places.follow(self._watch)
        present = set(self._targets)
        for view in [one for one in self._watchers if one not in present]:
            self._watchers.pop(view).cancel()
            self._met.discard(view)

    async def explain(self, stream: str) -> Sequence[str]:
        """What a pass over an app would do now, in sentences; nothing is done.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        app = self._desired.app(stream)
        if app is None:
            return ()
        return await self._apps.foresee(app, self.view(app.target))

    # -- loops --------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work, for ever; cancel to stop. What is under way is left for whoever comes next."""
        for loop in ("replay", "tail", "passes"):  # a first round that hangs is late, too
            self.progress[loop] = self._clock()
        await self._quietly_catch_up(by_timer=False)  # of what was there before, nobody could tell
        tasks = [
            asyncio.create_task(self._supervised(name, loop), name=name)
            for name, loop in self._loops()
        ]
        try:
            # A cancelled `gather` cancels in order; a task group does in none.
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            beside = [*self._watchers.values(), *self._sweeping.values()]
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._adopter.close()
            await self._apps.close()
            await self._remover.close()

    def _loops(self) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        yield "probing", self._probing.run
        yield "journal", self._journal.run
        yield "replay", self._replay
        if self._settings.hints:
            yield "hints", self._follow_hints
        if self._settings.tail_interval:
            yield "tail", self._tail
        for number in range(self._settings.passes):
            common = number < self._settings.common_passes
            yield f"passes-{number}", self._work if common else self._work_for_intents

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop; if it fails, say so, wait a moment and run it again."""
        while True:
            try:
                await loop()
            except Exception:
                self._metrics.lost(name)
                _log.exception("a loop failed and starts again", loop=name)
            await asyncio.sleep(1.0)

    async def _follow_hints(self) -> None:
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            await self._quietly_catch_up(by_timer=False)

    async def _tail(self) -> None:
        while True:
            await self._sleep(self._settings.tail_interval)
            await self._quietly_catch_up(by_timer=True)
            self.progress["tail"] = self._clock()

    async def _replay(self) -> None:
        """The replay tick: catch up, list every target, and queue every app that differs."""
        while True:
            await self.tick()
            self.progress["replay"] = self._clock()
            await self._sleep(self._settings.replay_interval)

    async def _sleep(self, interval: float) -> None:
        jitter = self._settings.replay_jitter
        await asyncio.sleep(interval * self._rng.uniform(1 - jitter, 1 + jitter))

    async def tick(self) -> None:
        await self._quietly_catch_up(by_timer=True)
        await self._follow_targets()
        for stream in list(self._desired.streams("Project")):
            self._desired.resource(stream)  # one that cannot be read freezes its apps from now on
        for view in self._targets:
            if view not in self._sweeping:
                task = asyncio.create_task(self._sweep_and_tidy(view))
                self._sweeping[view] = task
                task.add_done_callback(partial(self._swept, view))
        if self._sweeping:  # whoever takes longer delays no other
            await asyncio.wait(self._sweeping.values(), timeout=SWEEP_SECONDS)
        for removal in self._desired.removals():
            self._queue.add(removal.ref.stream, Priority.REPLAY)
        for stream in self._desired.adopting():
            self._queue.add(stream, Priority.REPLAY)

    def _swept(self, view: TargetView, done: asyncio.Task[None]) -> None:
        del self._sweeping[view]
        if not done.cancelled() and (error := done.exception()) is not None:
            self._metrics.lost("sweep")
            _log.error("sweep broke", target=view.name, exc_info=error)

    async def _quietly_catch_up(self, *, by_timer: bool) -> None:
        try:
            await self.catch_up(by_timer=by_timer)
        except LogError as error:
            _log.warning("the log does not answer; the timers ask again", error=str(error))

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
        try:
            await view.sweep()
        except EngineError as error:
            _log.warning("target does not answer", target=view.name, error=str(error))
            self._targets.publish(view)
            self._queue_all_of(view)
            return
        self._targets.publish(view)
        if view not in self._met:  # what runs there as it should is neither judged nor probed yet
            self._met.add(view)
            self._queue_all_of(view)
        wanted = self._wanted.of(view.name) if self._targets.get(view.name) is view else {}
        for stream in differing(wanted, view):
            self._queue.add(stream, Priority.REPLAY)
        for stream in list(self._unsettled):  # what they were judged by may have been an old list
            app = self._desired.app(stream)
            if app is None:
                del self._unsettled[stream]
            elif app.target == view.name:
                self._queue.add(stream, Priority.REPLAY)
        for stream in view.ended:  # has no fingerprint: of an app that exists, that is as it should
            if not self._wanted.knows(stream):
                self._queue.add(stream, Priority.REPLAY)

    def _queue_all_of(self, view: TargetView) -> None:
        """Every app there must be judged: how it is, or that this is unknown."""
        if self._targets.get(view.name) is not view:
            return
        for stream in list(self._desired.streams("App")):
            app = self._desired.app(stream)
            if app is not None and app.target == view.name:
                self._queue.add(stream, Priority.REPLAY)

    # -- engine events ------------------------------------------------------------------------

    def _watch(self, view: TargetView) -> None:
        task = asyncio.create_task(
            self._supervised(f"events-{view.name}", lambda: self._follow_events(view))
        )
        self._watchers[view] = task

    async def _follow_events(self, view: TargetView) -> None:
        async with aclosing(view.engine.events.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.app is None:
                    await self._sweep(view)
                else:
                    self.engine_event(f"App/{event.app[0]}/{event.app[1]}")

    # -- passes -------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._take_turn(*await self._queue.get())

    async def _work_for_intents(self) -> None:
        while True:
            await self._take_turn(*await self._queue.get_intent())

    async def _take_turn(self, key: str, priority: Priority, since: float) -> None:
        lane = self._lanes.enter(key, priority)
        if lane is None:
            self._queue.done(key)
            return
        began = self._clock()
        self._metrics.queued(began - since)
        try:
            await self._pass(key)
        finally:
            self._queue.done(key)
            self._lanes.leave(lane)
        self.progress["passes"] = self._clock()
        self._metrics.worked(self.progress["passes"] - began)

    def _lane(self, key: str) -> str:
        app = self._desired.app(key)
        if app is not None:
            return app.target
        return next((one.target for one in self._desired.removals_of(key)), "")

    def _share(self, priority: Priority) -> int:
        """All passes, or half of them where there are several targets; intents have their own."""
        settings = self._settings
        if len(self._targets) < 2:
            return settings.passes
        passes = settings.passes if priority is Priority.INTENT else settings.common_passes
        return -(-passes // 2)

    async def _pass(self, key: str) -> None:
        began = self._clock()
        position = self._desired.position
        bind_contextvars(resource=key, position=position, **{"pass": next(self._numbers)})
        try:
            async with asyncio.timeout(self._settings.pass_deadline):
                outcome = await self._reconcile(key)
        except (EngineError, LogError, TimeoutError) as error:
            delay = self._queue.failed(key)
            self._metrics.passed("error", self._clock() - began)
            _log.warning("pass failed", error=str(error) or repr(error), again=delay)
            wake_at = self._apps.wakes_at(key)
            if wake_at is not None and wake_at > began:  # what fails must not hold up a held start
                self._queue.add_at(key, wake_at, Priority.ENGINE)
            return
        except Exception:
            self._queue.failed(key)
            self._metrics.passed("error", self._clock() - began)
            _log.exception("pass broke")
            return
        self._queue.succeeded(key)
        self._metrics.passed(outcome.result, self._clock() - began)
        if outcome.result == "noop":
            self._unsettled.pop(key, None)
        else:
            self._unsettled[key] = None
        if outcome.wake_at is not None:
            self._queue.add_at(key, outcome.wake_at, Priority.ENGINE)
        if outcome.result == "success":
            _log.info(outcome.sentence)

    async def _reconcile(self, key: str) -> Outcome:
        app = self._desired.app(key)
        if key in self._desired.frozen or self._owner_frozen(key, app):
            return Outcome("noop", "frozen: its history cannot be read")
        outcome: Outcome | None = None
        if app is not None:
            outcome = await self._reconcile_app(app)
            await self._adopt(app)
        else:
            self._apps.forget(key)
        said, failures = await self._clear_elsewhere(key, app)
        if outcome is None:
            if failures:
                raise failures[0]
            return Outcome("success" if said else "noop", "; ".join(said) or "there is no such app")
        for failure in failures:  # the tick asks again; the app where it is must not wait for it
            _log.warning("something is left elsewhere", error=str(failure))
        return outcome

    async def _clear_elsewhere(
        self, key: str, app: DesiredApp | None
    ) -> tuple[list[str], list[EngineError]]:
        """Take away what is left of former lives of an app, and on targets that it has left."""
        ref, said, failures = Ref.parse(key), list[str](), list[EngineError]()
        frozen = self._desired.frozen
        for removal in self._desired.removals_of(key):
            if f"Target/{removal.target}" in frozen:
                continue
            try:
                done = await self._remover.remove(removal, await self._places.of(removal))
            except EngineError as error:
                failures.append(error)
                continue
            if done:
                said.append(done)
                self._queue.add_at(key, self._clock() + 1.0, Priority.ENGINE)
        if said:
            return said, failures
        for view in self._targets:
            elsewhere = app is None or self._targets.get(app.target) is not view
            if f"Target/{view.name}" in frozen:
                continue
            if elsewhere and (ref.project, ref.name) in view.replicas:
                try:
                    done = await self._remover.leftovers(ref, app, view)
                    said += [done] if done else []
                except EngineError as error:
                    failures.append(error)
        return said, failures

    async def _reconcile_app(self, app: DesiredApp) -> Outcome:
        try:
            return await self._apps.reconcile(app, self.view(app.target))
        except EngineUnavailable as error:
            self._apps.unreachable(app, str(error))
            raise

    async def _adopt(self, app: DesiredApp) -> None:
        try:
            await self._adopter.go_on(app, self.view(app.target))
        except EngineError as error:  # the tick asks again; what is ours must not wait for it
            _log.warning("an adoption waits", resource=app.ref.stream, error=str(error))

    def view(self, target: str) -> TargetView:
        """A target; raises `EngineUnavailable` if there is none of this name."""
        view = self._targets.get(target)
        if view is None:
            raise EngineUnavailable(f"target {target} is not known here")
        return view

    def _owner_frozen(self, key: str, app: DesiredApp | None) -> bool:
        frozen = self._desired.frozen
        if not frozen:
            return False
        project = f"Project/{Ref.parse(key).project}"
        return project in frozen or (app is not None and f"Target/{app.target}" in frozen)
