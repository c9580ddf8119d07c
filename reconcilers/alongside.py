"""Both directions of a conversation at once."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, Final


class _Over: ...


_OVER: Final = _Over()


async def alongside[T](
    said: AsyncGenerator[T], typing: Coroutine[Any, Any, None]
) -> AsyncGenerator[T]:
    """What is said, while something else goes on, which ends with it, or with its error ends it."""
    feeding = asyncio.ensure_future(typing)
    coming = asyncio.ensure_future(anext(said, _OVER))
    try:
        while True:
            await asyncio.wait({coming, feeding}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                feeding.result()
                await asyncio.wait({coming})
            piece = coming.result()
            if isinstance(piece, _Over):
                return
            yield piece
            coming = asyncio.ensure_future(anext(said, _OVER))
    finally:
        for task in (feeding, coming):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        await said.aclose()
