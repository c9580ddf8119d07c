"""The speed of the SQLite log, as ratios against plain `sqlite3` in the same run.

Rounds of both sides alternate, and medians are compared, so that a noisy machine slows both.
"""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from adapters.sqlite.log import SqliteLog
from bus.log import NewEvent
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, per_second, rate, show

ROUNDS = 7
APPENDS = 1500  # per round of concurrent appends
SEQUENTIAL = 400
CALLERS = 32
DATA = b'{"spec": "' + b"x" * 388 + b'"}'  # 400 bytes

MANY = Promise(f"log, {CALLERS} concurrent single appends", "sqlite3 FULL, a commit each", 4.0)
ONE = Promise("log, one sequential appender", "sqlite3 FULL, a commit each", 0.4)
PROMISES = (MANY, ONE)
HOW = (
    f"Events of {len(DATA)} bytes on a real disk, `synchronous=FULL`. {ROUNDS} alternating rounds"
    f" of {SEQUENTIAL} raw commits, {APPENDS} appends by {CALLERS} tasks and {SEQUENTIAL} by one."
)

_TABLE = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, version INTEGER,"
    " type TEXT, data BLOB, UNIQUE (stream, version))"
)
_INSERT = "INSERT INTO events (stream, version, type, data) VALUES (?, ?, ?, ?)"


class RawTable:
    """The floor: one connection, `synchronous=FULL`, one commit for each row."""

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "raw.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute(_TABLE)
        self._versions: dict[str, int] = {}

    def append(self, count: int) -> None:
        for number in range(count):
            stream = f"App/shop/a{number % 1000}"
            version = self._versions[stream] = self._versions.get(stream, 0) + 1
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(_INSERT, (stream, version, "app.defined", DATA))
            self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


async def append_concurrently(log: SqliteLog, count: int, callers: int, prefix: str) -> None:
    """Append `count` events, one by one, from `callers` tasks at once."""

    async def caller(number: int) -> None:
        stream = f"{prefix}{number}"
        for version in range(count // callers):
            await log.append([NewEvent(stream, "app.defined", DATA)], expect={stream: version})

    await asyncio.gather(*(caller(number) for number in range(callers)))


async def _measure(directory: Path) -> list[Row]:
    raw = RawTable(directory)
    log = await SqliteLog.open(directory, now=time.monotonic)
    floor, many, one = Times(), Times(), Times()
    appends = APPENDS // CALLERS * CALLERS
    try:
        for number in range(ROUNDS):
            with floor.taken():
                raw.append(SEQUENTIAL)
            with many.taken():
                await append_concurrently(log, appends, CALLERS, f"App/m{number}/a")
            with one.taken():
                await append_concurrently(log, SEQUENTIAL, 1, f"App/o{number}/a")
    finally:
        raw.close()
        await log.close()
    least = rate(SEQUENTIAL, floor)
    rows = []
    for promise, speed in ((MANY, rate(appends, many)), (ONE, rate(SEQUENTIAL, one))):
        row = promise.kept(speed / least, ours=per_second(speed), floor=per_second(least))
        rows.append(row)
    return rows


def measure() -> Sequence[Row]:
    with on_disk() as directory:
        return asyncio.run(_measure(directory))


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
