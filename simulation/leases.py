"""Leases in memory: one bucket for all workers of a world, and how each of them reaches it.

A write may be applied although its answer is lost, and one worker may be cut off alone.
"""

import asyncio
from collections.abc import Callable
from typing import final, override

from bus.leases import Entry, LeaseRaced, LeaseStore, LeasesUnavailable, Look


@final
class Bucket:
    """Args: `now` is seconds since the epoch, as whoever keeps the bucket has it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.born = now()
        self.ways: list[SimulatedLeases] = []

    def way(self) -> "SimulatedLeases":
        """How one more worker reaches it."""
        way = SimulatedLeases(self, self._now)
        self.ways.append(way)
        return way

    def vanish(self) -> None:
        """It is deleted, and made again."""
        self.entries.clear()
        self.revision, self.born = 0, self._now()


@final
class SimulatedLeases(LeaseStore):
    """`is_cut`: nothing arrives. `loses_answers`: it does, and nobody hears of it.

    `delay_seconds` is what each way takes, `answer_delay_seconds` what an answer takes beside.
    """

    def __init__(self, bucket: Bucket, now: Callable[[], float]) -> None:
        self._bucket, self._now = bucket, now
        self._news = asyncio.Event()
        self.is_cut = False
        self.loses_answers = False
        self.delay_seconds = 0.001
        self.answer_delay_seconds = 0.0

    @override
    async def look(self) -> Look:
        await self._travel()
        bucket = self._bucket
        look = Look(list(bucket.entries.values()), int(bucket.born), self._now() - bucket.born)
        await self._travel()
        return look

    @override
    async def write(self, key: str, value: bytes, *, after: int, tell: bool = True) -> int:
        await self._travel()
        bucket = self._bucket
        known = bucket.entries.get(key)
        is_raced = (known.revision if known is not None else 0) != after
        if not is_raced:
            bucket.revision += 1
            bucket.entries[key] = Entry(key, value, bucket.revision)
        written = bucket.revision
        if self.loses_answers:
            await asyncio.sleep(5.0)
            raise LeasesUnavailable("timeout")
        await asyncio.sleep(self.answer_delay_seconds)
        await self._travel()
        if is_raced:
            raise LeaseRaced(f"{key} has not revision {after} any more")
        if tell:
            for way in bucket.ways:
                way.hear()
        return written

    @override
    async def forget(self, entry: Entry) -> None:
        await self._travel()
        if self._bucket.entries.get(entry.key) == entry:
            del self._bucket.entries[entry.key]

    @override
    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()

    def hear(self) -> None:
        if not self.is_cut:
            self._news.set()

    async def _travel(self) -> None:
        await asyncio.sleep(self.delay_seconds)
        if self.is_cut:
            await asyncio.sleep(5.0)
            raise LeasesUnavailable("timeout")
