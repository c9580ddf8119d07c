"""A HAProxy of a test: its router, small real servers behind it, and requests to it."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from adapters.haproxy.certificates import Certificates, Secrets, no_secrets
from adapters.haproxy.router import HAProxyRouter
from adapters.haproxy.settings import HAProxySettings
from projections.route_table import Endpoint
from tests.support.nats_cluster import free_ports
from tests.support.requirements import find_program, require

SECONDS: Final = 20.0


def utc() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class House:
    """One directory of HAProxy, with free ports; its routers come and go."""

    def __init__(self, directory: Path) -> None:
        require("haproxy")
        program = find_program("haproxy")
        assert program is not None
        self.http, self.https = free_ports(2)
        self.settings = HAProxySettings(
            directory=directory,
            program=program,
            http=(f"127.0.0.1:{self.http}",),
            https=(f"127.0.0.1:{self.https}",),
            https_port=self.https,
        )
        self.secrets: Secrets = no_secrets
        self.now = utc

    def router(self) -> HAProxyRouter:
        certificates = Certificates(self.settings.directory, self.secrets, self.now)
        return HAProxyRouter(self.settings, certificates)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[HAProxyRouter]:
        """A router that is open, and ends with its HAProxy."""
        router = self.router()
        await router.open()
        try:
            yield router
        finally:
            await router.stop()

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
        return self.headers.get("x-server", f"none ({self.status})")


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
    """A server that says its name, and as its body the head of the request."""
    writers = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                body = await reader.readuntil(b"\r\n\r\n")
                head = f"HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writers.discard(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            writer.close()
