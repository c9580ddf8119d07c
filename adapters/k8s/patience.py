"""How much is asked of one cluster at once, and when it asked for patience itself.

Each target has its own: a slow or throttling cluster delays no other.
"""

import asyncio
import random
from typing import Final, final

IN_FLIGHT: Final = 16  # requests at once; measured: more only queue inside the API server
LONGEST: Final = 60.0  # seconds; a server that asks for more is asked again then
_SPREAD: Final = 0.25  # of a pause, so that not all come back at once


@final
class Patience:
    """Turns of requests to one cluster: `async with patience` waits for one.

    It also waits until a pause that the cluster asked for is over.
    """

    def __init__(self, rng: random.Random, *, in_flight: int = IN_FLIGHT) -> None:
        self._rng = rng
        self._turns = asyncio.Semaphore(in_flight)
        self._not_before = 0.0

    async def __aenter__(self) -> None:
        await self._turns.acquire()
        if self._not_before:
            try:
                await self._pause_over()
            except BaseException:
                self._turns.release()
                raise

    async def __aexit__(self, *_: object) -> None:
        self._turns.release()

    def pause(self, seconds: float) -> None:
        """Let nothing begin for so long."""
        until = asyncio.get_running_loop().time() + min(seconds, LONGEST)
        self._not_before = max(self._not_before, until)

    async def _pause_over(self) -> None:
        while True:
            if (left := self.left) <= 0:
                self._not_before = 0.0
                return
            await asyncio.sleep(left * (1 + self._rng.uniform(0, _SPREAD)))

    @property
    def left(self) -> float:
        """Seconds of the pause that are left."""
        return max(0.0, self._not_before - asyncio.get_running_loop().time())
