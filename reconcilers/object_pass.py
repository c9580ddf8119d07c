"""One pass over an app whose target keeps objects: render, plan, apply in order, prune, judge.

The engine itself replaces pods, so nothing is waited for here: each pass does what the plan says
and tells what is seen. What a project's apps share is made by the pass over any of them.
"""

from typing import Final, final

import msgspec

from domain.quantities import seconds
from projections.desired import DesiredApp
from projections.route_table import Reach
from reconcilers.books import AppBook, Still
from reconcilers.fingerprints import fingerprint
from reconcilers.object_acting import ObjectActing
from reconcilers.object_actions import Action
from reconcilers.object_adopting import AGAIN_SECONDS, ObjectAdopting
from reconcilers.object_foreseeing import ObjectForeseeing
from reconcilers.object_imposing import Imposed
from reconcilers.object_judging import judge, replacements
from reconcilers.object_looking import Found, ObjectLooking, Owner
from reconcilers.object_ports import (
    Cause,
    Objects,
)
from reconcilers.object_routing import routed
from reconcilers.outcome import Outcome
from reconcilers.replica_facts import Want
from reconcilers.status import AppStatus
from reconcilers.surroundings import Surroundings
from reconcilers.targets import Mark, TargetView
from reconcilers.telling import Telling

ROUNDS: Final = 12  # of acting and looking again in one pass, before others have their turn
STILL_SECONDS: Final = 2.0  # for which what did not move is not looked at again


@final
class ObjectReconciler:
    def __init__(self, around: Surroundings) -> None:
        self._ = around
        imposed = Imposed()
        self._telling, self._acting = Telling(around), ObjectActing(around, imposed)
        self._adopting = ObjectAdopting(around)
        self._looking = ObjectLooking(around, self._adopting, imposed)
        self.foreseeing = ObjectForeseeing(around, self._looking)

    async def reconcile(
        self, app: DesiredApp, target: TargetView, objects: Objects, book: AppBook
    ) -> Outcome:
        """Bring the app's objects a step nearer to what they should be.

        Raises:
            EngineUnavailable: its target does not answer.
            EngineError: it did not do what was asked, which the status tells.
        """
        stream, done = app.ref.stream, list[str]()
        reach = self._.routing.reach(app)
        still = book.still
        if still is not None and self._is_still(still, app, reach, target.mark(stream)):
            return Outcome(still.result, "nothing moved")
        book.still = None
        self._acting.forgive(app)
        for _ in range(ROUNDS):
            found = await self._looking.look(app, target, objects, book)
            pending = self._pending(app, found)
            if not pending:
                break
            if replacements([action for _, action in pending]):
                self._tell(app, target, book, found)  # before it is done
            said = await self._acting.execute(app, objects, pending, found.known.held)
            done += said.done
            if said.failure is not None:
                break
        else:
            self._.again(stream)
            found = await self._looking.look(app, target, objects, book)
        failure = self._acting.refusal(app)
        status = self._tell(app, target, book, found)
        self._adopting.conclude(app, found.approved, found.wanted)
        if failure is not None:
            raise failure
        is_done = status.is_true("Synced") and not status.is_true("Progressing")
        result = "noop" if is_done else "requeue"
        self._telling.fulfilled(app, book, status, worked=bool(done))
        sentence = f"{'; '.join(done) or 'nothing to do'}: {status.conditions[0].message}"
        if not found.actions and not found.known.troubles and not found.approved.theirs:
            book.still = Still(app, reach, found.mark, self._.clock(), result)
        if is_done:
            shown = fingerprint(app.uid, app.revision, app.digest, app.wanted)
            target.settle(stream, found.mark, shown)
        again = self._.clock() + AGAIN_SECONDS if found.approved.theirs else None
        return Outcome("success" if done else result, sentence, again)

    def _pending(self, app: DesiredApp, found: Found) -> list[tuple[Owner, Action]]:
        """What is to be done, but for routes that were refused in this pass."""
        unrouted = self._acting.unrouted(app)
        return [one for one in found.actions if one[1].key not in unrouted]

    def _is_still(self, still: Still, app: DesiredApp, reach: Reach, mark: Mark) -> bool:
        """Whether a pass would find what the last one did: most news are of what that one wrote."""
        is_recent = self._.clock() - still.at < STILL_SECONDS
        is_same = still.mark == mark and still.reach == reach
        return is_recent and is_same and _asks_the_same(still.app, app)

    # -- telling ------------------------------------------------------------------------------

    def _tell(self, app: DesiredApp, target: TargetView, book: AppBook, found: Found) -> AppStatus:
        around, known = self._, found.known
        troubles = [Cause(*trouble) for trouble in known.troubles]
        if (halted := around.gate.halted()) is not None:
            troubles.insert(0, Cause("LogRewound", halted))
        troubles += self._acting.troubles(app)
        view = msgspec.structs.replace(
            found.view,
            causes=(*troubles, *found.view.causes),
            is_stalled=self._is_stalled(app, book, found),
        )
        planned = found.plan
        if (name := self._acting.taken(app)) is not None:
            planned = msgspec.structs.replace(planned, taken=(name, *planned.taken))
        before = around.status.get(app.ref.stream)
        fate = found.fate._replace(refused=self._acting.unrouted(app))
        status = judge(
            app,
            view,
            planned,
            now=around.now(),
            before=before,
            waits=known.waits,
            routed=routed(app, target, fate, view, before),
        )
        around.status.put(app.ref.stream, status)
        want = Want(
            uid=app.uid,
            revision=known.held.number,
            digest=known.held.digest,
            replicas=(view.wanted or app.wanted) if app.wanted else 0,
            stable=app.stable,
            stalled=view.is_stalled and known.held.number != app.stable,
            waits=known.waits,
        )
        if view.revision or not known.troubles:
            self._telling.record(app, book, want, status.replicas, status)
        return status

    def _is_stalled(self, app: DesiredApp, book: AppBook, found: Found) -> bool:
        """Whether the held revision missed its deadline, by its cluster's count or else by ours."""
        held, view = found.known.held, found.view
        deadline = seconds(held.spec.rollout.progress_deadline)
        before = deadline + 1.0 if app.stalled == held.number else 0.0  # as the log has it
        counts = not found.known.waits
        waited = book.waited(held.number, self._.clock(), counts=counts, before=before)
        if view.is_timed and view.revision == held.number:
            return view.is_stalled
        is_there = view.revision == held.number and view.updated >= view.wanted
        return held.number != app.stable and waited > deadline and not is_there


def _asks_the_same(before: DesiredApp, app: DesiredApp) -> bool:
    """Whether there is no news in the log but that a rollout began, as a pass of ours told it."""
    return before is app or msgspec.structs.replace(before, begun=app.begun) == app
