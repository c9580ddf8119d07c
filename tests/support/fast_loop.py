"""An event loop whose clock can run ahead, for limits of minutes that a test shall see in seconds.

Only this loop's own timers are quick: what it waits for from elsewhere takes its time.
"""

import asyncio
import selectors
from typing import override


class _Selector(selectors.DefaultSelector):
    speed = 1.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(None if timeout is None else timeout / self.speed)


class FastLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._pace = _Selector()
        self._begun = self._passed = super().time()
        super().__init__(self._pace)

    @override
    def time(self) -> float:
        return self._passed + (super().time() - self._begun) * self._pace.speed

    def hurry(self, speed: float) -> None:
        """Let so many seconds pass in one."""
        self._passed, self._begun = self.time(), super().time()
        self._pace.speed = speed
