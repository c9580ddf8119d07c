"""An event loop on virtual time: when all wait, the clock jumps to the next timer.

A day passes in milliseconds. When nothing waits for a timer either, nothing can ever happen again,
and the loop raises `Stalled` instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, final, override


class Stalled(AssertionError):
    """Every task waits, and no timer is set."""


@final
class _Jumping(selectors.SelectSelector):
    """Polls without waiting, and counts the waiting as time.

    It spares the poll when there is nothing but the loop's own pipe: whoever writes to that has put
    what is to be done in the loop's queue before.
    """

    elapsed = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0) if timeout is None or len(self.get_map()) > 1 else []
        if not ready:
            if timeout is None:
                raise Stalled("every task waits, and no timer is set")
            self.elapsed += max(timeout, 0.0)
        return ready


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Jumping()
        super().__init__(self._virtual)

    @override
    def time(self) -> float:
        return self._virtual.elapsed


def run[T](main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
