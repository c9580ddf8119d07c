"""Passing: the passes over keys, a bounded number at once, each over the parts that are ours.

What an app is where it should be, what former lives of it left, and what it left on other targets
are parts of one pass, and each is done by whoever decides over the key on that target.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import final

import structlog
from structlog.contextvars import bind_contextvars

from bus.log import LogError
from domain.events import ForeignObject
from domain.names import Ref
from projections.desired import DesiredApp, DesiredState
from reconcilers.adopting import Adopter
from reconcilers.app_pass import AppReconciler
from reconcilers.following import Loops
from reconcilers.lanes import Lanes
from reconcilers.metrics import ReconcileMetrics
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
from reconcilers.outcome import Outcome
from reconcilers.places import Places
from reconcilers.ports import EngineError, EngineUnavailable, LeaseEnded
from reconcilers.queue import KeyQueue, Priority
from reconcilers.removal import Remover
from reconcilers.sharing import Sharing
from reconcilers.targets import Targets, TargetView

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
class Passing:
    def __init__(  # noqa: PLR0913 -- the assembly hands in one of each part
        self,
        *,
        desired: DesiredState,
        targets: Targets,
        places: Places,
        sharing: Sharing,
        queue: KeyQueue,
        apps: AppReconciler,
        remover: Remover,
        adopter: Adopter,
        metrics: ReconcileMetrics,
        settings: WorkerSettings,
        clock: Callable[[], float],
        progress: dict[str, float],
    ) -> None:
        self._desired = desired
        self._targets, self._places, self._sharing = targets, places, sharing
        self._queue, self._apps, self._remover = queue, apps, remover
        self._adopter, self._metrics = adopter, metrics
        self._settings, self._clock, self._progress = settings, clock, progress
        self._lanes = Lanes(queue, lane=self._lane, share=self._share)
        self._numbers = count(1)
        self.unsettled: dict[str, None] = {}
        """Apps that their last pass found not as wanted."""

    def loops(self) -> Loops:
        for number in range(self._settings.passes):
            common = number < self._settings.common_passes
            yield f"passes-{number}", self._work if common else self._work_for_intents

    def forget(self, stream: str) -> None:
        """Another decides over it, and finds out anew."""
        self._apps.forget(stream)
        self.unsettled.pop(stream, None)

    async def close(self) -> None:
        """Cancel what is under way beside the passes."""
        await self._adopter.close()
        await self._apps.close()
        await self._remover.close()

    async def explain(self, stream: str) -> Sequence[str]:
        """What a pass over an app would do now, in sentences; nothing is done.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        app = self._desired.app(stream)
        if app is None:
            return ()
        return await self._apps.foresee(app, self.view(app.target))

    async def preview(
        self, app: DesiredApp, adopting: Sequence[ForeignObject] = ()
    ) -> Sequence[ObjectChange]:
        """What would change of an app's objects if it were so; nothing is done.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        return await self._apps.preview(app, self.view(app.target), adopting)

    async def preview_project(self, project: str, uid: int, target: str) -> Sequence[ObjectChange]:
        """What would change of what a project's apps share on a target; nothing is done.

        Raises:
            EngineUnavailable: it does not answer.
        """
        return await self._apps.preview_project(project, uid, self.view(target))

    async def in_the_way(self, stream: str) -> Sequence[InTheWay]:
        """What of others has names on a cluster that an app needs.

        Raises:
            EngineError: that cannot be found out now.
        """
        app = self._desired.app(stream)
        return await self._apps.in_the_way(app, self.view(app.target)) if app is not None else ()

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
        self._progress["passes"] = self._clock()
        self._metrics.worked(self._progress["passes"] - began)

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
        except LeaseEnded as error:
            self._queue.succeeded(key)  # it does not wait here for when it is ours again
            self._metrics.passed("error", self._clock() - began)
            _log.info("pass ended", error=str(error))
            return
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
            self.unsettled.pop(key, None)
        else:
            self.unsettled[key] = None
        if outcome.wake_at is not None:
            self._queue.add_at(key, outcome.wake_at, Priority.ENGINE)
        if outcome.result == "success":
            _log.info(outcome.sentence)

    async def _reconcile(self, key: str) -> Outcome:
        app = self._desired.app(key)
        if key in self._desired.frozen or self._owner_frozen(key, app):
            return Outcome("noop", "frozen: its history cannot be read")
        outcome: Outcome | EngineError | None = None
        if app is None:
            self._apps.forget(key)
        elif self._sharing.holds(app.target, key):
            with self._sharing.working(app.target, key):
                outcome = await self._reconcile_app(app)
        said, failures = await self._clear_elsewhere(key, app)
        if outcome is None:
            if failures:
                raise failures[0]
            nothing = "another decides over it" if app is not None else "there is no such app"
            return Outcome("success" if said else "noop", "; ".join(said) or nothing)
        for failure in failures:  # the tick asks again; the app where it is must not wait for it
            _log.warning("something is left elsewhere", error=str(failure))
        if isinstance(outcome, EngineError):
            raise outcome
        return outcome

    async def _clear_elsewhere(
        self, key: str, app: DesiredApp | None
    ) -> tuple[list[str], list[EngineError]]:
        """Take away what is left of former lives of an app, and on targets that it has left."""
        ref, said, failures = Ref.parse(key), list[str](), list[EngineError]()
        frozen = self._desired.frozen
        for removal in self._desired.removals_of(key):
            if f"Target/{removal.target}" in frozen or not self._sharing.holds(removal.target, key):
                continue
            try:
                with self._sharing.working(removal.target, key):
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
            if not elsewhere or (ref.project, ref.name) not in view.replicas:
                continue
            if f"Target/{view.name}" not in frozen and self._sharing.holds(view.name, key):
                try:
                    with self._sharing.working(view.name, key):
                        done = await self._remover.leftovers(ref, app, view)
                    said += [done] if done else []
                except EngineError as error:
                    failures.append(error)
        return said, failures

    async def _reconcile_app(self, app: DesiredApp) -> Outcome | EngineError:
        """Pass over the app where it should be; what its target could not do keeps no other."""
        try:
            view = self.view(app.target)
            async with view.use.passing((app.ref.project, app.ref.name)):
                outcome = await self._apps.reconcile(app, view)
        except LeaseEnded:  # whoever decides now says how it is
            raise
        except EngineError as error:
            if isinstance(error, EngineUnavailable):
                self._apps.unreachable(app, str(error))
            return error
        await self._adopt(app)
        return outcome

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
