"""Small real HTTP servers: what a router leads to in tests, and who it asks about users.

They say who they are and what arrived, keep connections open, upgrade to a WebSocket that answers
with its name to each frame, and stream. `H2cBackend` speaks HTTP/2 without TLS.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, final, override

import h2.config
import h2.connection
import h2.events

from projections.route_table import Endpoint


class Asked(NamedTuple):
    """A request as it arrived; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Said(NamedTuple):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


_WEBSOCKET: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

type Answer = Callable[[Asked], Said]


class Backend:
    """A server of this process under a name.

    A request for `/held` is answered only after `release`, `/stream` goes on only after
    `answer_streams`, and `/broken` is answered with the end of the connection.

    Attributes:
        asked: all requests that arrived, in order.
    """

    def __init__(self, name: str, answer: Answer | None = None) -> None:
        self.name = name
        self.asked: list[Asked] = []
        self._answer = answer or self._mirror
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._busy: set[asyncio.Task[None]] = set()
        self._is_ending = False
        self._news = asyncio.Event()
        self._released = asyncio.Event()
        self._goes_on = asyncio.Event()

    @property
    def port(self) -> int:
        assert self._server is not None
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    def endpoint(self, weight: int = 1) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, weight)

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)

    async def until_asked(self, target: str) -> None:
        while not any(asked.target == target for asked in self.asked):
            self._news.clear()
            await self._news.wait()

    def release(self) -> None:
        self._released.set()

    def answer_streams(self) -> None:
        self._goes_on.set()

    async def drain(self) -> None:
        """As a program that is told to end: what is under way is answered, then all is closed."""
        assert self._server is not None
        self._server.close()
        self._is_ending = True
        for task, writer in tuple(self._open.items()):
            if task not in self._busy:
                writer.close()
        if self._open:
            await asyncio.wait(self._open)

    async def stop(self) -> None:
        """As a program that ends: connections break."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._open.values()):
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open)

    def _mirror(self, asked: Asked) -> Said:
        told = {
            "name": self.name,
            "method": asked.method,
            "target": asked.target,
            "headers": dict(asked.headers),
            "body": len(asked.body),
        }
        return Said(200, {"content-type": "application/json"}, json.dumps(told).encode())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            await self._speak(reader, writer, task)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._open[task]
            self._busy.discard(task)

    async def _speak(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        while not self._is_ending:
            asked = await _read(reader)
            self._busy.add(task)
            self.asked.append(asked)
            self._news.set()
            if asked.target == "/broken":
                return
            if asked.headers.get("upgrade", "").lower() == "websocket":
                await self._upgrade(asked, reader, writer)
                return
            if asked.target == "/stream":
                await self._stream(writer)
                continue
            if asked.target == "/held":
                await self._released.wait()
            writer.write(_written(self._answer(asked)))
            await writer.drain()
            self._busy.discard(task)

    async def _upgrade(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Each line is answered with the name of this backend; frames mean nothing to a router."""
        key = asked.headers["sec-websocket-key"] + _WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        while await reader.readline():
            writer.write(f"{self.name}\n".encode())
            await writer.drain()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        writer.write(head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(b"data: one\n\n"))
        await writer.drain()
        await self._goes_on.wait()
        writer.write(_chunk(b"data: two\n\n") + _chunk(b""))
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        known = headers.get(name.lower())
        headers[name.lower()] = f"{known}, {value.strip()}" if known else value.strip()
    if headers.get("transfer-encoding", "") == "chunked":
        body = b"".join([chunk async for chunk in _chunks(reader)])
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _written(said: Said) -> bytes:
    headers = {**said.headers, "content-length": str(len(said.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {said.status} Said\r\n{lines}\r\n".encode() + said.body


@final
class H2cBackend(Backend):
    """Speaks nothing but HTTP/2 without TLS."""

    @override
    async def _speak(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        session = h2.connection.H2Connection(config)
        session.initiate_connection()
        writer.write(session.data_to_send())
        while data := await reader.read(65536):
            for event in session.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self._say(session, event)
            writer.write(session.data_to_send())

    def _say(self, session: Any, event: h2.events.RequestReceived) -> None:
        headers = {str(name): str(value) for name, value in event.headers}
        self.asked.append(Asked(headers[":method"], headers[":path"], headers, b""))
        body = json.dumps({"name": self.name, "headers": headers}).encode()
        session.send_headers(event.stream_id, [(":status", "200")])
        session.send_data(event.stream_id, body, end_stream=True)


@asynccontextmanager
async def backends(*names: str) -> AsyncIterator[list[Backend]]:
    """Servers under these names, while the context lasts."""
    made = [Backend(name) for name in names]
    try:
        for one in made:
            await one.start()
        yield made
    finally:
        for one in made:
            await one.stop()
