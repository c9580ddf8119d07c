"""A conversation with a command in a container, over the connection that the daemon hands over.

The daemon says what the command writes on the answer to its start, and takes what is typed on the
same connection, whose sending side is shut down at the end of input.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Final, final

import requests
from docker.errors import APIError

from adapters.docker.connection import ANSWER_TIMEOUT, Connection, check, url
from adapters.docker.feed import Feed, Frame, Frames, Wire
from reconcilers.alongside import alongside
from reconcilers.conversing import (
    END_OF_INPUT,
    END_TYPED,
    Command,
    Said,
    Size,
    Typed,
    Written,
)

_PIECE: Final = 65536  # bytes read at once
_KEPT: Final = 4096  # bytes of what was written first, to tell a refusal of the daemon's by
_DETACH: Final = "ctrl-@,ctrl-_,ctrl-@,ctrl-^,ctrl-@"
"""What nobody types: by default the daemon takes two keys for a wish to leave."""
_RESIZES: Final = 20  # tries to tell the size, and between two of them
_RESIZE_SECONDS: Final = 0.02  # a command that was started takes a moment to have a terminal


@final
class _Pieces(Wire):
    """The bytes of an answer, as a terminal shows them."""

    def __init__(self, answer: requests.Response) -> None:
        super().__init__(answer)
        self._raw = answer.raw

    def __iter__(self) -> Iterator[Frame]:
        while data := self._raw.read1(_PIECE):
            yield Frame("stdout", data)


@final
class _Line:
    """Both directions of a connection. Read in a thread; `shut` and `send` block, too."""

    def __init__(self, connection: Connection, answer: requests.Response, *, raw: bool) -> None:
        check(answer)
        pieces: Frames | _Pieces = _Pieces(answer) if raw else Frames(answer)
        self._docker, self._pieces = connection, pieces
        self.cancel, self.close = pieces.cancel, pieces.close
        self._socket: socket.socket = _socket_below(answer)
        self._socket.settimeout(None)

    def __iter__(self) -> Iterator[Frame]:
        with self._docker.connected():
            yield from self._pieces

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def shut(self) -> None:
        # of the plain socket, also below TLS: Python would forget how to read what still comes
        socket.socket.shutdown(self._socket, socket.SHUT_WR)


def _socket_below(answer: requests.Response) -> socket.socket:
    """The socket that an answer, which goes on, is read from."""
    raw: Any = answer.raw
    reading = raw._fp.fp.raw  # noqa: SLF001 -- as the SDK finds it
    found: socket.socket = getattr(reading, "_sock", reading)
    return found


@final
class Conversation:
    """One command. `first` is the beginning of what it wrote, `goes_on` whether it was left."""

    def __init__(self, connection: Connection, container: str, command: Command) -> None:
        self._docker, self._container, self._command = connection, container, command
        self._line: _Line | None = None
        self._begun = asyncio.Event()
        self.id, self.first, self.goes_on = "", b"", False

    async def held(self, typed: AsyncIterator[Typed]) -> AsyncGenerator[Said]:
        """What is said, until the command has ended."""
        self.id = await self._docker.call(self._made)
        loop = asyncio.get_running_loop()
        feed = Feed(lambda: self._start(loop))
        self.goes_on = True
        said = alongside(self._heard(feed), self._type(typed))
        try:
            async for piece in said:
                yield piece
            self.goes_on = False
        except APIError:
            self.goes_on = False
            raise
        finally:
            feed.close()
            await said.aclose()

    async def _heard(self, feed: Feed[Frame]) -> AsyncGenerator[Said]:
        async for frame in feed:
            if len(self.first) < _KEPT:
                self.first += frame.data[:_KEPT]
            yield Written(frame.stream, frame.data)

    def _made(self, client: Any) -> str:
        where = url(client, f"/containers/{self._container}/exec")
        asked = {
            "Cmd": list(self._command.argv),
            "AttachStdin": self._command.has_input,
            "AttachStdout": True,
            "AttachStderr": True,
            **({"DetachKeys": _DETACH} if self._command.terminal else {}),
            **self._terminal(),
        }
        answer = client.post(where, json=asked, timeout=ANSWER_TIMEOUT)
        check(answer)
        return str(answer.json()["Id"])

    def _start(self, loop: asyncio.AbstractEventLoop) -> _Line:
        with self._docker.connected() as client:
            where = url(client, f"/exec/{self.id}/start")
            how = {"Detach": False, **self._terminal()}
            answer = client.post(where, json=how, stream=True, timeout=(ANSWER_TIMEOUT, None))
            line = _Line(self._docker, answer, raw=self._command.terminal is not None)
            self._line = line
            loop.call_soon_threadsafe(self._begun.set)
            return line

    def _terminal(self) -> dict[str, object]:
        """What older daemons do not know they pass over; they are told the size once it runs."""
        if (size := self._command.terminal) is None:
            return {"Tty": False}
        return {"Tty": True, "ConsoleSize": [size.rows, size.columns]}

    # -- typing -------------------------------------------------------------------------------

    async def _type(self, typed: AsyncIterator[Typed]) -> None:
        if self._command.terminal is not None:
            await self._resize(self._command.terminal)
        async for one in typed:
            if isinstance(one, Size):
                await self._resize(one)
            elif self._command.has_input:
                await self._send(one)

    async def _send(self, data: bytes) -> None:
        line = await self._open_line()
        with suppress(OSError):  # it has ended, as is about to be heard
            if data == END_OF_INPUT and self._command.terminal is None:
                await asyncio.to_thread(line.shut)
            else:
                await asyncio.to_thread(line.send, data or END_TYPED)

    async def _open_line(self) -> _Line:
        await self._begun.wait()
        assert self._line is not None, "it is there once it has begun"
        return self._line

    async def _resize(self, size: Size) -> None:
        """Tell the daemon, which refuses it while the command only begins, or has ended."""
        await self._begun.wait()
        for _ in range(_RESIZES):
            try:
                await self._docker.call(
                    lambda client: client.exec_resize(self.id, size.rows, size.columns)
                )
            except APIError:
                await asyncio.sleep(_RESIZE_SECONDS)
            else:
                return
