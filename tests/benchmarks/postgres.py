"""The PostgreSQL log against plain asyncpg: intents through it, tails of it, and both at once.

The server writes to a real disk with fsync, as in production. Rounds of both sides alternate.
"""

import asyncio
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg

from adapters.postgres.log import PostgresLog
from bus import manifests
from bus.intents import IntentService
from bus.log import NewEvent
from tests.benchmarks import sample
from tests.benchmarks.intents import DIGEST, OUTCOME
from tests.benchmarks.rows import Promise, Row, Times, millis, per_second, rate, ratio_of, show
from tests.support.postgres_server import Cluster, cluster
from tests.support.requirements import absence_of

ROUNDS = 7
INTENTS = 3_000  # per round
CALLERS = 64
TAILED = 200_000  # events
TAILS = 5
LONG = 1_000_000  # events
WRITES = 600  # per round
PAUSE = 0.004  # seconds between two writes: some 200 a second
PHASES = 5

DURABLE = Promise(
    f"PostgreSQL: durable intents through the service, {CALLERS} callers",
    "asyncpg, groups of the same bytes in one INSERT each",
    0.5,
)
TAIL = Promise("PostgreSQL: tail by a second process", "asyncpg, the same pages undecoded", 0.4)
WRITE = Promise(
    f"PostgreSQL: write latency p99 while a tail replays {LONG:,} events",
    "without the reader",
    at_most=2.0,
)
PROMISES = (DURABLE, TAIL, WRITE)
HOW = (
    f"PostgreSQL with fsync, of this machine. {ROUNDS} alternating rounds of {INTENTS:,} intents"
    f" by {CALLERS} tasks, as in intents; the floor writes events, keys and outcomes of the same"
    " sizes, of all who wait, in one statement under the same lock, and decides and seals nothing."
    f" {TAILS} alternating rounds of {TAILED:,} events of 400 bytes read by a process of its own."
    f" {PHASES} alternating rounds of {WRITES} appends, one every {PAUSE * 1000:.0f} ms, without"
    f" and beside a process that tails {LONG:,} events over and over; the ratio is the median of"
    " the rounds' ratios of their p99."
)

_TABLES = """
CREATE TABLE raw_events (position bigserial PRIMARY KEY, stream text NOT NULL,
    version bigint NOT NULL, type text NOT NULL, data bytea NOT NULL, UNIQUE (stream, version));
CREATE TABLE raw_keys (actor text, key text, digest bytea NOT NULL, outcome bytea NOT NULL,
    PRIMARY KEY (actor, key))
"""
_GROUP = """
WITH turn AS (SELECT pg_advisory_xact_lock(1)), kept AS (
    INSERT INTO raw_keys SELECT k.* FROM turn, unnest($5::text[], $6::text[], $7::bytea[],
        $8::bytea[]) AS k
)
INSERT INTO raw_events (stream, version, type, data)
    SELECT e.* FROM turn, unnest($1::text[], $2::bigint[], $3::text[], $4::bytea[]) AS e
"""
_LAY = """
INSERT INTO stateward.stored_events
    SELECT n, 'App/p' || n % 100 || '/a' || n % 10000, (n - 1) / 10000 + 1, 'app.defined',
        convert_to('{"spec": "' || repeat('x', 388) || '"}', 'UTF8')
    FROM generate_series(1, $1) AS n
"""


class Raw:
    """The floor: whatever waits is written by one statement, which is one transaction."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._waiting: list[tuple[tuple[object, ...], asyncio.Future[None]]] = []
        self._versions: dict[str, int] = {}
        self._writing: asyncio.Task[None] | None = None

    async def append(self, app: int, number: int, data: bytes) -> None:
        stream = sample.stream(app)
        version = self._versions[stream] = self._versions.get(stream, 0) + 1
        name = sample.ADMIN.name
        row = (stream, version, "app.defined", data, name, f"bench-{number}", DIGEST, OUTCOME)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            await self._connection.execute(
                _GROUP, *map(list, zip(*(row for row, _ in taken), strict=True))
            )
            for _, done in taken:
                done.set_result(None)
            await asyncio.sleep(0)


async def _durable(server: Cluster, directory: Path) -> Row:
    raw_url = server.create()
    connection = await asyncpg.connect(raw_url)
    await connection.execute(_TABLES)
    log = await PostgresLog.open(server.migrated(), directory, now=time.monotonic)
    service = sample.service(log)
    try:
        await sample.furnish(service)
        same = b"x" * len((await log.stream(sample.stream(0)))[-1].data)
        gc.freeze()
        floor, ours = await _rounds(service, Raw(connection), same)
    finally:
        gc.unfreeze()
        await log.close()
        await connection.close()
    least, speed = rate(INTENTS, floor), rate(INTENTS, ours)
    return DURABLE.kept(1 / ratio_of(ours, floor), ours=per_second(speed), floor=per_second(least))


async def _rounds(service: IntentService, raw: Raw, same: bytes) -> tuple[Times, Times]:
    numbers, others = count(), count()
    floor, ours = Times(), Times()
    for _ in range(ROUNDS):
        batch = iter([next(others) for _ in range(INTENTS)])
        with floor.taken():
            await asyncio.gather(*(_appending(raw, batch, same) for _ in range(CALLERS)))
        asked = iter([_asked(next(numbers)) for _ in range(INTENTS)])
        with ours.taken():
            await asyncio.gather(*(_submitting(service, asked) for _ in range(CALLERS)))
    return floor, ours


async def _appending(raw: Raw, numbers: Iterator[int], data: bytes) -> None:
    for number in numbers:
        await raw.append(number * 7919 % sample.APPS, number, data)


async def _submitting(service: IntentService, asked: Iterator[tuple[str, bytes]]) -> None:
    for key, data in asked:
        answer = await service.submit(
            manifests.read(data), actor=sample.ADMIN, key=key, digest=DIGEST
        )
        assert answer.changes[0].events == ("app.defined",)


def _asked(number: int) -> tuple[str, bytes]:
    return f"bench-{number}", sample.manifest(number * 7919 % sample.APPS, number)


def _tail(server: Cluster, directory: Path) -> Row:
    url = server.migrated()
    _lay(url, TAILED)
    floor, ours = Times(), Times()
    for _ in range(TAILS):
        for how, times in (("fetch", floor), ("tail", ours)):
            told = subprocess.run(
                _reader(how, url, directory, TAILED), capture_output=True, check=True
            )
            times.append(float(told.stdout))
    return TAIL.kept(
        1 / ratio_of(ours, floor),
        ours=per_second(rate(TAILED, ours)),
        floor=per_second(rate(TAILED, floor)),
    )


async def _write_beside(server: Cluster, directory: Path) -> Row:
    url = server.migrated()
    await asyncio.to_thread(_lay, url, LONG)
    (directory / "writer").mkdir()
    log = await PostgresLog.open(url, directory / "writer", now=time.monotonic)
    alone, beside, ratios = Times(), Times(), []
    try:
        await _written(log)  # connections are made, statements prepared
        for _ in range(PHASES):
            first = await _written(log)
            with _reading(url, directory):
                second = await _written(log)
            ratios.append(second.percentile(0.99) / first.percentile(0.99))
            alone += first
            beside += second
    finally:
        await log.close()
    return WRITE.kept(
        statistics.median(ratios),
        ours=millis(beside.percentile(0.99)),
        floor=millis(alone.percentile(0.99)),
    )


async def _written(log: PostgresLog) -> Times:
    times = Times()
    for number in range(WRITES):
        event = NewEvent(f"App/shop/w{number % 50}", "app.defined", b"x" * 400)
        with times.taken():
            await log.append([event], expect={})
        await asyncio.sleep(PAUSE)
    return times


@contextmanager
def _reading(url: str, directory: Path) -> Iterator[None]:
    """A process that reads all of it over and over."""
    words = _reader("follow", url, directory, LONG)
    with subprocess.Popen(words, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        try:
            yield
            assert reader.poll() is None, "the reader ended"
        finally:
            reader.kill()


def _reader(how: str, url: str, directory: Path, events: int) -> list[str]:
    module = "tests.benchmarks.postgres_tailing"
    with_head = directory / how
    with_head.mkdir(exist_ok=True)
    return [sys.executable, "-m", module, how, url, str(with_head), str(events)]


def _lay(url: str, events: int) -> None:
    async def lay() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(_LAY, events, timeout=300)
        await connection.execute("VACUUM ANALYZE stateward.stored_events", timeout=300)
        await connection.execute("CHECKPOINT", timeout=300)
        await connection.close()

    asyncio.run(lay())


def measure() -> Sequence[Row]:
    reason = absence_of("postgres")
    if reason:
        return [promise.unmeasured(reason) for promise in PROMISES]
    with TemporaryDirectory() as name, cluster({}, on=Path("/var/tmp")) as server:
        directory = Path(name)
        (directory / "service").mkdir()
        return [
            asyncio.run(_durable(server, directory / "service")),
            _tail(server, directory),
            asyncio.run(_write_beside(server, directory)),
        ]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
