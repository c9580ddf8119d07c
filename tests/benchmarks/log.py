"""The speed of the SQLite log, as ratios against plain `sqlite3` in the same run.

Rounds of both sides alternate, and medians are compared, so that a noisy machine slows both.
"""

import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from adapters.sqlite.log import SqliteLog
from bus.log import NewEvent

ROUNDS = 7
APPENDS = 1500  # per round of concurrent appends
SEQUENTIAL = 400
CALLERS = 32
DATA = b'{"spec": "' + b"x" * 388 + b'"}'  # 400 bytes
ROWS = 100_000
SCAN_TARGET = 0.67  # a rebuild may take 1.5 times as long as reading alone

_TABLE = (
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT, version INTEGER,"
    " type TEXT, data BLOB, UNIQUE (stream, version))"
)
_INSERT = "INSERT INTO events (stream, version, type, data) VALUES (?, ?, ?, ?)"
_SELECT = (
    "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events"
    " WHERE notification_id > ? ORDER BY notification_id LIMIT 5000"
)


class Ratio(NamedTuple):
    """A measured ratio and what it must be: at least the target, or at most if `at_most`."""

    name: str
    ratio: float
    target: float
    detail: str
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.ratio <= self.target if self.at_most else self.ratio >= self.target


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


async def measure_appends(directory: Path) -> list[Ratio]:
    raw = RawTable(directory)
    log = await SqliteLog.open(directory, now=time.monotonic)
    speeds: dict[str, list[float]] = {"raw": [], "many": [], "one": []}
    try:
        for number in range(ROUNDS):
            with _timed(speeds["raw"], SEQUENTIAL):
                raw.append(SEQUENTIAL)
            with _timed(speeds["many"], APPENDS // CALLERS * CALLERS):
                await append_concurrently(log, APPENDS, CALLERS, f"App/m{number}/a")
            with _timed(speeds["one"], SEQUENTIAL):
                await append_concurrently(log, SEQUENTIAL, 1, f"App/o{number}/a")
    finally:
        raw.close()
        await log.close()
    floor, many, one = (statistics.median(speeds[name]) for name in ("raw", "many", "one"))
    return [
        Ratio(
            f"log, SQLite FULL, {CALLERS} concurrent single appends",
            many / floor,
            4.0,
            f"{many:,.0f}/s against {floor:,.0f}/s raw, one commit each",
        ),
        Ratio(
            "log, one sequential appender",
            one / floor,
            0.4,
            f"{one:,.0f}/s against {floor:,.0f}/s raw, one commit each",
        ),
    ]


async def measure_scan(directory: Path) -> list[Ratio]:
    """Reading the whole log page by page against a bare SELECT loop over the same rows."""
    log = await SqliteLog.open(directory, now=time.monotonic, synchronous="NORMAL")
    try:
        for start in range(0, ROWS, 1000):
            stream = f"App/s/a{start}"
            page = [NewEvent(stream, "app.defined", DATA)] * 1000
            await log.append(page, expect={stream: 0})
        raw: list[float] = []
        scanned: list[float] = []
        connection = sqlite3.connect(directory / "log.db")
        for _ in range(ROUNDS):
            with _timed(raw, ROWS):
                _select_all(connection)
            with _timed(scanned, ROWS):
                async for page_of_rows in log.scan(0):
                    assert page_of_rows
        connection.close()
    finally:
        await log.close()
    floor, speed = statistics.median(raw), statistics.median(scanned)
    detail = f"{speed:,.0f} rows/s against {floor:,.0f} rows/s of a bare SELECT"
    return [Ratio("log, scan of all rows", speed / floor, SCAN_TARGET, detail)]


def _select_all(connection: sqlite3.Connection) -> None:
    after = 0
    while page := connection.execute(_SELECT, (after,)).fetchall():
        after = page[-1][0]


@contextmanager
def _timed(speeds: list[float], count: int) -> Iterator[None]:
    started = time.perf_counter()
    yield
    speeds.append(count / (time.perf_counter() - started))


def measure() -> list[Ratio]:
    """Run all measurements, each in a directory of its own on the disk of the working tree."""
    ratios: list[Ratio] = []
    for measurement in (measure_appends, measure_scan):
        with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as directory:
            ratios += asyncio.run(measurement(Path(directory)))
    return ratios


def show(ratios: list[Ratio], write: Callable[[str], None] = print) -> bool:
    """Write one line for each ratio; return whether all are met."""
    for ratio in ratios:
        bound = "at most" if ratio.at_most else "at least"
        verdict = "ok  " if ratio.met else "MISS"
        write(
            f"{verdict} {ratio.ratio:5.2f} x ({bound} {ratio.target}) {ratio.name}: {ratio.detail}"
        )
    return all(ratio.met for ratio in ratios)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
