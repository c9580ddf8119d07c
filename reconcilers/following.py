"""Following: the projection keeps near the log's head, by hints and by a timer.

A gateway without a worker runs this alone. Either leads to the log, which says what is so: a hint
that is lost costs at most an interval of the tail.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import final

import structlog

from bus.log import LogError
from projections.desired import DesiredState, Row
from reconcilers.metrics import ReconcileMetrics
from reconcilers.reading import Reader

_log = structlog.get_logger("following")

type Loops = Iterator[tuple[str, Callable[[], Awaitable[None]]]]
"""What runs for ever, by name."""


async def _nobody(_page: Sequence[Row]) -> None:
    return


@final
class Following:
    """Args: `hints` may be off, and so may the tail (interval 0); `jitter` is a share of it."""

    def __init__(
        self,
        reader: Reader,
        desired: DesiredState,
        *,
        metrics: ReconcileMetrics,
        hints: bool,
        tail_interval: float,
        jitter: float,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._reader, self._desired, self._metrics = reader, desired, metrics
        self._hints, self._tail_interval, self._jitter = hints, tail_interval, jitter
        self._clock, self._rng = clock, rng
        self._hinted = asyncio.Event()
        self._told = 0  # the highest position that a hint has named
        self._untold: list[int] = []
        self.follow_up: Callable[[Sequence[Row]], Awaitable[None]] = _nobody
        """Given each page that was folded."""
        self.progress: dict[str, float] = {}
        """When each loop last got round (of the clock): `/livez` asks."""

    def hint(self, position: int) -> None:
        """The log has moved to `position`, or 0: nobody knows, for hints may have been missed.

        Never blocks. What is folded was followed up, too.
        """
        self._told = max(self._told, position)
        if self._hints and (position == 0 or position > self._desired.position):
            self._hinted.set()

    async def catch_up(self, *, by_timer: bool = False) -> int:
        """Fold what the log has and the projection lacks; return how many events that were.

        Raises:
            LogUnavailable: the log cannot be read.
        """
        if not (by_timer and self._hints):
            return await self._reader.catch_up(self.follow_up)
        self._count_lost()
        return await self._reader.catch_up(self._follow_untold)

    async def quietly_catch_up(self, *, by_timer: bool) -> None:
        """The same, but a log that does not answer is asked again by the timers."""
        try:
            await self.catch_up(by_timer=by_timer)
        except LogError as error:
            _log.warning("the log does not answer; the timers ask again", error=str(error))

    async def seen(self, position: int) -> None:
        """Return when the projection has folded up to `position`."""
        if position > self._desired.position:
            await self.catch_up()
        await self._reader.wait_for(position)

    def _count_lost(self) -> None:
        """Of what a timer found before, no hint has come since: a late one would be there."""
        lost = sum(position > self._told for position in self._untold)
        self._untold.clear()
        if lost:
            self._metrics.healed_by_replay(lost)

    async def _follow_untold(self, page: Sequence[Row]) -> None:
        """Follow up what a timer found, and remember the intents that no hint told of yet."""
        self._untold += [row[0] for row in page if row[0] > self._told and "#" not in row[1]]
        await self.follow_up(page)

    def loops(self) -> Loops:
        """Those that the settings want."""
        if self._hints:
            yield "hints", self._follow_hints
        if self._tail_interval:
            yield "tail", self._tail

    async def _follow_hints(self) -> None:
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            await self.quietly_catch_up(by_timer=False)

    async def _tail(self) -> None:
        while True:
            await self.pause(self._tail_interval)
            await self.quietly_catch_up(by_timer=True)
            self.progress["tail"] = self._clock()

    async def pause(self, interval: float) -> None:
        """Sleep for about so long, so that many do not wake together."""
        await asyncio.sleep(interval * self._rng.uniform(1 - self._jitter, 1 + self._jitter))

    async def run(self) -> None:
        """Follow, for ever, without a worker; cancel to stop."""
        self.follow_up = _nobody
        self.progress["tail"] = self._clock()
        await self.quietly_catch_up(by_timer=False)
        await run_all(self.loops(), lost=self._metrics.lost)


async def run_all(loops: Loops, *, lost: Callable[[str], None]) -> None:
    """Run loops beside each other, for ever; `lost` is told of each that failed."""
    tasks = [
        asyncio.create_task(supervised(name, loop, lost=lost), name=name) for name, loop in loops
    ]
    # A cancelled `gather` cancels in order; a task group does in none.
    await asyncio.gather(*tasks, return_exceptions=True)


async def supervised(
    name: str, loop: Callable[[], Awaitable[None]], *, lost: Callable[[str], None]
) -> None:
    """Run a loop; if it fails, say so, wait a moment and run it again."""
    while True:
        try:
            await loop()
        except Exception:
            lost(name)
            _log.exception("a loop failed and starts again", loop=name)
        await asyncio.sleep(1.0)
