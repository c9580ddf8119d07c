"""A HAProxy of a test: its router, small real servers behind it, and requests to it."""

import asyncio
import contextlib
import datetime
import json
import os
import random
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, final, override

from adapters.haproxy.authority import ROOT
from adapters.haproxy.certificates import Certificate, Secrets, no_secrets
from adapters.haproxy.router import HAProxyRouter
from adapters.haproxy.settings import HAProxySettings, Verify
from projections.route_table import Endpoint, RouteTable
from reconcilers.router_ports import Router
from tests.contracts.router_world import Pem, RouterWorld, row, table, who_is_it
from tests.support.backends import Backend

SECONDS: Final = 60.0
TARGET: Final = "local"


def utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def quiet_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that no client is given while a test goes on."""
    found: list[int] = []
    while len(found) < count:
        number = random.randrange(12_000, 30_000)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", number))
            found.append(number)
    return found


class House:
    """Where one HAProxy has its files and ports; its routers come and go."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directory = root / TARGET / "files"
        self.http, self.https, self.verify = quiet_ports(3)
        self.settings = HAProxySettings(
            http=(f"127.0.0.1:{self.http}",),
            https=(f"127.0.0.1:{self.https}",),
            verify=Verify(f"127.0.0.1:{self.verify}"),
        )
        self.secrets: Secrets = no_secrets

    def router(self, settings: HAProxySettings | None = None) -> HAProxyRouter:
        return HAProxyRouter(self.root, TARGET, settings or self.settings, self.secrets, now=utc)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[HAProxyRouter]:
        """A router that ends with its HAProxy."""
        router = self.router()
        try:
            yield router
        finally:
            await router.stop()

    @contextlib.asynccontextmanager
    async def opened(self) -> "AsyncIterator[HAProxyWorld]":
        """A world of the contract, for one test; its HAProxy goes on."""
        verify = Backend("verify", who_is_it)
        await verify.start(self.verify)
        certificates: dict[str, Pem] = {}
        self.secrets = _source(certificates)
        world = HAProxyWorld(
            house=self,
            router=self.router(),
            http=self.settings.http[0],
            https=self.settings.https[0],
            verify=verify,
            certificates=certificates,
        )
        try:
            yield world
        finally:
            for router in world.routers:
                await router.close()
            await verify.stop()

    async def get(self, url: str, **headers: str) -> "Answer":
        """Ask for `host/path` on a connection of its own."""
        async with self.connection() as connection:
            return await connection.get(url, **headers)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Connection"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.http)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()


@final
@dataclass(kw_only=True)
class HAProxyWorld(RouterWorld):
    house: House

    def __post_init__(self) -> None:
        assert isinstance(self.router, HAProxyRouter)
        self.haproxy = self.router
        self.routers = [self.router]

    @override
    async def reopened(self) -> Router:
        await self.haproxy.close()
        return self._another(self.house.settings)

    @override
    async def kill(self) -> None:
        pid = self.haproxy.running.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    @override
    async def tamper(self) -> str:
        await self.haproxy.runtime.replace_map({"http%3A%2F%2Ff.test%2F": "1:b1:0:-:foreign"})
        return "http%3A%2F%2Fa.test%2F"

    @override
    async def unacceptable(self) -> tuple[Router, RouteTable]:
        settings = self.house.settings
        listening = replace(settings, http=(*settings.http, "nowhere.invalid:1"))
        return self._another(listening), table(row("b.test"))

    @override
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.house.directory / ROOT)

    def _another(self, settings: HAProxySettings) -> HAProxyRouter:
        self.routers.append(self.house.router(settings))
        return self.routers[-1]


def _source(certificates: dict[str, Pem]) -> Secrets:
    async def find(secret: str) -> Certificate | None:
        return certificates.get(secret)

    return find


class Answer:
    """What a router answered."""

    def __init__(self, head: str, body: str) -> None:
        first, *lines = head.strip().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)
        self.body = body

    @property
    def server(self) -> str:
        """The backend that answered."""
        return json.loads(self.body)["name"] if self.status == 200 else f"none ({self.status})"


class Connection:
    """A client's connection that is used again, without retries."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def get(self, url: str, **headers: str) -> Answer:
        host, _, path = url.partition("/")
        lines = [f"GET /{path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self._writer.write("\r\n".join((*lines, "", "")).encode())
        async with asyncio.timeout(SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            answer = Answer(head, "")
            length = int(answer.headers.get("content-length", "0"))
            return Answer(head, (await self._reader.readexactly(length)).decode())


@contextlib.asynccontextmanager
async def web_server(name: str) -> AsyncIterator[Endpoint]:
    """Where a server says its name."""
    server = Backend(name)
    await server.start()
    try:
        yield server.endpoint()
    finally:
        await server.stop()
