"""A PostgreSQL log opened for a test, and what tests do with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from adapters.postgres.log import PostgresLog
from adapters.postgres.server import Limits
from bus.log import Appended, IdempotencyKey, Log, NewEvent, StoredEvent

WEB = "App/shop/web"
PATIENCE = 60.0  # seconds: of a test that waits for something that must happen
QUICK = Limits(connect=1.0, lock=0.3, statement=0.6, answer=1.0)


@asynccontextmanager
async def opened(url: str, directory: Path, limits: Limits = QUICK) -> AsyncIterator[PostgresLog]:
    """A log of this process, with its head file in a directory that is made."""
    directory.mkdir(exist_ok=True)
    log = await PostgresLog.open(url, directory, now=lambda: 1_700_000_000.0, limits=limits)
    try:
        yield log
    finally:
        await log.close()


async def append(
    log: Log, stream: str = WEB, data: bytes = b"{}", key: str | None = None
) -> Appended:
    """Append one event to a stream, of which nothing is expected."""
    token = None if key is None else IdempotencyKey("ada", key, b"digest")
    return await log.append([NewEvent(stream, "app.scaled", data)], expect={}, key=token)


async def until(holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


async def follow(log: Log, after: int, count: int) -> list[StoredEvent]:
    """Collect `count` events from a tail."""
    seen: list[StoredEvent] = []
    tail = log.tail(after)
    async with asyncio.timeout(PATIENCE), aclosing(tail):  # type: ignore[type-var]
        while len(seen) < count:
            seen.extend(await anext(tail))
    return seen
