"""One pass over one app: observe, diff, execute, record, judge. No decision is taken here.

Every action names its target and is safe to repeat, so a crash between any two of them leaves a
world that the next pass repairs. Ends of replicas may take their grace time; they are tasks beside
the passes, and what they end counts as gone.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, final

import structlog

from bus.intents import IntentService
from bus.log import LogError
from bus.secrets import SecretStore, SecretUnavailable
from domain import events as e
from domain.access import system
from domain.app import Health
from domain.intents import Resume
from domain.quantities import seconds
from domain.secret import SecretText
from projections.desired import DesiredApp, DesiredState
from reconcilers import judging, orders
from reconcilers.books import AppBook
from reconcilers.images import ImageResolver
from reconcilers.journal import Journal
from reconcilers.metrics import ReconcileMetrics
from reconcilers.orders import Revision, Revisions
from reconcilers.ports import (
    Engine,
    EngineError,
    EngineUnavailable,
    ImageUnavailable,
    NameTaken,
    Replica,
    StartFailed,
)
from reconcilers.probing import Probing
from reconcilers.replicas import Action, Plan, Remove, Seen, Slot, Start, Stop, Want, diff
from reconcilers.status import AppStatus, StatusStore
from reconcilers.targets import Targets, TargetView

ROUNDS: Final = 12  # of acting and looking again in one pass, before others have their turn

_log = structlog.get_logger("pass")


class Outcome(NamedTuple):
    """How a pass ended: `noop`, `success` or `requeue`, in a sentence, and when to look again."""

    result: str
    sentence: str
    wake_at: float | None = None


class Gate(NamedTuple):
    """What may be done at all now.

    `halted` is why no engine may be written to, or None. `log_answers` is False while the log is
    away: then only the present revision is healed. `report_seen` tells of a position found on a
    replica; `position` is the log's head as far as it is known here.
    """

    halted: Callable[[], str | None]
    log_answers: Callable[[], bool]
    report_seen: Callable[[int, str], None]
    position: Callable[[], int]


class Surroundings(NamedTuple):
    """Everything that passes share."""

    desired: DesiredState
    targets: Targets
    revisions: Revisions
    secrets: SecretStore
    intents: IntentService
    images: ImageResolver
    probing: Probing
    journal: Journal
    status: StatusStore
    metrics: ReconcileMetrics
    gate: Gate
    clock: Callable[[], float]
    now: Callable[[], float]
    rng: random.Random
    again: Callable[[str], None]
    """Queue a key because something beside its pass has ended."""


class _Known(NamedTuple):
    """The revisions that matter now, and the variables of those that can start."""

    held: Revision
    former: Revision | None
    environments: dict[int, dict[str, str | SecretText]]
    troubles: list[tuple[str, str]]


@final
class AppReconciler:
    def __init__(self, around: Surroundings) -> None:
        self._ = around
        self._books: dict[str, AppBook] = {}

    # -- the pass -----------------------------------------------------------------------------

    async def reconcile(self, app: DesiredApp, view: TargetView) -> Outcome:
        """Bring one app a step nearer to what it should be; `noop` if it is there.

        Raises:
            EngineUnavailable: its target does not answer; nothing is known to have changed.
        """
        around, stream = self._, app.ref.stream
        book = self._book(app)
        if book.meet(app):
            around.images.retry_now(stream)
        await self._resume_if_due(app)
        done: list[str] = []
        for _ in range(ROUNDS):
            seen, want, known, plan = await self._look(app, view, book)
            if not plan.actions:
                break
            await self._execute(app, view.engine, book, known, plan.actions)
            done += [_told(action) for action in plan.actions]
        else:
            around.again(stream)
            seen, want, known, plan = await self._look(app, view, book)
        status = self._judge(app, book, want, seen, known, plan)
        self._record(app, book, want, seen, status)
        sentence = f"{'; '.join(done) or 'nothing to do'}: {status.conditions[0].message}"
        if done:
            return Outcome("success", sentence, plan.wake_at)
        return Outcome("noop" if status.is_true("Synced") else "requeue", sentence, plan.wake_at)

    async def foresee(self, app: DesiredApp, view: TargetView) -> list[str]:
        """What the next pass would do, in sentences. Raises what `reconcile` would."""
        _, _, _, plan = await self._look(app, view, self._book(app))
        return [_foretold(action) for action in plan.actions]

    async def _look(
        self, app: DesiredApp, view: TargetView, book: AppBook
    ) -> tuple[list[Seen], Want, _Known, Plan]:
        """Observe the target, and decide."""
        around = self._
        orphaned = around.desired.orphans(app.ref.stream)
        listed = await view.look((app.ref.project, app.ref.name))
        replicas = [one for one in listed if one.uid not in orphaned]
        self._check_positions(replicas, view.name)
        now = around.clock()
        book.note(replicas, now)
        known = await self._known(app, view.engine)
        healths = {one: await self._health(app, one) for one in {r.name.revision for r in replicas}}
        seen = around.probing.observe(
            app.ref.stream,
            [(one, healths[one.name.revision]) for one in replicas],
            view.engine.io,
        )
        want = self._want(app, book, known, now)
        if not want.stop_first:
            seen = [one for one in seen if one.replica.id not in book.stopping]
        plan = diff(want, seen, book.slots.memory(), now)
        actions = tuple(a for a in plan.actions if self._may(a, want, book))
        return seen, want, known, Plan(actions, plan.wake_at)

    def _may(self, action: Action, want: Want, book: AppBook) -> bool:
        """Without the log, only the present revision is healed; nothing ends that serves."""
        if self._.gate.halted() is not None:
            return False
        if isinstance(action, Stop) and action.replica.id in book.stopping:
            return False
        if self._.gate.log_answers():
            return True
        match action:
            case Start(slot=slot):
                return slot.revision == want.stable
            case Stop(keep=keep):
                return keep and want.replicas > 0
            case Remove():
                return False

    def _check_positions(self, replicas: Sequence[Replica], target: str) -> None:
        head = self._.gate.position()
        for one in replicas:
            if one.position > head:
                self._.gate.report_seen(one.position, f"a replica on target {target}")

    # -- what is known ------------------------------------------------------------------------

    async def _known(self, app: DesiredApp, engine: Engine) -> _Known:
        around = self._
        troubles: list[tuple[str, str]] = []
        held = orders.of(app)
        if app.paused is not None and app.paused.revision != app.revision:
            held = await self._find(app, app.paused.revision) or held
        former = None
        if app.stable not in (0, held.number):
            former = await self._find(app, app.stable)
        environments = {}
        for revision in (held, former):
            if revision is None:
                continue
            if revision.needs_image:
                if revision is held:
                    message = around.images.want(app, revision, engine.images)
                    if message:
                        troubles.append(("ImageUnavailable", message))
                continue
            try:
                environments[revision.number] = await orders.environment(
                    around.secrets, app.ref.project, revision
                )
            except SecretUnavailable as error:
                troubles.append(("SecretUnavailable", str(error)))
        return _Known(held, former, environments, troubles)

    async def _find(self, app: DesiredApp, number: int) -> Revision | None:
        try:
            return await self._.revisions.find(app, number)
        except LogError:
            return None

    async def _health(self, app: DesiredApp, number: int) -> Health:
        found = await self._find(app, number)
        return (found.spec if found else app.spec).health

    def _want(self, app: DesiredApp, book: AppBook, known: _Known, now: float) -> Want:
        rollout = app.spec.rollout
        held = known.held
        waited = book.waited(held.number, now)
        stalled = held.number != app.stable and waited > seconds(rollout.progress_deadline)
        return Want(
            uid=app.uid,
            revision=held.number,
            digest=held.digest,
            replicas=app.wanted,
            keep_dead=app.spec.replicas or 0,
            stable=app.stable,
            surge=rollout.max_surge,
            max_unavailable=rollout.max_unavailable,
            stop_first=rollout.strategy == "stopFirst",
            startable=frozenset(known.environments),
            stalled=stalled,
        )

    async def _resume_if_due(self, app: DesiredApp) -> None:
        until = app.paused.until if app.paused else None
        if until is None or until.timestamp() > self._.now():
            return
        key = f"pause-ended-{app.uid}-{app.position}"
        try:
            await self._.intents.submit(Resume(ref=app.ref), actor=system("pause"), key=key)
        except LogError:
            return  # the tick asks again

    # -- acting -------------------------------------------------------------------------------

    async def _execute(
        self,
        app: DesiredApp,
        engine: Engine,
        book: AppBook,
        known: _Known,
        actions: Sequence[Action],
    ) -> None:
        starts = [a for a in actions if isinstance(a, Start)]
        if starts:
            await engine.grounds.prepare(app.ref.project)
            results = await asyncio.gather(
                *(self._start(app, engine, book, known, start) for start in starts),
                return_exceptions=True,
            )
            for failure in results:
                if failure is not None:
                    raise failure
        for action in actions:
            match action:
                case Stop():
                    self._begin_stop(app, engine, book, action)
                case Remove(replica=replica):
                    await engine.replicas.remove(replica)
                case Start():
                    pass

    async def _start(
        self, app: DesiredApp, engine: Engine, book: AppBook, known: _Known, start: Start
    ) -> None:
        slot, attempt = start.slot, start.attempt
        revision = known.held if slot.revision == known.held.number else known.former
        assert revision is not None, "only revisions that are known are startable"
        env = known.environments[slot.revision]
        order = orders.order(app, revision, slot, attempt, env=env, position=self._.gate.position())
        book.slots.started(slot, attempt)
        try:
            await engine.replicas.start(order)
        except NameTaken as error:
            book.slots.taken(slot, attempt)
            book.refusals[slot] = str(error)
            return
        except (StartFailed, ImageUnavailable) as error:
            book.slots.refused(slot, attempt, self._.clock())
            book.refusals[slot] = str(error)
            return
        healed = book.healed(slot, self._.clock())
        if healed is not None:
            reason, took = healed
            self._.metrics.healed(reason.partition(" ")[0], took)
            self._.journal.record(
                app.ref,
                e.ReplicaHealed,
                cause=app.generation,
                place=(slot, attempt),
                uid=app.uid,
                revision=slot.revision,
                slot=slot.number,
                reason=reason,
                seconds=round(took, 3),
            )

    def _begin_stop(self, app: DesiredApp, engine: Engine, book: AppBook, stop: Stop) -> None:
        replica = stop.replica
        drift = stop.reason.startswith("drift: ")
        now = self._.clock()
        book.ended_by_us(replica, lost=stop.reason if stop.keep and app.wanted else "", now=now)
        if drift:
            fields = tuple(stop.reason.removeprefix("drift: ").split(", "))
            for field in fields:
                self._.metrics.drifted(field)
            self._.journal.record(
                app.ref,
                e.DriftRepaired,
                cause=app.generation,
                place=replica.name.slot,
                uid=app.uid,
                revision=replica.name.revision,
                slot=replica.name.slot,
                fields=fields,
            )
        drain = 0.0 if stop.keep else seconds(app.spec.rollout.drain)
        grace = seconds(app.spec.stop_grace)
        task = asyncio.create_task(self._stop(engine, stop, drain, grace))
        book.stopping[replica.id] = task
        stream = app.ref.stream

        def ended(done: asyncio.Task[None]) -> None:
            book.stopping.pop(replica.id, None)
            if not done.cancelled():
                error = done.exception()
                if error is not None:
                    _log.warning("stop failed", replica=replica.id, error=str(error))
                self._.again(stream)

        task.add_done_callback(ended)

    async def _stop(self, engine: Engine, stop: Stop, drain: float, grace: float) -> None:
        if drain:
            await asyncio.sleep(drain)
        await engine.replicas.stop(stop.replica, grace=grace)
        if not stop.keep:
            await engine.replicas.remove(stop.replica)

    # -- telling ------------------------------------------------------------------------------

    def _judge(
        self,
        app: DesiredApp,
        book: AppBook,
        want: Want,
        seen: Sequence[Seen],
        known: _Known,
        plan: Plan,
    ) -> AppStatus:
        around = self._
        messages = {one.replica.id: around.probing.trouble(one.replica) for one in seen}
        troubles = list(known.troubles)
        halted = around.gate.halted()
        if halted is not None:
            troubles.insert(0, ("LogRewound", halted))
        troubles += [("StartRefused", message) for message in book.refusals.values()]
        troubles += self._crashes(book, seen)
        unwell = next((m for m in messages.values() if m), "")
        if unwell and want.stalled:
            troubles.append(("HealthCheckFailing", unwell))
        running = [one for one in seen if not judging.is_dead(one.replica)]
        updated = [one for one in running if one.ready and one.slot.revision == want.revision]
        converged = len(running) == len(updated) == want.replicas and not book.stopping
        findings = judging.Findings(
            troubles=troubles,
            stalled=want.stalled and len(updated) < want.replicas,
            synced=converged and not plan.actions and want.revision == app.revision,
            messages=messages,
        )
        stream = app.ref.stream
        status = judging.judge(
            app, want, seen, findings, now=around.now(), before=around.status.get(stream)
        )
        around.status.put(stream, status)
        return status

    def _crashes(self, book: AppBook, seen: Sequence[Seen]) -> list[tuple[str, str]]:
        waiting = book.slots.waiting(self._.clock())
        if waiting is None:
            return []
        slot, wait = waiting
        dead = [one.replica for one in seen if one.slot == slot and judging.is_dead(one.replica)]
        how = judging.died(dead[-1]) if dead else book.refusals.get(slot, "it ended")
        message = f"slot {slot.number} of revision {slot.revision}: {how}; next try in {wait:.0f} s"
        return [("CrashLoop", message)]

    def _record(
        self, app: DesiredApp, book: AppBook, want: Want, seen: Sequence[Seen], status: AppStatus
    ) -> None:
        around, cause, uid = self._, app.generation, app.uid
        ready = status.conditions[0]
        truth = (ready.status == "True", ready.reason)
        if want.replicas and app.begun < want.revision and book.once("begun", want.revision):
            around.journal.record(
                app.ref,
                e.RolloutStarted,
                cause=cause,
                place=want.revision,
                uid=uid,
                revision=want.revision,
                replaces=app.stable,
            )
        if want.stalled and want.replicas and book.once("stalled", want.revision):
            around.journal.record(
                app.ref,
                e.RolloutStalled,
                cause=cause,
                place=want.revision,
                uid=uid,
                revision=want.revision,
                serving=status.serving,
                message=status.conditions[2].message,
            )
        complete = want.replicas and status.updated >= want.replicas
        alone = all(one.slot.revision == want.revision for one in seen) and not book.stopping
        fresh = want.revision != app.stable
        if complete and alone and fresh and book.once("completed", want.revision):
            took = max(0.0, around.now() - app.asked_at)
            around.metrics.ready(took)
            around.journal.record(
                app.ref,
                e.RolloutCompleted,
                cause=cause,
                place=want.revision,
                uid=uid,
                revision=want.revision,
                seconds=round(took, 3),
            )
        if truth != book.condition:
            if book.condition is not None and truth[1] not in ("Starting", "Serving"):
                around.journal.record(
                    app.ref,
                    e.HealthChanged,
                    cause=cause,
                    place=truth,
                    uid=uid,
                    ready=truth[0],
                    reason=ready.reason,
                    message=ready.message,
                )
            book.condition = truth

    def unreachable(self, app: DesiredApp, message: str) -> None:
        """Publish that the app's target does not answer."""
        stream = app.ref.stream
        before = self._.status.get(stream)
        status = judging.unknown(app, message, now=self._.now(), before=before)
        self._.status.put(stream, status)

    def _book(self, app: DesiredApp) -> AppBook:
        book = self._books.get(app.ref.stream)
        if book is None or book.uid != app.uid:
            book = self._books[app.ref.stream] = AppBook(app.uid)
        return book

    def forget(self, stream: str) -> None:
        self._books.pop(stream, None)
        self._.revisions.forget(stream)

    async def close(self) -> None:
        """Cancel what is under way; whoever comes next finds it half done and finishes it."""
        tasks = [task for book in self._books.values() for task in book.stopping.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _told(action: Action) -> str:
    match action:
        case Start(slot=slot, attempt=attempt):
            return f"started slot {slot.number} of revision {slot.revision}, attempt {attempt}"
        case Stop(replica=replica, reason=reason):
            return (
                f"stopped slot {replica.name.slot} of revision {replica.name.revision} ({reason})"
            )
        case Remove(replica=replica):
            return f"removed attempt {replica.name.attempt} of slot {replica.name.slot}"


def _foretold(action: Action) -> str:
    verb, _, rest = _told(action).partition(" ")
    return f"{ {'started': 'start', 'stopped': 'stop', 'removed': 'remove'}[verb] } {rest}"


__all__ = ["AppReconciler", "EngineError", "EngineUnavailable", "Gate", "Outcome", "Slot"]
