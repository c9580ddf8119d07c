"""A reader in a process of its own, for the benchmarks of the PostgreSQL log.

    python -m tests.benchmarks.postgres_tailing tail|fetch|follow URL DIRECTORY COUNT

`tail` follows a log from its beginning until it has seen COUNT events; `fetch` reads as many rows
in the same pages with plain asyncpg and looks at none. Both print the seconds they took, without
those for starting. `follow` is `tail` over and over, until it is ended; it says `reading` first.
"""

import asyncio
import sys
import time
from contextlib import aclosing
from pathlib import Path

import asyncpg

from adapters.postgres.log import PAGE, PostgresLog

_READ = (
    "SELECT notification_id, originator_id, originator_version, topic, state"
    " FROM stateward.stored_events WHERE notification_id > $1 ORDER BY notification_id LIMIT $2"
)


async def tail(url: str, directory: Path, count: int) -> float:
    log = await PostgresLog.open(url, directory, now=time.time)
    try:
        return await _tailed(log, count)
    finally:
        await log.close()


async def _tailed(log: PostgresLog, count: int) -> float:
    seen, began = 0, time.perf_counter()
    async with aclosing(log.tail(0)) as pages:  # type: ignore[type-var]
        async for page in pages:
            seen += len(page)
            if seen >= count:
                break
    return time.perf_counter() - began


async def follow(url: str, directory: Path, count: int) -> None:
    log = await PostgresLog.open(url, directory, now=time.time)
    try:
        while True:
            print("reading", flush=True)
            await _tailed(log, count)
    finally:
        await log.close()


async def fetch(url: str, count: int) -> float:
    settings = {"enable_seqscan": "off", "enable_sort": "off"}
    connection = await asyncpg.connect(url, server_settings=settings)
    try:
        statement = await connection.prepare(_READ)
        seen = after = 0
        began = time.perf_counter()
        while seen < count:
            page = await statement.fetch(after, PAGE)
            after, seen = page[-1][0], seen + len(page)
        return time.perf_counter() - began
    finally:
        await connection.close()


def main(how: str, url: str, directory: str, count: str) -> None:
    if how == "follow":
        asyncio.run(follow(url, Path(directory), int(count)))
    elif how == "tail":
        print(asyncio.run(tail(url, Path(directory), int(count))))
    else:
        print(asyncio.run(fetch(url, int(count))))


if __name__ == "__main__":
    main(*sys.argv[1:])
