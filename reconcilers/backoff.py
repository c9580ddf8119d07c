"""Crash-loop backoff: when a slot whose replica died may start again. Pure but for what it keeps.

The first restart is immediate. Each further death that comes quickly doubles the wait, up to five
minutes; it never gives up. A replica that ran well for longer than the last wait starts afresh.
"""

from collections.abc import Set
from typing import Final

import msgspec

from reconcilers.ports import Replica, ReplicaState
from reconcilers.replicas import Memory, Slot

FIRST: Final = 1.0  # seconds, after the second quick death
MOST: Final = 300.0
QUICK: Final = 10.0  # a replica that lived longer did start


class _Deaths(msgspec.Struct):
    count: int = 0
    wait: float = 0.0
    not_before: float = 0.0


class SlotBook:
    """What one app's slots went through, as far as this process has seen it."""

    def __init__(self) -> None:
        self._attempts: dict[Slot, int] = {}
        self._deaths: dict[Slot, _Deaths] = {}
        self._counted: set[tuple[Slot, int]] = set()
        self._refused: set[tuple[Slot, int]] = set()

    def memory(self) -> Memory:
        waits = {slot: deaths.not_before for slot, deaths in self._deaths.items()}
        return Memory(self._attempts, waits, self._refused)

    def started(self, slot: Slot, attempt: int) -> None:
        self._attempts[slot] = max(attempt, self._attempts.get(slot, 0))

    def refused(self, slot: Slot, attempt: int, now: float) -> None:
        """The engine would not run it: as a death, and this attempt is never tried again."""
        self._refused.add((slot, attempt))
        self._count(slot, attempt, lived=0.0, now=now)

    def taken(self, slot: Slot, attempt: int) -> None:
        """Its name belongs to something else: the next attempt may start at once."""
        self.started(slot, attempt)
        self._refused.add((slot, attempt))

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

    def forgive(self) -> None:
        """A new intent: whoever waited may start now."""
        self._deaths.clear()

    def forget(self, keep: Set[int]) -> None:
        """Forget all revisions but those to keep: their numbers never come again."""
        self._attempts = {s: n for s, n in self._attempts.items() if s.revision in keep}
        self._deaths = {s: d for s, d in self._deaths.items() if s.revision in keep}
        self._counted = {c for c in self._counted if c[0].revision in keep}
        self._refused = {r for r in self._refused if r[0].revision in keep}

    def waiting(self, now: float) -> tuple[Slot, float] | None:
        """The slot that waits longest, and for how many seconds; None if none does."""
        waits = [
            (d.not_before - now, slot) for slot, d in self._deaths.items() if d.not_before > now
        ]
        longest = max(waits, default=None)
        return (longest[1], longest[0]) if longest else None

    def _count(self, slot: Slot, attempt: int, *, lived: float, now: float) -> bool:
        self.started(slot, attempt)
        if (slot, attempt) in self._counted:
            return False
        self._counted.add((slot, attempt))
        deaths = self._deaths.setdefault(slot, _Deaths())
        if lived > max(QUICK, 2 * deaths.wait):
            deaths.count = 0
        deaths.count += 1
        deaths.wait = min(MOST, FIRST * 2 ** (deaths.count - 2)) if deaths.count > 1 else 0.0
        deaths.not_before = now + deaths.wait
        return True
