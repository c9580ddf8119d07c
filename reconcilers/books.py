"""What a worker remembers of an app between passes. Losing it costs time, never correctness."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple, final

from projections.desired import DesiredApp
from projections.route_table import Reach
from reconcilers.backoff import SlotBook
from reconcilers.ports import Replica, ReplicaState
from reconcilers.queue import BACKOFF_MOST
from reconcilers.replica_facts import Slot

LONGEST_GAP: Final = 15.0  # seconds between passes that a deadline counts at most
FAILED_GAP: Final = 1.25 * BACKOFF_MOST  # the same after a pass that failed: until it is repeated


class Unstopped(NamedTuple):
    """How often the end of a replica failed, and why the last time."""

    times: int
    error: str


class Still(NamedTuple):
    """That a pass found nothing to do: over which app, reached how, its objects where, when."""

    app: DesiredApp
    reach: Reach
    mark: tuple[int, int]
    at: float
    result: str


@final
class AppBook:
    """The memory of one app.

    `refusals` are an engine's words, by slot; `lost` is when and how the replica of a slot was
    found to be gone, `unwell` which attempt of a slot we ended to start it again, and why.
    `stopping` are the replicas whose end is under way, by their ids, `draining` those of them that
    were not told to stop yet, and `unstopped` those where it failed. `failure` is what the engine
    could not do in the last pass. `imageless` are the revisions whose image was
    there, and is not any more. `owed` is the generation of an intent that came while we looked and
    is not fulfilled yet (0: none), `worked` whether anything had to be done for it. `still` is set
    where objects had nothing to do. While `acts`, a pass is about to look again, whatever happens;
    `missed` says that something did.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.generation = 0
        self.owed, self.worked = 0, False
        self.slots = SlotBook()
        self.refusals: dict[Slot, str] = {}
        self.lost: dict[Slot, tuple[float, str]] = {}
        self.unwell: dict[Slot, tuple[int, str]] = {}
        self.stopping: dict[str, asyncio.Task[None]] = {}
        self.draining: dict[str, None] = {}
        self.unstopped: dict[str, Unstopped] = {}
        self.imageless: set[int] = set()
        self.still: Still | None = None
        self.failure = ""
        self.acts = self.missed = False
        self.announced: set[tuple[str, int]] = set()
        self.wake_at: float | None = None
        self.condition: tuple[bool, str] | None = None
        self._running: dict[Slot, Replica] = {}
        self._rollout = (0, 0.0)
        self._seen_at: float | None = None

    def meet(self, desired: DesiredApp) -> bool:
        """Note the app's generation; return whether there is a new intent since the last pass."""
        if desired.generation == self.generation:
            return False
        self.owed, self.worked = (desired.generation if self.generation else 0), False
        self.generation = desired.generation
        self.slots.forgive()
        self.slots.forget({desired.revision, desired.stable, *_held(desired)})
        self.refusals.clear()
        self.unwell.clear()
        return True

    def misses(self, replicas: Sequence[Replica]) -> bool:
        """Whether a list lacks what ran when it was looked at last, and was not ended by us."""
        present = {one.id for one in replicas}
        return any(one.id not in present for one in self._running.values())

    def note(self, replicas: list[Replica], now: float) -> None:
        """Compare with the last pass: which replicas died or went, and why."""
        self.slots.looked(replicas, now)
        present = {(one.id): one for one in replicas}
        self.unstopped = {one: why for one, why in self.unstopped.items() if one in present}
        for slot, before in list(self._running.items()):
            after = present.get(before.id)
            if after is not None and after.state is ReplicaState.RUNNING:
                continue
            del self._running[slot]
            reason = "removed" if after is None else f"exited with {after.exit_code}"
            self.lost[slot] = (now, reason)
        for one in replicas:
            if one.id in self.stopping:
                continue
            self.slots.died(one, now)
            if one.state is ReplicaState.RUNNING:
                self.slots.runs(one, now)
                self._running[Slot(one.name.revision, one.name.slot)] = one

    def ended_by_us(self, replica: Replica, *, lost: str = "", now: float = 0.0) -> None:
        """We end it; with `lost`, only to start it again."""
        slot = Slot(replica.name.revision, replica.name.slot)
        self.slots.ended(slot, replica.name.attempt)
        if self._running.get(slot) is not None and self._running[slot].id == replica.id:
            del self._running[slot]
        if lost:
            self.lost[slot] = (now, lost)
            self.unwell[slot] = (replica.name.attempt, lost)

    def healed(self, slot: Slot, now: float) -> tuple[str, float] | None:
        """The slot runs again: why it had not, and the seconds since that was noticed."""
        lost = self.lost.pop(slot, None)
        self.refusals.pop(slot, None)
        return (lost[1], now - lost[0]) if lost else None

    def waited(self, revision: int, now: float, *, counts: bool, before: float = 0.0) -> float:
        """Seconds of this revision's rollout in which the target answered. Call once a pass.

        `counts` is False while it may not start: then the time stands still. `before` is what it
        had waited already when this memory began.
        """
        most = FAILED_GAP if self.failure else LONGEST_GAP
        gap = min(most, now - self._seen_at) if self._seen_at is not None else 0.0
        self._seen_at = now
        if self._rollout[0] != revision:
            self._rollout = (revision, before)
        elif counts:
            self._rollout = (revision, self._rollout[1] + gap)
        return self._rollout[1]

    def once(self, what: str, number: int) -> bool:
        """Whether this is the first time that `what` is said of a revision."""
        if (what, number) in self.announced:
            return False
        self.announced.add((what, number))
        return True

    def unsaid(self, what: str, number: int) -> None:
        """It could not be said after all."""
        self.announced.discard((what, number))


def _held(desired: DesiredApp) -> tuple[int, ...]:
    return (desired.paused.revision,) if desired.paused else ()
