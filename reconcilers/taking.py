"""Taking up: what a worker does with partitions that it gained, together for each target.

A lease comes alone, but leases come in flocks: a moment is waited, so that a target is swept once.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Final, final

import structlog

from bus.leases import Partition

FLOCK_SECONDS: Final = 0.05

_log = structlog.get_logger("taking")


@final
class Taking:
    """Args: `take_up` is given a target and partitions of it."""

    def __init__(self, take_up: Callable[[str, set[Partition]], Awaitable[None]]) -> None:
        self._take_up = take_up
        self._waiting: dict[str, set[Partition]] = defaultdict(set)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, partition: Partition) -> None:
        target = partition.target
        self._waiting[target].add(partition)
        if target not in self._tasks:
            self._tasks[target] = asyncio.create_task(self._run(target), name=f"taking-{target}")

    async def _run(self, target: str) -> None:
        try:
            while self._waiting[target]:
                await asyncio.sleep(FLOCK_SECONDS)
                partitions = self._waiting.pop(target)
                _log.info("takes up", target=target, partitions=len(partitions))
                try:
                    await self._take_up(target, partitions)
                except Exception:
                    _log.exception("a target could not be taken up; the tick looks again")
        finally:
            del self._tasks[target]

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
