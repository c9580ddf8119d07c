"""Lives: one process of the control plane after the other, and every effect that each has.

Whatever a life does to the world passes `Life.effect`, which numbers it. A life may be chosen to
end right before or right after a number: before, the world never hears of it; after, the life
never hears of the world. A life that has ended does nothing any more, whatever its tasks try.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, final

from simulation.tracing import Trace

SPIN_CALLS: Final = 20_000  # at one moment


@dataclass(slots=True)
class Effects:
    """The effects of one world, numbered from 1 over all its lives.

    `before` and `after` are the numbers at which the life that has them ends. `asked` is asked at
    each effect, with its words, for a reason to end there: `before`, `after` or nothing. `spun` is
    told when the lives call and call and no time passes.
    """

    before: set[int] = field(default_factory=set)
    after: set[int] = field(default_factory=set)
    asked: Callable[[str], str] = lambda _words: ""
    spun: Callable[[], None] = lambda: None
    done: int = 0
    _moment: float = -1.0
    _calls: int = 0

    def heard(self, now: float) -> None:
        """Somebody calls something; so many calls in no time are a loop that spins."""
        if now != self._moment:
            self._moment, self._calls = now, 0
        self._calls += 1
        if self._calls == SPIN_CALLS:
            self.spun()

    def begin(self, words: str) -> tuple[bool, bool]:
        """Number the next effect; whether its life ends before it, and after it."""
        self.done += 1
        chosen = self.asked(words)
        return (
            self.done in self.before or chosen == "before",
            self.done in self.after or chosen == "after",
        )


@final
class Life:
    """One process: `name` is how the trace calls it; `ended` is set when it is killed, which
    `gone` is told.

    `loses_unsynced` says that what it wrote and did not sync goes with it; `tears`, that all but
    the end of that is still on the disk.
    """

    def __init__(
        self, name: str, effects: Effects, trace: Trace, gone: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self._gone = gone
        self.ended = asyncio.Event()
        self.is_present = True
        """Whether it neither has ended nor is paused."""
        self.cause = ""
        self.loses_unsynced = self.tears = False
        self._effects, self._trace = effects, trace
        self._goes_on = asyncio.Event()
        self._goes_on.set()

    @property
    def is_alive(self) -> bool:
        return not self.ended.is_set()

    def end(self, cause: str) -> None:
        """Kill it: from now on nothing that it tries happens."""
        if self.is_alive:
            self.cause = cause
            self.is_present = False
            self._trace.note(self.name, f"ends: {cause}")
            self.ended.set()
            self._goes_on.set()
            self._gone()

    def pause(self) -> None:
        """Stop it as SIGSTOP does: nothing goes out and nothing comes in."""
        self._goes_on.clear()
        self.is_present = False

    def go_on(self) -> None:
        self._goes_on.set()
        self.is_present = self.is_alive

    async def present(self) -> None:
        """Wait while it is paused.

        Raises:
            CancelledError: it has ended.
        """
        self._effects.heard(self._trace.now)
        if not self._goes_on.is_set():
            await self._goes_on.wait()
        if not self.is_alive:
            raise asyncio.CancelledError

    async def read[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Ask the world something; no effect."""
        if not self.is_present:
            await self.present()
        result = await call()
        if not self.is_present:
            await self.present()
        return result

    async def effect[T](self, words: str, call: Callable[[], Awaitable[T]]) -> T:
        """Do something to the world, unless the life ends before it."""
        await self.present()
        before, after = self._effects.begin(words)
        if before:
            self.end(f"before {words}")
        if not self.is_alive:
            raise asyncio.CancelledError
        self._trace.note(self.name, words)
        try:
            return await call()
        except Exception as error:
            self._trace.note(self.name, f"{words} failed: {type(error).__name__}")
            raise
        finally:
            if after:
                self.end(f"after {words}")
            await self.present()
