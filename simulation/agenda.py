"""What will happen later on the loop's clock: at one moment, in the order in which it was added.

The timers of a loop promise no order among those that are due together.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import final


@final
class Agenda:
    """Deeds and when they are due. `close` drops what is left."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, delay: float, deed: Callable[[], None]) -> None:
        """Do it after so many seconds, and never before this call has returned."""
        when = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._due, (when, next(self._numbers), deed))
        self._set_timer()

    def close(self) -> None:
        self._due.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        first = self._due[0][0] if self._due else None
        if self._timer is not None:
            if self._timer.when() == first:
                return
            self._timer.cancel()
            self._timer = None
        if first is not None:
            self._timer = asyncio.get_running_loop().call_at(first, self._act, first)

    def _act(self, moment: float) -> None:
        """Do what is due. The clock may be behind `moment` by as little as a float can be."""
        self._timer = None
        try:
            while self._due and self._due[0][0] <= moment:
                _, _, deed = heapq.heappop(self._due)
                deed()
        finally:
            self._set_timer()
