"""Durable intents a second through the application service, against appends of the same bytes.

Ours reads each manifest, validates it, decides it on the state of its app, project and target,
and appends the event under an idempotency key. The floor appends, in a group commit as well, what
comes out of that: as large an event to as many streams, with as large a key and outcome.
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from adapters.sqlite.log import SqliteLog
from bus import manifests
from bus.intents import IntentService
from bus.log import IdempotencyKey, NewEvent
from tests.benchmarks import sample
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, per_second, rate, show

ROUNDS = 9
INTENTS = 3_000  # per round
CALLERS = 64
DIGEST = b"d" * 32
OUTCOME = (
    b'{"changes":[{"resource":"App/p19/a7919","result":"configured","generation":-1,'
    b'"events":["app.defined"]}]}'
)

DURABLE = Promise(
    f"durable intents through the service, {CALLERS} callers",
    "group-committed appends of the same bytes",
    0.5,
)
PROMISES = (DURABLE,)
HOW = (
    f"Manifests of about 400 bytes over {sample.APPS:,} apps, each a new revision: read, validated,"
    f" decided, appended (`FULL`). {ROUNDS} alternating rounds of {INTENTS:,} by {CALLERS} tasks."
    " The floor appends events, keys and outcomes of the same sizes, and decides nothing."
)


class _Raw:
    """Appends to streams of its own what the service would append to its streams."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._versions: dict[str, int] = {}

    async def append(self, app: int, number: int, data: bytes) -> None:
        stream = sample.stream(app)
        version = self._versions.get(stream, 0)
        self._versions[stream] = version + 1
        key = IdempotencyKey(sample.ADMIN.name, f"bench-{number}", DIGEST)
        event = NewEvent(stream, "app.defined", data)
        await self._log.append([event], expect={stream: version}, key=key, outcome=OUTCOME)


async def _measure(directory: Path) -> Row:
    for name in ("log", "raw"):
        (directory / name).mkdir()
    log = await SqliteLog.open(directory / "log", now=time.monotonic)
    raw = await SqliteLog.open(directory / "raw", now=time.monotonic)
    service = sample.service(log)
    try:
        await sample.furnish(service)
        gc.freeze()  # what is loaded stays; looking through it again and again costs both sides
        return await _rounds(service, log, _Raw(raw))
    finally:
        gc.unfreeze()
        await log.close()
        await raw.close()


async def _rounds(service: IntentService, log: SqliteLog, raw: _Raw) -> Row:
    numbers, others = count(), count()
    floor, ours = Times(), Times()
    same = b"x" * len((await log.stream(sample.stream(0)))[-1].data)
    for _ in range(ROUNDS):
        batch = iter([next(others) for _ in range(INTENTS)])
        with floor.taken():
            await asyncio.gather(*(_appending(raw, batch, same) for _ in range(CALLERS)))
        asked = iter([_asked(next(numbers)) for _ in range(INTENTS)])
        with ours.taken():
            await asyncio.gather(*(_submitting(service, asked) for _ in range(CALLERS)))
    least, speed = rate(INTENTS, floor), rate(INTENTS, ours)
    return DURABLE.kept(speed / least, ours=per_second(speed), floor=per_second(least))


async def _appending(raw: _Raw, numbers: Iterator[int], data: bytes) -> None:
    for number in numbers:
        await raw.append(number * 7919 % sample.APPS, number, data)


async def _submitting(service: IntentService, asked: Iterator[tuple[str, bytes]]) -> None:
    for key, data in asked:
        intent = manifests.read(data)
        answer = await service.submit(intent, actor=sample.ADMIN, key=key, digest=DIGEST)
        assert answer.changes[0].events == ("app.defined",)


def _asked(number: int) -> tuple[str, bytes]:
    return f"bench-{number}", sample.manifest(number * 7919 % sample.APPS, number)


def measure() -> Sequence[Row]:
    with on_disk() as directory:
        return [asyncio.run(_measure(directory))]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
