"""The worker: keeps the projection near the log's head, and every app near its desired state.

Four things lead to a pass: a hint after a commit, the tail timer, an event of an engine, and the
replay tick, which looks at every app of every target. Each alone is enough to converge; the others
only make it sooner. Nothing is ever given up.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Final, final

import structlog
from structlog.contextvars import bind_contextvars

from bus.log import LogError
from domain import target as target_spec
from domain.names import Ref
from domain.target import TargetSpec
from projections.desired import DesiredApp, DesiredState
from reconcilers.adopting import Adopter
from reconcilers.app_pass import AppReconciler, Outcome
from reconcilers.differing import Wanted, differing
from reconcilers.journal import Journal
from reconcilers.lanes import Lanes
from reconcilers.metrics import ReconcileMetrics
from reconcilers.ports import EngineError, EngineUnavailable
from reconcilers.probing import Probing
from reconcilers.queue import KeyQueue, Priority
from reconcilers.reading import Reader
from reconcilers.removal import Remover
from reconcilers.targets import Targets, TargetView

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
        self._reader, self._desired, self._targets = reader, desired, targets
        self._queue, self._apps, self._remover = queue, apps, remover
        self._adopter = adopter
        self._probing, self._journal, self._metrics = probing, journal, metrics
        self._settings, self._clock, self._rng = settings, clock, rng
        self._wanted = Wanted(desired)
        self._lanes = Lanes(queue, lane=self._lane, share=self._share)
        self._sweeping: dict[TargetView, asyncio.Task[None]] = {}
        self._hinted = asyncio.Event()
        self._numbers = count(1)
        self._watchers: dict[TargetView, asyncio.Task[None]] = {}
        self._met: set[TargetView] = set()
        self._unsettled: dict[str, None] = {}  # apps that their last pass found not as wanted
        self.progress: dict[str, float] = {}
        """When each loop last got round (of the clock): `/livez` asks."""

    # -- what leads to passes -----------------------------------------------------------------

    def hint(self, position: int, keys: Sequence[str] | None) -> None:
        """The log has moved to `position`; never blocks. `keys` None: look yourself."""
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
        folded = await self._reader.catch_up(self._follow_up)
        if folded and by_timer and self._settings.hints:
            self._metrics.healed_by_replay(folded)
        return folded

    async def seen(self, position: int) -> None:
        """Return when the projection has folded up to `position`."""
        if position > self._desired.position:
            await self.catch_up()
        await self._reader.wait_for(position)

    async def _follow_up(self, streams: Sequence[str]) -> None:
        """Queue the apps that new events speak of; follow changed targets."""
        follow = False
        for stream in dict.fromkeys(streams):
            if stream.startswith("App/"):
                app, _, part = stream.partition("#")
                self._wanted.moved(app)
                self._queue.add(app, Priority.ENGINE if part else Priority.INTENT)
            elif stream.startswith("Target/") and "#" not in stream:
                follow = True
        if follow:
            await self._follow_targets()

    async def _follow_targets(self) -> None:
        specs: dict[str, TargetSpec] = {}
        for stream in list(self._desired.streams("Target")):
            resource = self._desired.resource(stream)
            if resource is None:
                continue
            try:
                specs[resource.ref.name] = target_spec.decode(resource.spec)
            except ValueError as error:  # its apps fail one by one; those of others do not
                _log.error("target cannot be read", target=stream, error=str(error))
        for name in sorted(self._left_behind(specs)):
            await self._keep(name, specs)
        await self._targets.follow(specs, self._watch)
        for view in list(self._watchers):
            if self._targets.get(view.name) is not view:
                self._watchers.pop(view).cancel()
                self._met.discard(view)

    def _left_behind(self, specs: Collection[str]) -> set[str]:
        """The targets that are deleted, and may still have something of ours."""
        names = {removal.target for removal in self._desired.removals()}
        names |= {view.name for view in self._targets if view.name not in specs and self._has(view)}
        return names.difference(specs)

    def _has(self, view: TargetView) -> bool:
        """Whether something runs there that is not an orphan's."""
        for (project, app), replicas in view.replicas.items():
            spared = self._desired.orphans(f"App/{project}/{app}")
            if any(one.uid not in spared for one in replicas):
                return True
        return False

    async def _keep(self, name: str, specs: dict[str, TargetSpec]) -> None:
        """Keep a deleted target until nothing of ours is left there."""
        view = self._targets.get(name)
        if view is not None:
            specs[name] = view.spec
            return
        try:
            found = await self._reader.former_target(f"Target/{name}")
            if found is not None:
                specs[name] = target_spec.decode(found)
        except (LogError, ValueError) as error:
            _log.warning("a deleted target is not known yet", target=name, error=str(error))

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
        self.progress["replay"] = self._clock()  # a first tick that hangs is late, too
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
                task = asyncio.create_task(self._sweep(view))
                self._sweeping[view] = task
                task.add_done_callback(partial(self._swept, view))
        if self._sweeping:  # whoever takes longer delays no other
            await asyncio.wait(self._sweeping.values(), timeout=SWEEP_SECONDS)
        for removal in self._desired.removals():
            self._queue.add(removal.ref.stream, Priority.REPLAY)
        for stream in self._desired.adopting():
            self._queue.add(stream, Priority.REPLAY)

    def _swept(self, view: TargetView, _done: asyncio.Task[None]) -> None:
        del self._sweeping[view]

    async def _quietly_catch_up(self, *, by_timer: bool) -> None:
        try:
            await self.catch_up(by_timer=by_timer)
        except LogError as error:
            _log.warning("the log does not answer; the timers ask again", error=str(error))

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
        for stream in differing(self._wanted.of(view.name), view):
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
        self._metrics.queued(self._clock() - since)
        try:
            await self._pass(key)
        finally:
            self._queue.done(key)
            self._lanes.leave(lane)
        self.progress["passes"] = self._clock()

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
        bind_contextvars(resource=key, **{"pass": next(self._numbers)})
        try:
            async with asyncio.timeout(self._settings.pass_deadline):
                outcome = await self._reconcile(key)
        except (EngineError, LogError, TimeoutError) as error:
            delay = self._queue.failed(key)
            self._metrics.passed("error", self._clock() - began)
            _log.warning("pass failed", error=str(error) or repr(error), again=delay)
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
            position = self._desired.position
            _log.info(outcome.sentence, position=position)

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
                said.append(await self._remover.remove(removal, self.view(removal.target)))
                self._queue.add_at(key, self._clock() + 1.0, Priority.ENGINE)
            except EngineError as error:
                failures.append(error)
        if said:
            return said, failures
        for view in self._targets:
            elsewhere = app is None or view.name != app.target
            if f"Target/{view.name}" in frozen:
                continue
            if elsewhere and (ref.project, ref.name) in view.replicas:
                try:
                    said.append(await self._remover.leftovers(ref, app, view))
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
