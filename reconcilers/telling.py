"""Telling: what a pass found, as status for who asks now and as transitions for the history."""

from collections.abc import Sequence
from typing import Protocol, final

from domain import events as e
from projections.desired import DesiredApp
from reconcilers import judging
from reconcilers.books import AppBook
from reconcilers.knowing import Known
from reconcilers.ports import ReplicaState
from reconcilers.replica_facts import Seen, Want
from reconcilers.replicas import Plan
from reconcilers.status import AppStatus
from reconcilers.surroundings import Surroundings


class Revised(Protocol):
    """A replica, however it is seen."""

    @property
    def revision(self) -> int: ...


@final
class Telling:
    def __init__(self, around: Surroundings) -> None:
        self._ = around

    def judge(
        self,
        app: DesiredApp,
        book: AppBook,
        want: Want,
        seen: Sequence[Seen],
        known: Known,
        plan: Plan,
    ) -> AppStatus:
        around, stream = self._, app.ref.stream
        messages = {one.replica.id: around.probing.trouble(one.replica) for one in seen}
        troubles = list(known.troubles)
        halted = around.gate.halted()
        if halted is not None:
            troubles.insert(0, ("LogRewound", halted))
        failures = [book.failure, *(one.error for one in book.unstopped.values())]
        troubles += [("EngineFailed", message) for message in failures if message]
        troubles += [
            ("StartRefused", message)
            for slot, message in book.refusals.items()
            if slot.revision in (want.revision, want.stable) and slot.number < want.replicas
        ]
        troubles += self._crashes(book, want, seen)
        ended = (why for slot, (_, why) in book.unwell.items() if slot.revision == want.revision)
        unwell = next((m for m in (*messages.values(), *ended) if m), "")
        if unwell and want.stalled:
            troubles.append(("HealthCheckFailing", unwell))
        running = [one for one in seen if one.replica.state is ReplicaState.RUNNING]
        updated = [one for one in running if one.ready and one.revision == want.revision]
        converged = len(running) == len(updated) == want.replicas and not book.stopping
        findings = judging.Findings(
            troubles=troubles,
            stalled=want.stalled and len(updated) < want.replicas,
            synced=converged and not plan.actions and want.revision == app.revision,
            messages=messages,
            routed=around.routing.condition(app),
            certified=around.routing.certified(app),
            certificates=around.routing.certificates(app),
            adopting=next((a.installation for a in around.desired.adoptions(stream)), ""),
        )
        status = judging.judge(
            app, want, seen, findings, now=around.now(), before=around.status.get(stream)
        )
        around.status.put(stream, status)
        return status

    def _crashes(self, book: AppBook, want: Want, seen: Sequence[Seen]) -> list[tuple[str, str]]:
        revisions = {want.revision, want.stable}
        loop = book.slots.looping(revisions, self._.clock()) if want.replicas else None
        if loop is None:
            return []
        slot = loop.slot
        dead = [one.replica for one in seen if one.slot == slot and judging.is_dead(one.replica)]
        attempt, how = book.unwell.get(slot, (0, book.refusals.get(slot, "it ended")))
        if dead and dead[-1].name.attempt != attempt:
            how = judging.died(dead[-1])
        then = f"next try in {loop.wait:.0f} s" if loop.wait else "it is tried again"
        where = f"slot {slot.number} of revision {slot.revision}"
        return [("CrashLoop", f"{where} ended {loop.deaths} times: {how}; {then}")]

    def record(
        self, app: DesiredApp, book: AppBook, want: Want, seen: Sequence[Revised], status: AppStatus
    ) -> None:
        around, cause, uid = self._, app.generation, app.uid
        ready = status.conditions[0]
        truth = (ready.status == "True", ready.reason)
        begins = want.replicas and not want.waits and app.begun < want.revision
        if begins and book.once("begun", want.revision):
            around.journal.record(
                app.ref,
                e.RolloutStarted,
                cause=cause,
                place=want.revision,
                uid=uid,
                revision=want.revision,
                replaces=app.stable,
            )
        stalls = want.stalled and want.replicas and app.stalled != want.revision
        if stalls and book.once("stalled", want.revision):
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
        alone = all(one.revision == want.revision for one in seen) and not book.stopping
        fresh = want.revision != app.stable
        if complete and alone and fresh and book.once("completed", want.revision):
            took = max(0.0, around.now() - app.asked_at)
            if around.journal.record(
                app.ref,
                e.RolloutCompleted,
                cause=cause,
                place=want.revision,
                uid=uid,
                revision=want.revision,
                seconds=round(took, 3),
                target=app.target,
            ):
                around.metrics.ready(took)
            else:  # on this one depends what is healed and what may end
                book.unsaid("completed", want.revision)
        # At the first look after a start, a replica that was well was only not asked yet.
        unasked = book.condition is None and ready.reason == "Starting"
        if truth != book.condition and not (unasked and want.revision == app.stable):
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

    def fulfilled(self, app: DesiredApp, book: AppBook, status: AppStatus, *, worked: bool) -> None:
        """Count how long an intent without a new revision, such as a scale, took to come true.

        What a rollout took is counted when it completes; a stop and a mere label are never ready.
        """
        if not book.owed:
            return
        is_synced = status.is_true("Synced")
        book.worked = book.worked or worked or not is_synced
        if app.revision != app.stable or not app.wanted:
            book.owed = 0
        elif is_synced:
            book.owed = 0
            if book.worked:
                self._.metrics.ready(max(0.0, self._.now() - app.asked_at))

    def unreachable(self, app: DesiredApp, message: str) -> None:
        """Publish that the app's target does not answer."""
        stream = app.ref.stream
        before = self._.status.get(stream)
        status = judging.unknown(app, message, now=self._.now(), before=before)
        self._.status.put(stream, status)
