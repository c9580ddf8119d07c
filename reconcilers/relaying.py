"""Conversations led from another process: what is said goes one way, what is typed another.

Whoever leads one gives it an id, and what is typed goes to that id. It is taken in order, each
piece only when the one before was, so whoever types waits for a command that does not read.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import final

from reconcilers.alongside import alongside
from reconcilers.conversing import Said, Typed
from reconcilers.ports import EngineUnavailable


@final
class Relay:
    """The conversations of this process that others lead."""

    def __init__(self) -> None:
        self._typed: dict[str, asyncio.Queue[Typed]] = {}

    @contextmanager
    def opened(self, of: str) -> Iterator[AsyncIterator[Typed]]:
        """What is typed for an id, for as long as the conversation lasts."""
        queue = self._typed[of] = asyncio.Queue(1)

        async def typed() -> AsyncIterator[Typed]:
            while True:
                yield await queue.get()

        try:
            yield typed()
        finally:
            del self._typed[of]

    async def type(self, of: str, typed: Typed) -> None:
        """Raises: EngineUnavailable, when there is no such conversation any more."""
        queue = self._typed.get(of)
        if queue is None:
            raise EngineUnavailable("the conversation with the command is over; start it again")
        await queue.put(typed)


async def led(
    said: AsyncGenerator[Said | None],
    typed: AsyncIterator[Typed],
    type_: Callable[[Typed], Awaitable[object]],
) -> AsyncGenerator[Said]:
    """Lead one elsewhere: its first word is None, and then it may be typed."""
    begun = asyncio.Event()

    async def typing() -> None:
        await begun.wait()
        async for one in typed:
            await type_(one)

    conversation = alongside(said, typing())
    try:
        async for piece in conversation:
            if piece is None:
                begun.set()
            else:
                yield piece
    finally:
        await conversation.aclose()
