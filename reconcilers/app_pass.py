"""One pass over one app: observe, diff, execute, record, judge. No decision is taken here.

Every action names its target and is safe to repeat, so a crash between any two of them leaves a
world that the next pass repairs.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, final

from bus.log import LogError
from domain.access import part_of_ours
from domain.events import ForeignObject
from domain.intents import Resume
from domain.refusals import Refusal
from projections.desired import DesiredApp
from reconcilers.acting import Acting, foretold, told
from reconcilers.books import AppBook
from reconcilers.knowing import Knowing, Known
from reconcilers.object_adopting import InTheWay
from reconcilers.object_pass import ObjectReconciler
from reconcilers.object_ports import ProjectOrder
from reconcilers.object_preview import ObjectChange
from reconcilers.outcome import Outcome
from reconcilers.ports import EngineError, EngineUnavailable, ReplicaState
from reconcilers.replica_facts import Seen, Want
from reconcilers.replicas import Action, Plan, Remove, Start, Stop, diff, needed_again
from reconcilers.surroundings import Surroundings
from reconcilers.targets import TargetView
from reconcilers.telling import Telling
from reconcilers.undoing import Undoing

ROUNDS: Final = 12  # of acting and looking again in one pass, before others have their turn


@final
class AppReconciler:
    def __init__(self, around: Surroundings) -> None:
        self._ = around
        self._knowing = Knowing(around)
        self._acting = Acting(around)
        self._telling = Telling(around)
        self._undoing = Undoing(around)
        self._objects = ObjectReconciler(around)
        self._books: dict[str, AppBook] = {}

    async def reconcile(self, app: DesiredApp, view: TargetView) -> Outcome:
        """Bring one app a step nearer to what it should be; `noop` if it is there.

        Raises:
            EngineUnavailable: its target does not answer; nothing is known to have changed.
            EngineError: its target did not do what was asked, which the status tells.
        """
        around, stream = self._, app.ref.stream
        book = self._book(app)
        if book.meet(app):
            around.images.retry_now(stream)
        await self._resume_if_due(app)
        await self._undoing.undo_if_failed(app)
        if view.objects is not None:
            return await self._objects.reconcile(app, view, view.objects, book)
        try:
            return await self._act_and_look(app, view, book)
        finally:
            book.acts = False
            if book.missed:
                book.missed = False
                around.again(stream)

    def looks_again(self, stream: str) -> bool:
        """Whether what just happened to an app's replicas will be seen by the pass under way.

        It carries out a plan now, and lists them when it has done so.
        """
        book = self._books.get(stream)
        if book is None or not book.acts:
            return False
        book.missed = True
        return True

    async def _act_and_look(self, app: DesiredApp, view: TargetView, book: AppBook) -> Outcome:
        """Act and look in turn until there is nothing to do now, and say how it is."""
        around, stream = self._, app.ref.stream
        done: list[str] = []
        failure: EngineError | None = None
        seen, want, known, plan = await self._look(app, view, book)
        for _ in range(ROUNDS):
            if not plan.actions:
                break
            book.acts = True
            failure = await self._act(app, view, book, known, plan)
            if failure is not None:
                break
            done += [told(action) for action in plan.actions]
            book.acts = False
            seen, want, known, plan = await self._look(app, view, book)
            book.missed = False
        else:
            around.again(stream)
        book.failure = "" if failure is None else str(failure)
        status = self._telling.judge(app, book, want, seen, known, plan)
        alive = [one for one in seen if one.replica.state is not ReplicaState.KEPT]
        self._telling.record(app, book, want, alive, status)
        if failure is not None:
            raise failure
        self._telling.fulfilled(app, book, status, worked=bool(done))
        sentence = f"{'; '.join(done) or 'nothing to do'}: {status.conditions[0].message}"
        if done:
            return Outcome("success", sentence, plan.wake_at)
        return Outcome("noop" if status.is_true("Synced") else "requeue", sentence, plan.wake_at)

    async def _act(
        self, app: DesiredApp, view: TargetView, book: AppBook, known: Known, plan: Plan
    ) -> EngineError | None:
        """Carry out a plan; return what an engine that answers could not do."""
        try:
            await self._acting.execute(app, view.engine, book, known, plan.actions)
        except EngineUnavailable:
            raise
        except EngineError as error:
            return error
        return None

    def wakes_at(self, stream: str) -> float | None:
        """When to look at an app again, however its last pass ended; None if nothing says so."""
        book = self._books.get(stream)
        return book.wake_at if book is not None else None

    async def foresee(self, app: DesiredApp, view: TargetView) -> list[str]:
        """What the next pass would do, in sentences. Raises what `reconcile` would."""
        book = self._book(app)
        if view.objects is not None:
            return await self._objects.foreseeing.foresee(app, view, view.objects, book)
        _, _, _, plan = await self._look(app, view, book)
        return [foretold(action) for action in plan.actions]

    async def preview(
        self, app: DesiredApp, view: TargetView, adopting: Sequence[ForeignObject] = ()
    ) -> list[ObjectChange]:
        """What would change of its objects if the app were so; nothing where there are none.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        objects = view.reached_objects
        if objects is None:
            return []
        return await self._objects.foreseeing.preview(app, view, objects, adopting)

    async def preview_project(self, project: str, uid: int, view: TargetView) -> list[ObjectChange]:
        """What would change of what a project's apps share; nothing where there are no objects.

        Raises:
            EngineUnavailable: the target does not answer.
        """
        objects = view.reached_objects
        if objects is None:
            return []
        order = ProjectOrder(project=project, uid=uid)
        return await self._objects.foreseeing.preview_project(order, objects)

    async def in_the_way(self, app: DesiredApp, view: TargetView) -> list[InTheWay]:
        """What of others has names that the app needs; nothing where there are no objects.

        Raises:
            EngineError: that cannot be found out now.
        """
        objects = view.reached_objects
        if objects is None:
            return []
        return await self._objects.foreseeing.in_the_way(app, view, objects)

    async def _look(
        self, app: DesiredApp, view: TargetView, book: AppBook
    ) -> tuple[list[Seen], Want, Known, Plan]:
        """Observe the target, and decide."""
        around = self._
        stream = app.ref.stream
        listed = await view.look((app.ref.project, app.ref.name))
        if book.misses(listed):  # that list may be old: requests would be sent to too few
            listed = await view.look((app.ref.project, app.ref.name))
        removals = around.desired.removals_of(stream)
        others = {one.uid for one in removals if around.places.leads_to(one, view)}
        others.update(around.desired.orphans(stream))
        replicas = [one for one in listed if one.uid not in others]
        now = around.clock()
        book.note(replicas, now)
        known = await self._knowing.of(app, book, view, listed)
        healths = {
            one: await self._knowing.health(app, one) for one in {r.name.revision for r in replicas}
        }
        seen = around.probing.observe(
            stream,
            [(one, healths[one.name.revision]) for one in replicas],
            view.engine.io,
        )
        seen = around.routing.judge(app, view, seen)
        want = self._knowing.want(app, book, known, now)
        if not want.stop_first:
            for one in needed_again(want, seen, book.stopping.keys(), book.draining.keys()):
                self._acting.take_back(view.name, book, one.replica)
            seen = [one for one in seen if one.replica.id not in book.stopping]
        plan = diff(want, seen, book.slots.memory(), now)
        actions = tuple(a for a in plan.actions if self._may(a, want, book))
        times = (plan.wake_at, book.slots.steady_at(now), around.routing.reached_at(view, seen))
        book.wake_at = min((at for at in times if at is not None), default=None)
        return seen, want, known, Plan(actions, book.wake_at)

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

    async def _resume_if_due(self, app: DesiredApp) -> None:
        until = app.paused.until if app.paused else None
        if until is None or until.timestamp() > self._.now():
            return
        key = f"pause-ended-{app.uid}-{app.position}"
        try:
            await self._.intents.submit(Resume(ref=app.ref), actor=part_of_ours("pause"), key=key)
        except (LogError, Refusal):
            return  # the tick asks again

    def unreachable(self, app: DesiredApp, message: str) -> None:
        """Publish that the app's target does not answer."""
        self._telling.unreachable(app, message)

    def _book(self, app: DesiredApp) -> AppBook:
        book = self._books.get(app.ref.stream)
        if book is None or book.uid != app.uid:
            self._drop(app.ref.stream)
            book = self._books[app.ref.stream] = AppBook(app.uid)
        return book

    def known(self) -> list[str]:
        """The apps of which something is kept from one pass to the next."""
        return list(self._books)

    def forget(self, stream: str) -> None:
        """There is no such app (any more)."""
        self._drop(stream)
        self._.revisions.forget(stream)
        self._.probing.forget(stream)
        self._.routing.forget(stream)
        self._.images.forget(stream)

    def _drop(self, stream: str) -> None:
        """What is draining is left alone: an orphan stays, and all else is removed as deleted."""
        book = self._books.pop(stream, None)
        for task in book.stopping.values() if book else ():
            task.cancel()

    async def close(self) -> None:
        """Cancel what is under way; whoever comes next finds it half done and finishes it."""
        tasks = [task for book in self._books.values() for task in book.stopping.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._.images.close()
