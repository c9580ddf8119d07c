"""Announcing: what the log has taken is told on the bus, in order, and never twice by one process.

The bus may lose it; whoever needs it all reads the log.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, final

from bus.log import Log, LogError, StoredEvent

PAGE: Final = 500
RETRY_SECONDS: Final = 1.0


@final
class Announcer:
    """Args: `publish` must not block or raise."""

    def __init__(
        self, log: Log, publish: Callable[[Sequence[StoredEvent]], None], *, after: int
    ) -> None:
        self._log, self._publish = log, publish
        self._told = after
        self._moved = asyncio.Event()

    def appended(self) -> None:
        """There is something new in the log."""
        self._moved.set()

    async def run(self) -> None:
        """Tell what is new, for ever."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                while page := await self._log.read(self._told, PAGE):
                    self._publish(page)
                    self._told = page[-1].position
            except LogError:
                await asyncio.sleep(RETRY_SECONDS)
                self._moved.set()
