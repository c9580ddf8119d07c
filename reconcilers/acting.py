"""Acting: carries out a plan on an engine. Every action is safe to repeat, and decides nothing.

Ends of replicas may take their drain and grace time: they are tasks beside the passes, and when
one is over the app is looked at again.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import final

import msgspec
import structlog

from domain import events as e
from projections.desired import DesiredApp
from reconcilers import orders
from reconcilers.books import AppBook, Unstopped
from reconcilers.ending import Patience, end, pause
from reconcilers.knowing import Known
from reconcilers.ports import Engine, ImageUnavailable, NameTaken, Replica, StartFailed
from reconcilers.replicas import Action, Remove, Start, Stop
from reconcilers.surroundings import Surroundings

_log = structlog.get_logger("acting")


@final
class Acting:
    def __init__(self, around: Surroundings) -> None:
        self._ = around

    async def execute(
        self,
        app: DesiredApp,
        engine: Engine,
        book: AppBook,
        known: Known,
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
        self, app: DesiredApp, engine: Engine, book: AppBook, known: Known, start: Start
    ) -> None:
        slot, attempt = start.slot, start.attempt
        revision = known.held if slot.revision == known.held.number else known.former
        assert revision is not None, "only revisions that are known are startable"
        env = known.environments[slot.revision]
        order = orders.order(app, revision, slot, attempt, env=env, position=self._.gate.position())
        reuses = start.reuses
        if reuses is not None and reuses.id not in book.stopping:
            order = msgspec.structs.replace(order, reuses=reuses.name)
        book.slots.started(slot, attempt)
        try:
            await engine.replicas.start(order)
        except NameTaken as error:
            book.slots.taken(slot, attempt)
            self._tell_taken(app, start, str(error))
            return
        except (StartFailed, ImageUnavailable) as error:
            book.slots.refused(slot, attempt, self._.clock())
            book.refusals[slot] = str(error)
            if isinstance(error, ImageUnavailable):
                book.imageless.add(slot.revision)
            return
        book.slots.runs_unseen(slot)
        if order.reuses is not None and reuses is not None:
            self._.routing.stay(app.target, reuses, "pass")
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

    def _tell_taken(self, app: DesiredApp, start: Start, message: str) -> None:
        slot, attempt = start.slot, start.attempt
        _log.warning("a name is taken", resource=app.ref.stream, error=message)
        self._.journal.record(
            app.ref,
            e.ReplicaRenamed,
            cause=app.generation,
            place=(slot, attempt),
            uid=app.uid,
            revision=slot.revision,
            slot=slot.number,
            attempt=attempt,
            message=message,
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
        task = asyncio.create_task(self._stop(app, engine, book, stop))
        book.stopping[replica.id] = task
        if not _is_failing(app, stop):
            book.draining[replica.id] = None
        stream = app.ref.stream

        def ended(done: asyncio.Task[None]) -> None:
            if book.stopping.get(replica.id) is done:
                del book.stopping[replica.id]
                book.draining.pop(replica.id, None)
            if not done.cancelled():
                error = done.exception()
                if error is not None:
                    _log.error("stop broke", replica=replica.id, error=repr(error))
                self._.again(stream)

        task.add_done_callback(ended)

    async def _stop(self, app: DesiredApp, engine: Engine, book: AppBook, stop: Stop) -> None:
        replica, rollout = stop.replica, app.spec.rollout
        is_failing = _is_failing(app, stop)
        patience = Patience.of("0s" if is_failing else rollout.drain, app.spec.stop_grace)
        why = await end(
            replica,
            engine,
            patience,
            leaving="kept" if stop.may_return else "dead" if stop.keep else "nothing",
            may_write=lambda: self._.gate.halted() is None,
            withdrawn=partial(self._withdrawn, app, stop),
            telling=lambda: book.draining.pop(replica.id, None),
            answered=partial(self._.routing.answered, app.target, replica),
        )
        if not why:
            book.unstopped.pop(replica.id, None)
            return
        failures = book.unstopped.get(replica.id, Unstopped(0, "")).times + 1
        book.unstopped[replica.id] = Unstopped(failures, why)
        self._.again(app.ref.stream)
        await pause(failures)

    def take_back(self, target: str, book: AppBook, replica: Replica) -> None:
        """It is needed after all, and was not told to stop yet."""
        book.stopping.pop(replica.id).cancel()
        del book.draining[replica.id]
        self._.routing.stay(target, replica, "pass")

    async def _withdrawn(self, app: DesiredApp, stop: Stop) -> None:
        """What fails is not waited for: its successor waits for its end."""
        if _is_failing(app, stop):
            self._.routing.leave(stop.replica)
        else:
            await self._.routing.withdrawn(app.target, app.ref.stream, stop.replica)


def _is_failing(app: DesiredApp, stop: Stop) -> bool:
    return stop.keep and app.wanted > 0


def told(action: Action) -> str:
    """What was done, in words."""
    match action:
        case Start(slot=slot, attempt=attempt, reuses=reuses):
            what = f"slot {slot.number} of revision {slot.revision}, attempt {attempt}"
            kept = f", kept from revision {reuses.name.revision}" if reuses is not None else ""
            return f"started {what}{kept}"
        case Stop(replica=replica, reason=reason):
            return (
                f"stopped slot {replica.name.slot} of revision {replica.name.revision} ({reason})"
            )
        case Remove(replica=replica):
            return f"removed attempt {replica.name.attempt} of slot {replica.name.slot}"


def foretold(action: Action) -> str:
    """What would be done, in words."""
    verb, _, rest = told(action).partition(" ")
    return f"{ {'started': 'start', 'stopped': 'stop', 'removed': 'remove'}[verb] } {rest}"
