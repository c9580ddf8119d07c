"""A process that appends to a PostgreSQL log from many tasks, and says what was acknowledged.

    python -m tests.support.log_writers URL DIRECTORY NAME WRITERS APPENDS

Each line on stdout is the positions of one append, written as soon as it is acknowledged. Every
second append also goes to a stream that all processes fight for, with the version it is believed
to be at, until it is won.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from adapters.postgres.log import PostgresLog
from bus.log import NewEvent, VersionConflict

SHARED = ("App/shop/shared-0", "App/shop/shared-1", "App/shop/shared-2")


async def write(log: PostgresLog, name: str, number: int, appends: int) -> None:
    own = f"App/{name}/w{number}"
    for version in range(appends):
        mine = NewEvent(own, "app.scaled", f"{name} {number} {version}".encode())
        if version % 2:
            positions = await _win(log, mine, version, SHARED[(number + version) % len(SHARED)])
        else:
            positions = (await log.append([mine], expect={own: version})).positions
        print(json.dumps(positions), flush=True)


async def _win(log: PostgresLog, mine: NewEvent, version: int, shared: str) -> Sequence[int]:
    contended = NewEvent(shared, "app.scaled", mine.data)
    at = len(await log.stream(shared))
    while True:
        try:
            expect = {mine.stream: version, shared: at}
            return (await log.append([mine, contended], expect=expect)).positions
        except VersionConflict as conflict:
            at = conflict.actual


async def main(url: str, directory: Path, name: str, writers: int, appends: int) -> None:
    log = await PostgresLog.open(url, directory, now=time.time)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                group.create_task(write(log, name, number, appends))
    finally:
        await log.close()


if __name__ == "__main__":
    _url, _directory, _name, _writers, _appends = sys.argv[1:]
    asyncio.run(main(_url, Path(_directory), _name, int(_writers), int(_appends)))
