"""The NATS intent service against echo services that append what they hear, in the same run.

The floors decode and decide nothing: they await one append of the same bytes to a log of the same
kind, and echo. One does so in its handler, which nats-py runs for one message at a time; the other
in a task for each message, as the intent service does.
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.sqlite.log import SqliteLog
from bus.log import NewEvent
from bus.nats.bus import NatsBus
from bus.nats.config import ServerFiles
from bus.nats.credentials import CONTROL_PLANE
from bus.nats.settings import NatsSettings
from tests.benchmarks import sample
from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Promise, Row, Times, per_second, rate, show

ROUNDS = 5
REQUESTS = 3_000  # per round
SERIAL = 500  # per round of the echo that has one append at a time
CALLERS = 64
ECHO = "bench.echo"
SIDE_BY_SIDE = "bench.side-by-side"
INTENT = "stateward.v1.intent.stateward"

OVER_NATS = Promise(
    f"the same through the NATS intent service, {CALLERS} callers",
    "a nats-py echo service whose handler awaits a raw append",
    0.5,
)
SIDE_BY_SIDE_ROW = Promise(
    "the NATS intent service again",
    "an echo with a task for each message, so that raw appends are committed in groups",
)
PROMISES = (OVER_NATS, SIDE_BY_SIDE_ROW)
HOW = (
    f"CloudEvents with manifests over {sample.APPS:,} apps, each a new revision, {ROUNDS} rounds of"
    f" {REQUESTS:,} by {CALLERS} callers in the same process, alternating with the echoes."
)


def measure() -> Sequence[Row]:
    with on_disk() as directory:
        return asyncio.run(_measure(directory))


async def _measure(directory: Path) -> list[Row]:
    for name in ("log", "raw"):
        (directory / name).mkdir()
    log = await SqliteLog.open(directory / "log", now=time.monotonic)
    raw = await SqliteLog.open(directory / "raw", now=time.monotonic)
    service = sample.service(log)
    await sample.furnish(service)
    bus = NatsBus(
        NatsSettings(directory=directory / "nats"),
        service,
        actor_of=lambda _name: sample.ADMIN,
        hinted=lambda _head, _keys: None,
        installation="bench",
        now=lambda: datetime.now(UTC),
        random=Random(1),
    )
    await bus.start()
    try:
        async with asyncio.timeout(20):
            await bus.ready()
        gc.freeze()  # what is loaded stays; looking through it again and again costs both sides
        return await _rounds(directory / "nats", bus.status().url, raw)
    finally:
        gc.unfreeze()
        await bus.stop()
        await log.close()
        await raw.close()


async def _rounds(directory: Path, url: str, raw: SqliteLog) -> list[Row]:
    password = ServerFiles(directory, lambda: "").credentials().control_plane
    callers, echo = Client(), Client()
    for client in (callers, echo):
        await client.connect(url, user=CONTROL_PLANE, password=password)
    await _serve_echo(echo, raw)
    serial, side_by_side, intents = Times(), Times(), Times()
    numbers = count()
    try:
        for _ in range(ROUNDS):
            await _round(callers, numbers, SERIAL, serial, ECHO)
            await _round(callers, numbers, REQUESTS, side_by_side, SIDE_BY_SIDE)
            await _round(callers, numbers, REQUESTS, intents)
    finally:
        await callers.close()
        await echo.close()
    speed = rate(REQUESTS, intents)
    floors = (rate(SERIAL, serial), rate(REQUESTS, side_by_side))
    return [
        promise.kept(speed / floor, ours=per_second(speed), floor=per_second(floor))
        for promise, floor in zip(PROMISES, floors, strict=True)
    ]


async def _serve_echo(client: Client, raw: SqliteLog) -> None:
    streams = count()
    running: set[asyncio.Task[None]] = set()

    async def append(message: Msg) -> None:
        stream = f"App/shop/e{next(streams)}"
        await raw.append([NewEvent(stream, "app.defined", message.data)], expect={stream: 0})
        await client.publish(message.reply, message.data)

    async def side_by_side(message: Msg) -> None:
        task = asyncio.create_task(append(message))
        running.add(task)
        task.add_done_callback(running.discard)

    await client.subscribe(ECHO, queue="echo", cb=append)
    await client.subscribe(SIDE_BY_SIDE, queue="echo", cb=side_by_side)
    await client.flush()
    await client.flush()


async def _round(
    client: Client, numbers: Iterator[int], requests: int, times: Times, subject: str = ""
) -> None:
    """Have `CALLERS` callers each wait for their answers; without a subject, of the service."""
    messages = iter([_message(next(numbers)) for _ in range(requests)])

    async def caller() -> None:
        for resource, message in messages:
            to = subject or f"{INTENT}.{resource}"
            answer = await client.request(to, message, timeout=30)
            if answer.headers is not None:
                raise AssertionError(answer.data)

    with times.taken():
        await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _message(number: int) -> tuple[str, bytes]:
    """An intent on the next of the apps, and the tokens of its resource."""
    app = number * 7919 % sample.APPS
    envelope = {
        "specversion": "1.0",
        "type": "stateward.app.apply.v1",
        "id": f"bench-{number}",
        "source": "/bench",
        "subject": sample.stream(app),
        "data": sample.app(app, number),
    }
    return f"p{app % sample.PROJECTS}.App.a{app}", msgspec.json.encode(envelope)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
