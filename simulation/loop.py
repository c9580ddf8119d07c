"""An event loop on virtual time: when all wait, the clock jumps to the next timer.

A day passes in milliseconds. When nothing waits for a timer either, nothing can ever happen again,
and the loop raises `Stalled` instead of hanging.

It is asyncio's loop with a turn of its own, for a turn is most of what a simulated second costs.
Timers that are due together go in the order in which they were set.
"""

# ruff: noqa: SLF001 -- a loop and its handles are one

import asyncio
import gc
import heapq
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, copy_context
from itertools import count
from typing import Any, Final, final, override

CANCELLED: Final = 100  # timers that are kept at most before their times are over


class Stalled(AssertionError):
    """Every task waits, and no timer is set."""


@final
class _Handle(asyncio.Handle):
    """What is called in the next turn. It is as asyncio's, without the help for debugging."""

    __slots__ = ()
    _context: Context
    _callback: Callable[..., object]
    _loop: asyncio.AbstractEventLoop
    _repr: str | None
    _source_traceback: None

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


@final
class _Timer(asyncio.TimerHandle):
    """What is called at a time: likewise."""

    __slots__ = ()
    _loop: "VirtualLoop"
    _when: float
    _scheduled: bool
    _context: Context
    _callback: Callable[..., object] | None
    _repr: str | None
    _source_traceback: None

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "VirtualLoop",
        context: Context | None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, True

    @override
    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback, self._args = None, ()
            self._loop.count_cancelled()


@final
class VirtualLoop(asyncio.SelectorEventLoop):
    _ready: deque[_Handle]
    _stopping: bool
    _selector: selectors.BaseSelector
    _watched: Mapping[int, selectors.SelectorKey]
    _process_events: Callable[[list[tuple[selectors.SelectorKey, int]]], None]

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = count()
        self._cancelled = 0
        selector = selectors.SelectSelector()
        super().__init__(selector)
        # More to poll than the loop's own pipe? Whoever writes to that has put what is to be done
        # in the loop's queue before.
        self._watched = selector._fd_to_key  # type: ignore[attr-defined]  # of each selector

    @override
    def time(self) -> float:
        return self._elapsed

    @override
    def call_soon[*Ts](
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    @override
    def call_later[*Ts](
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._elapsed + delay, callback, *args, context=context)

    @override
    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = _Timer(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def count_cancelled(self) -> None:
        """One timer more is in vain: when they are many, they are dropped."""
        self._cancelled += 1
        if self._cancelled > CANCELLED and self._cancelled > len(self._timers) / 2:
            self._timers = [timer for timer in self._timers if not timer[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _run_once(self) -> None:
        """One turn: let time pass if nothing else can happen, then call what is due."""
        ready = self._ready
        self._pass_time(ready)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # as asyncio's loop does
                said = f"Exception in callback {handle._callback!r}"
                told = {"message": said, "exception": error, "handle": handle}
                self.call_exception_handler(told)

    def _pass_time(self, ready: deque[_Handle]) -> None:
        """Make ready what is due; if there is nothing to do before, go on to the next timer."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if len(self._watched) > 1 or not (ready or timers or self._stopping):
            self._process_events(self._selector.select(0))
            if not (ready or timers or self._stopping):
                raise Stalled("every task waits, and no timer is set")
        if timers and not ready and not self._stopping:
            self._elapsed = max(self._elapsed, timers[0][0])
        while timers and timers[0][0] <= self._elapsed:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)  # type: ignore[arg-type]  # all that a turn needs is there


def run[T](main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def collect_rarely() -> None:
    """For a process that only simulates: worlds are small, and looking for cycles costs more."""
    gc.set_threshold(100_000)
