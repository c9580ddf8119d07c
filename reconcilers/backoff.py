"""Crash-loop backoff: when a slot whose replica died may start again. Pure but for what it keeps.

The first restart is immediate, the next waits a second, and each further death doubles the wait, up
to five minutes; it never gives up. Only a replica that has run for ten minutes, or a new intent,
makes an end of counting: what dies every quarter of a minute is no better than what dies at once.
"""

from collections.abc import Sequence, Set
from typing import Final, NamedTuple

import msgspec

from reconcilers.ports import Replica, ReplicaState
from reconcilers.replica_facts import Memory, Slot

FIRST: Final = 1.0  # seconds, after the second quick death
MOST: Final = 300.0
STEADY: Final = 600.0  # seconds that a replica must have run for its slot to be well again
LOOPING: Final = 3  # deaths after which a slot crashes again and again
_DOUBLINGS: Final = 10  # more than lead from `FIRST` to `MOST`


class _Deaths(msgspec.Struct):
    """The deaths of one slot; `attempt` has run since `since` as far as was seen (0: none has)."""

    count: int = 0
    not_before: float = 0.0
    attempt: int = 0
    since: float = 0.0


class Loop(NamedTuple):
    """A slot that crashes again and again: how often it did, and the seconds until its next try."""

    slot: Slot
    deaths: int
    wait: float


class SlotBook:
    """What one app's slots went through, as far as this process has seen it."""

    def __init__(self) -> None:
        self._attempts: dict[Slot, int] = {}
        self._deaths: dict[Slot, _Deaths] = {}
        self._counted: set[tuple[Slot, int]] = set()
        self._spent: set[tuple[Slot, int]] = set()  # attempts that are over: none is tried again
        self._unseen: dict[Slot, float] = {}  # runs, and no list showed it: until when it is missed

    def memory(self) -> Memory:
        waits = {slot: deaths.not_before for slot, deaths in self._deaths.items()}
        for slot, until in self._unseen.items():
            waits[slot] = max(until, waits.get(slot, 0.0))
        return Memory(self._attempts, waits, self._spent)

    def started(self, slot: Slot, attempt: int) -> None:
        self._attempts[slot] = max(attempt, self._attempts.get(slot, 0))

    def runs_unseen(self, slot: Slot) -> None:
        """The engine says that the attempt just started runs; no list has shown it yet."""
        self._unseen[slot] = 0.0

    def ended(self, slot: Slot, attempt: int) -> None:
        """We end this attempt: what takes its place has another name."""
        self._spent.add((slot, attempt))

    def looked(self, replicas: Sequence[Replica], now: float) -> None:
        """Compare what we started with a list.

        A list that lacks it is most likely older than the start: the next tells. Whoever believes
        it, and starts it again at once, may go on like this without end.
        """
        if not self._unseen:
            return
        shown = {(Slot(one.name.revision, one.name.slot), one.name.attempt) for one in replicas}
        for slot, until in list(self._unseen.items()):
            if (slot, self._attempts.get(slot, 0)) in shown:
                del self._unseen[slot]
            elif not until:
                self._unseen[slot] = now + FIRST

    def refused(self, slot: Slot, attempt: int, now: float) -> None:
        """The engine would not run it: as a death, and this attempt is never tried again."""
        self._count(slot, attempt, lived=0.0, now=now)

    def taken(self, slot: Slot, attempt: int) -> None:
        """Its name belongs to something else: the next attempt may start at once."""
        self.started(slot, attempt)
        self._spent.add((slot, attempt))

    def died(self, replica: Replica, now: float) -> bool:
        """Count a dead replica once; return whether it was news. `now` is the clock's."""
        slot = Slot(replica.name.revision, replica.name.slot)
        if replica.state is not ReplicaState.EXITED:
            return False
        lived = (
            replica.finished_at - replica.started_at
            if replica.finished_at is not None and replica.started_at is not None
            else 0.0
        )
        return self._count(slot, replica.name.attempt, lived=lived, now=now)

    def runs(self, replica: Replica, now: float) -> None:
        """Note that a replica runs: when it has done so for long enough, its slot is well again."""
        slot = Slot(replica.name.revision, replica.name.slot)
        deaths = self._deaths.get(slot)
        if deaths is None:
            return
        if deaths.attempt != replica.name.attempt:
            deaths.attempt, deaths.since = replica.name.attempt, now
        elif now - deaths.since >= STEADY:
            del self._deaths[slot]

    def steady_at(self, now: float) -> float | None:
        """When the next slot may be well again; None if no such replica runs."""
        times = [deaths.since + STEADY for deaths in self._deaths.values() if deaths.attempt]
        return min((at for at in times if at > now), default=None)

    def forgive(self) -> None:
        """A new intent: whoever waited may start now."""
        self._deaths.clear()

    def forget(self, keep: Set[int]) -> None:
        """Forget all revisions but those to keep: their numbers never come again."""
        self._attempts = {s: n for s, n in self._attempts.items() if s.revision in keep}
        self._deaths = {s: d for s, d in self._deaths.items() if s.revision in keep}
        self._counted = {c for c in self._counted if c[0].revision in keep}
        self._spent = {one for one in self._spent if one[0].revision in keep}
        self._unseen = {s: at for s, at in self._unseen.items() if s.revision in keep}

    def looping(self, revisions: Set[int], now: float) -> Loop | None:
        """The slot of these revisions that died most often, if any crashes again and again."""
        loops = [
            Loop(slot, deaths.count, max(0.0, deaths.not_before - now))
            for slot, deaths in self._deaths.items()
            if deaths.count >= LOOPING and slot.revision in revisions
        ]
        return max(loops, key=lambda loop: (loop.deaths, loop.wait), default=None)

    def _count(self, slot: Slot, attempt: int, *, lived: float, now: float) -> bool:
        self.started(slot, attempt)
        self._spent.add((slot, attempt))
        if (slot, attempt) in self._counted:
            return False
        self._counted.add((slot, attempt))
        deaths = self._deaths.setdefault(slot, _Deaths())
        if lived >= STEADY:
            deaths.count = 0
        deaths.count += 1
        deaths.attempt = 0
        doublings = min(deaths.count - 2, _DOUBLINGS)
        deaths.not_before = now + (min(MOST, FIRST * 2**doublings) if doublings >= 0 else 0.0)
        return True
