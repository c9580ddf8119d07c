"""Order where it matters: work on the same resource one after the other, all else side by side.

What was added later waits for everything before it that shares a lane. Work that takes for ever
holds its own lanes and no others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import final


@final
class Lanes:
    """Runs work in the order of `add` within each lane."""

    def __init__(self) -> None:
        self._last: dict[str, asyncio.Task[None]] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of `add`

    def add(self, lanes: Iterable[str], work: Callable[[], Awaitable[None]]) -> None:
        """Start `work` as soon as all earlier work in its lanes has ended. It must not raise."""
        names = tuple(lanes)
        before = {self._last[name] for name in names if name in self._last}
        task = asyncio.create_task(_after(before, work))
        for name in names:
            self._last[name] = task
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._ended(done, names))

    def _ended(self, task: asyncio.Task[None], names: tuple[str, ...]) -> None:
        self._tasks.pop(task, None)
        for name in names:
            if self._last.get(name) is task:
                del self._last[name]

    async def stop(self) -> None:
        """Cancel all that waits or runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _after(before: set[asyncio.Task[None]], work: Callable[[], Awaitable[None]]) -> None:
    if before:
        await asyncio.wait(before)
    await work()
