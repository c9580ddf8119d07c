"""How much is asked of one cluster at once, and when it asked for patience itself.

Each target has its own: a slow or throttling cluster delays no other.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

IN_FLIGHT: Final = 16  # requests at once; measured: more only queue inside the API server
LONGEST: Final = 60.0  # seconds; a server that asks for more is asked again then
_SPREAD: Final = 0.25  # of a pause, so that not all come back at once


class Patience:
    """Turns of requests to one cluster."""

    def __init__(self, rng: random.Random, *, in_flight: int = IN_FLIGHT) -> None:
        self._rng = rng
        self._turns = asyncio.Semaphore(in_flight)
        self._not_before = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and until a pause that the cluster asked for is over."""
        async with self._turns:
            await self._pause_over()
            yield

    def pause(self, seconds: float) -> None:
        """Let nothing begin for so long."""
        until = asyncio.get_running_loop().time() + min(seconds, LONGEST)
        self._not_before = max(self._not_before, until)

    async def _pause_over(self) -> None:
        while True:
            if (left := self.left) <= 0:
                return
            await asyncio.sleep(left * (1 + self._rng.uniform(0, _SPREAD)))

    @property
    def left(self) -> float:
        """Seconds of the pause that are left."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())
