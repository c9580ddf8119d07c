"""The NATS intent service against echo services that append what they hear, in the same run.

The floors decode and decide nothing: they await one append of the same bytes to a log of the same
kind, and echo. One does so in its handler, which nats-py runs for one message at a time; the other
in a task for each message, as the intent service does. Rounds alternate; medians count.
"""

import asyncio
import gc
import json
import statistics
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random

from nats.aio.client import Client
from nats.aio.msg import Msg

from adapters.sqlite.log import SqliteLog
from bus import manifests
from bus.intents import IntentService
from bus.log import NewEvent
from bus.nats.bus import NatsBus
from bus.nats.config import ServerFiles
from bus.nats.credentials import CONTROL_PLANE
from bus.nats.settings import NatsSettings
from domain.access import Actor
from simulation.secrets import SimulatedSecrets
from tests.benchmarks.log import Ratio, show

ROUNDS = 5
REQUESTS = 3_000  # per round
SERIAL = 500  # per round of the echo that has one append at a time
CALLERS = 64
APPS = 10_000
PROJECTS = 100
PAGE = 10  # apps made by one submission
ADMIN = Actor(name="program:stateward", role="admin")
ECHO = "bench.echo"
SIDE_BY_SIDE = "bench.side-by-side"
INTENT = "stateward.v1.intent.stateward"


def measure() -> list[Ratio]:
    """Measure on the disk of the working tree."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as directory:
        return asyncio.run(_measure(Path(directory)))


async def _measure(directory: Path) -> list[Ratio]:
    for name in ("log", "raw"):
        (directory / name).mkdir()
    log = await SqliteLog.open(directory / "log", now=time.monotonic)
    raw = await SqliteLog.open(directory / "raw", now=time.monotonic)
    service = IntentService(log, SimulatedSecrets(), now=_now)
    await _furnish(service)
    bus = NatsBus(
        NatsSettings(directory=directory / "nats"),
        service,
        actor_of=lambda _name: ADMIN,
        hinted=lambda _head, _keys: None,
        installation="bench",
        now=_now,
        random=Random(1),
    )
    await bus.start()
    try:
        async with asyncio.timeout(20):
            await bus.ready()
        gc.freeze()  # what is loaded stays; looking through it again and again costs both sides
        return await _rounds(directory / "nats", bus.status().url, raw)
    finally:
        await bus.stop()
        await log.close()
        await raw.close()


async def _rounds(directory: Path, url: str, raw: SqliteLog) -> list[Ratio]:
    password = ServerFiles(directory, lambda: "").credentials().control_plane
    callers, echo = Client(), Client()
    for client in (callers, echo):
        await client.connect(url, user=CONTROL_PLANE, password=password)
    await _serve_echo(echo, raw)
    speeds: dict[str, list[float]] = {"echo": [], "side by side": [], "intents": []}
    numbers = count()
    try:
        for _ in range(ROUNDS):
            speeds["echo"].append(await _round(callers, numbers, SERIAL, ECHO))
            speeds["side by side"].append(await _round(callers, numbers, REQUESTS, SIDE_BY_SIDE))
            speeds["intents"].append(await _round(callers, numbers, REQUESTS))
    finally:
        await callers.close()
        await echo.close()
    echoed, side_by_side, intents = (statistics.median(found) for found in speeds.values())
    return [
        Ratio(
            f"NATS intent service, {CALLERS} callers",
            intents / echoed,
            0.5,
            f"{intents:,.0f}/s against {echoed:,.0f}/s of an echo that awaits a raw append",
        ),
        Ratio(
            "the same, against an echo with a task for each message",
            intents / side_by_side,
            0.2,
            f"{intents:,.0f}/s against {side_by_side:,.0f}/s",
        ),
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


async def _round(client: Client, numbers: "count[int]", requests: int, subject: str = "") -> float:
    """Requests per second of `CALLERS` callers who each wait for their answers.

    Without a subject they ask the intent service.
    """
    messages = iter([_message(next(numbers)) for _ in range(requests)])

    async def caller() -> None:
        for resource, message in messages:
            to = subject or f"{INTENT}.{resource}"
            answer = await client.request(to, message, timeout=30)
            if answer.headers is not None:
                raise AssertionError(answer.data)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return requests / (time.perf_counter() - started)


def _message(number: int) -> tuple[str, bytes]:
    """An intent of about 400 bytes, on the next of the apps."""
    app = number * 7919 % APPS
    envelope = {
        "specversion": "1.0",
        "type": "stateward.app.apply.v1",
        "id": f"bench-{number}",
        "source": "/bench",
        "subject": f"App/p{app % PROJECTS}/a{app}",
        "data": _manifest(app, number),
    }
    return f"p{app % PROJECTS}.App.a{app}", json.dumps(envelope, separators=(",", ":")).encode()


def _manifest(app: int, number: int) -> dict[str, object]:
    return {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": {"name": f"a{app}", "project": f"p{app % PROJECTS}"},
        "spec": {
            "image": "registry.example/shop/web:1.27.4",
            "env": {"RELEASE": f"r{number}", "LOG": "info"},
            "ports": [{"name": "http", "port": 8080}],
            "replicas": 2,
        },
    }


async def _furnish(service: IntentService) -> None:
    await _apply(service, [_outer("Target", "local", {"engine": "simulated"})], "target")
    for number in range(PROJECTS):
        await _apply(service, [_outer("Project", f"p{number}", {})], f"project-{number}")
    for start in range(0, APPS, PAGE):
        page = [_manifest(n, -1) for n in range(start, start + PAGE)]
        await _apply(service, page, f"apps-{start}")


def _outer(kind: str, name: str, spec: dict[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "stateward/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


async def _apply(service: IntentService, items: list[dict[str, object]], key: str) -> None:
    asked = [manifests.read(json.dumps(item).encode()) for item in items]
    await service.submit(asked, actor=ADMIN, key=key)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
