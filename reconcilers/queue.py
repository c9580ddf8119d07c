"""The queue of keys to look at: one entry a key, one pass at a time a key, fresh intents first.

A key that is added while its pass runs is looked at once more afterwards. A key that failed waits
for its backoff: a replay tick never shortens that, an engine event may, and an intent ends it.
The queue gives up on nothing.
"""

import asyncio
import heapq
import random
from collections.abc import Callable
from enum import IntEnum
from itertools import count
from typing import Final, final

BACKOFF_FIRST: Final = 0.2  # seconds
BACKOFF_MOST: Final = 300.0


class Priority(IntEnum):
    """Why a key is looked at; the lowest value goes first."""

    INTENT = 0
    ENGINE = 1
    REPLAY = 2


@final
class KeyQueue:
    """Keys by priority, then in order of arrival.

    Args:
        clock: monotonic seconds, the loop's.
        rng: for the jitter of backoffs.
    """

    def __init__(self, *, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock, self._rng = clock, rng
        self._order = count()
        self._ready: list[tuple[int, int, str]] = []
        self._entry: dict[str, tuple[int, int, float]] = {}
        self._later: list[tuple[float, int, str, Priority]] = []
        self._waiting: dict[str, tuple[float, int, bool]] = {}
        self._running: dict[str, Priority | None] = {}
        self._failures: dict[str, int] = {}
        self._takers: dict[asyncio.Future[None], None] = {}  # who waits, in order of arrival
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0.0
        self._asked = asyncio.Event()  # an intent's key came
        self.adds = 0
        """How often a key got a place in the queue."""
        self.retries = 0
        """How often a key failed and was queued for later."""

    def __len__(self) -> int:
        return len(self._entry)

    @property
    def delayed(self) -> int:
        """How many keys wait for a time."""
        return len(self._waiting)

    @property
    def oldest(self) -> float | None:
        """Since when (of the clock) the key waits that has been ready for longest; None: none."""
        return min((since for _, _, since in self._entry.values()), default=None)

    def depth(self, priority: Priority) -> int:
        return sum(1 for entry in self._entry.values() if entry[0] == priority)

    def idle(self) -> bool:
        """Whether no key is ready or being looked at."""
        return not self._entry and not self._running

    def add(self, key: str, priority: Priority) -> None:
        """Look at `key` as soon as its turn comes."""
        if priority is Priority.INTENT:
            self._failures.pop(key, None)
        waiting = self._waiting.get(key)
        if waiting is not None:
            if priority is Priority.REPLAY and waiting[2]:
                return
            del self._waiting[key]
        if key in self._running:
            known = self._running[key]
            self._running[key] = priority if known is None else min(known, priority)
            return
        known_entry = self._entry.get(key)
        if known_entry is not None and known_entry[0] <= priority:
            return
        self._push(key, priority)

    def add_at(self, key: str, at: float, priority: Priority, *, backoff: bool = False) -> None:
        """Look at `key` at a time of the clock, unless something makes it earlier."""
        waiting = self._waiting.get(key)
        if waiting is not None and waiting[0] <= at and not backoff:
            return
        number = next(self._order)
        self._waiting[key] = (at, number, backoff)
        heapq.heappush(self._later, (at, number, key, priority))
        self._set_alarm()

    def failed(self, key: str) -> float:
        """Look at `key` again after its backoff, which doubles each time; return the seconds."""
        self.retries += 1
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(BACKOFF_MOST, BACKOFF_FIRST * 2.0 ** min(failures, 20))
        delay *= self._rng.uniform(0.75, 1.25)
        self.add_at(key, self._clock() + delay, Priority.REPLAY, backoff=True)
        return delay

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)

    async def get(self) -> tuple[str, Priority, float]:
        """Take the next key, with its priority and since when (of the clock) it was ready.

        Whoever takes a key says `done` when its pass has ended.
        """
        while True:
            self._promote()
            taken = self._take(Priority.REPLAY)
            if taken is not None:
                return taken
            await self._wait()

    async def get_intent(self) -> tuple[str, Priority, float]:
        """As `get`, but take only a key of `Priority.INTENT`, and leave all others."""
        while True:
            taken = self._take(Priority.INTENT)
            if taken is not None:
                return taken
            self._asked.clear()
            await self._asked.wait()

    def _take(self, least: Priority) -> tuple[str, Priority, float] | None:
        """The next key of at least this priority, if there is one."""
        while self._ready and self._ready[0][0] <= least:
            priority, number, key = heapq.heappop(self._ready)
            entry = self._entry.get(key)
            if entry is None or entry[1] != number:
                continue  # an older place of a key that moved ahead
            del self._entry[key]
            self._running[key] = None
            return key, Priority(priority), entry[2]
        return None

    def done(self, key: str) -> None:
        again = self._running.pop(key)
        if again is not None:
            waiting = self._waiting.get(key)
            if again is Priority.REPLAY and waiting is not None and waiting[2]:
                return
            self._waiting.pop(key, None)
            self._push(key, again)

    def _push(self, key: str, priority: Priority) -> None:
        known = self._entry.get(key)
        self.adds += known is None
        number = next(self._order)
        self._entry[key] = (priority, number, known[2] if known else self._clock())
        heapq.heappush(self._ready, (priority, number, key))
        self._wake_one()
        if priority is Priority.INTENT:
            self._asked.set()

    def _promote(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            _, number, key, priority = heapq.heappop(self._later)
            waiting = self._waiting.get(key)
            if waiting is not None and waiting[1] == number:
                del self._waiting[key]
                self.add(key, priority)

    async def _wait(self) -> None:
        """Wait for a key: each that becomes ready wakes one of those who wait."""
        woken = asyncio.get_running_loop().create_future()
        self._takers[woken] = None
        self._set_alarm()
        try:
            await woken
        except asyncio.CancelledError:
            if woken in self._takers:
                del self._takers[woken]
            elif not woken.cancelled():  # it was woken, and takes nothing
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._takers:
            woken = next(iter(self._takers))
            del self._takers[woken]
            if not woken.done():  # it was not cancelled
                woken.set_result(None)
                return

    def _set_alarm(self) -> None:
        """Look again when the first of the keys that wait for a time is due."""
        if not self._later or not self._takers:
            return
        at = self._later[0][0]
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        loop = next(iter(self._takers)).get_loop()
        self._alarm, self._alarm_at = loop.call_later(at - self._clock(), self._ring), at

    def _ring(self) -> None:
        self._alarm = None
        self._promote()
        self._set_alarm()
