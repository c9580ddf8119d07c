"""A WebSocket to a command that runs beside a replica's own: a conversation, on a terminal or not.

Text messages are JSON, binary ones what is typed and said. The first says what to run, as the body
of `exec` does; what is said begins with a byte, 1 for stdout and 2 for stderr. The last message is
`{"exitCode": …}`, or `{"problem": …}`; who leaves before ends the command where that is possible.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, Final, final

import msgspec
import structlog
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from bus.log import LogError
from domain.names import Ref
from domain.refusals import BadValue, NotPossible, Refusal
from gateway import problems, shapes
from gateway.asking import Freshness, actor_of, still_valid
from gateway.ports import Services
from gateway.problems import Trouble
from gateway.replicas import known, ready_one
from gateway.routes import ITEM_PATHS
from gateway.streams import HEARTBEAT_SECONDS
from reconcilers.conversing import Command, Ended, Said, Size, Typed, Written
from reconcilers.ports import EngineError, Replica, ReplicaIO, StartFailed

DONE: Final = 1000
POLICY: Final = 1008  # what RFC 6455 has for a message that is not as it should be
BROKEN: Final = 1011
LEAVING: Final = 1012  # the server stops; it may be asked again
FIRST_SECONDS: Final = 10.0  # in which the first message has to come
_STREAMS: Final = {"stdout": b"\x01", "stderr": b"\x02"}

log = structlog.get_logger("gateway")


class _Left(Exception):
    """Whoever asked has gone."""


class _Closing(Exception):
    """The server stops, or the token is not good any more."""


@final
class Conversations:
    def __init__(self, services: Services, fresh: Freshness) -> None:
        self._services, self._fresh = services, fresh
        self.router = APIRouter()
        self.router.add_api_websocket_route(f"{ITEM_PATHS['App']}/exec", self._met)

    async def _met(self, socket: WebSocket) -> None:
        try:
            ref = await known(self._services, self._fresh, socket, "exec")
        except (Refusal, LogError, Trouble) as error:
            await socket.send_denial_response(_told(error, socket))
            return
        await socket.accept()
        code = DONE
        try:
            await self._converse(socket, ref)
        except (_Left, WebSocketDisconnect):
            return
        except _Closing:
            code = LEAVING
        except (Refusal, Trouble, EngineError) as error:
            code = BROKEN if isinstance(error, EngineError) else POLICY
            problem = msgspec.json.decode(bytes(_told(error, socket).body))
            await _tell(socket, {"problem": problem})
        with suppress(RuntimeError, WebSocketDisconnect):  # it has gone meanwhile
            await socket.close(code)

    async def _converse(self, socket: WebSocket, ref: Ref) -> None:
        asked = await _first(socket)
        io, replicas = await self._services.io(ref.stream)
        one = ready_one(self._services, ref, replicas, asked.replica)
        name = one.shown(self._services.installation)
        log.info(
            "exec",
            actor=actor_of(socket).name,
            resource=ref.stream,
            replica=name,
            program=asked.argv[0],
            terminal=asked.terminal is not None,
        )
        await _tell(socket, {"replica": name})
        try:
            await self._held(socket, io, one, _command(asked))
        except StartFailed as error:
            raise NotPossible(str(error)) from error

    async def _held(
        self, socket: WebSocket, io: ReplicaIO, replica: Replica, command: Command
    ) -> None:
        typing = _Typing(socket)
        watch = asyncio.ensure_future(self._watch(socket))
        reading = asyncio.ensure_future(typing.read())
        saying = asyncio.ensure_future(_say(socket, io, replica, command, typing.typed()))
        tasks = (saying, reading, watch)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, socket: WebSocket) -> None:
        """Raises: `_Closing`, when this has to end."""
        valid = still_valid(socket)
        while valid():
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._services.closing.wait()
                    break
        raise _Closing


@final
class _Typing:
    """What comes on a socket, which is read no faster than the command does."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._queue: asyncio.Queue[Typed] = asyncio.Queue(1)

    async def read(self) -> None:
        """Raises: `_Left`; `BadValue`, when a message means nothing."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise _Left
            data: bytes | None = message.get("bytes")
            await self._queue.put(_size(message["text"]) if data is None else data)

    async def typed(self) -> AsyncIterator[Typed]:
        while True:
            yield await self._queue.get()


async def _say(
    socket: WebSocket,
    io: ReplicaIO,
    replica: Replica,
    command: Command,
    typed: AsyncIterator[Typed],
) -> None:
    async with aclosing(io.converse(replica, command, typed)) as said:
        async for piece in said:
            await _pass_on(socket, piece)


async def _pass_on(socket: WebSocket, piece: Said) -> None:
    match piece:
        case Written(stream, data):
            await socket.send_bytes(_STREAMS[stream] + data)
        case Ended(exit_code):
            await _tell(socket, {"exitCode": exit_code})


async def _first(socket: WebSocket) -> shapes.Conversation:
    """What to run. Raises: `BadValue`, `Trouble`."""
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            message = await socket.receive()
    except TimeoutError:
        detail = f"nothing came for {FIRST_SECONDS:.0f} s; the first message says what to run"
        raise Trouble(408, "TimedOut", detail) from None
    if message["type"] == "websocket.disconnect":
        raise _Left
    try:
        return shapes.Conversation.model_validate_json(message.get("text") or "")
    except ValidationError as error:
        raise _unreadable(error) from None


def _command(asked: shapes.Conversation) -> Command:
    shown = asked.terminal
    terminal = Size(shown.columns, shown.rows) if shown else None
    return Command(tuple(asked.argv), terminal, asked.input)


def _size(text: str) -> Size:
    try:
        size = shapes.TerminalSize.model_validate_json(text)
    except ValidationError as error:
        raise _unreadable(error) from None
    return Size(size.columns, size.rows)


def _unreadable(error: ValidationError) -> BadValue:
    fault = error.errors(include_url=False)[0]
    path = ".".join(("message", *map(str, fault["loc"])))
    return BadValue(path, fault.get("input"), fault["msg"])


def _told(error: Exception, socket: WebSocket) -> Response:
    """The same problem that a request would be answered by."""
    match error:
        case Trouble():
            return problems.of_trouble(error)
        case EngineError():
            return problems.of_engine(error)
        case Refusal() | LogError():
            resource = getattr(socket.state, "resource", None)
            return problems.of_error(error, resource=resource)
        case _:
            raise error


async def _tell(socket: WebSocket, message: dict[str, Any]) -> None:
    await socket.send_text(msgspec.json.encode(message).decode())
