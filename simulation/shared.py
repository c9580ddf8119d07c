"""A simulated engine that several processes share: a machine behind a unix socket, and the way in.

One connection carries calls by number, in any order; what goes on, as events and logs do, has a
connection of its own. Whoever loses the connection knows nothing of what it had asked.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from itertools import count
from typing import Any, Final, NamedTuple, final, override

import msgspec
import structlog

from domain.secret import SecretText
from reconcilers import ports
from reconcilers.conversing import Command, Said, Typed
from reconcilers.ports import (
    Engine,
    EngineError,
    EngineEvent,
    EngineEvents,
    EngineUnavailable,
    ExecResult,
    Foreign,
    ForeignReplica,
    Grounds,
    Images,
    LogLine,
    Replica,
    ReplicaIO,
    Replicas,
    StartReplica,
)
from reconcilers.relaying import Relay, led
from simulation.engine import simulated_engine
from simulation.machine import Machine

HEAD: Final = 4  # bytes of a frame's length
type AppKey = tuple[str, str]


class Order(StartReplica, frozen=True, kw_only=True):
    """An order as it is sent: secrets are text, on a socket that only its owner may open."""

    env: Mapping[str, str]


class Method(NamedTuple):
    """A call: what it is given, what it gives, and how an engine does it."""

    given: Any
    gives: Any
    do: Callable[..., Awaitable[Any]]


def _methods(engine: Engine, relay: Relay) -> Mapping[str, Method]:
    r, g, f = engine.replicas, engine.grounds, engine.foreign
    return {
        "list": Method(tuple[AppKey | None], list[Replica], r.list),
        "start": Method(tuple[Order], None, r.start),
        "stop": Method(
            tuple[Replica, float, bool],
            None,
            lambda one, seconds, keep: r.stop(one, grace=seconds, keep=keep),
        ),
        "remove": Method(tuple[Replica], None, r.remove),
        "resolve": Method(
            tuple[str, str],
            str,
            lambda image, policy: engine.images.resolve(image, policy=policy, credentials=None),
        ),
        "prepare": Method(tuple[str], None, g.prepare),
        "clear": Method(tuple[str], None, g.clear),
        "projects": Method(tuple[()], list[str], g.projects),
        "remove_volumes": Method(tuple[str, str], None, g.remove_volumes),
        "list_foreign": Method(tuple[AppKey | None], list[ForeignReplica], f.list),
        "end": Method(tuple[ForeignReplica, float], None, lambda one, s: f.end(one, grace=s)),
        "clear_foreign": Method(tuple[str, str], None, f.clear),
        "run": Method(
            tuple[Replica, tuple[str, ...], float],
            ExecResult,
            lambda one, argv, s: engine.io.run(one, argv, timeout_seconds=s),
        ),
        "type": Method(tuple[str, Typed], None, relay.type),
    }


def _streams(
    engine: Engine, relay: Relay
) -> Mapping[str, tuple[Any, Callable[..., AsyncIterator[Any]]]]:
    def logs(
        replica: Replica,
        tail: int | None,
        since: float | None,
        follow: bool,  # noqa: FBT001 -- by place
    ) -> AsyncIterator[LogLine]:
        return engine.io.logs(replica, tail=tail, since=since, follow=follow)

    async def converse(of: str, replica: Replica, command: Command) -> AsyncIterator[Said | None]:
        with relay.opened(of) as typed:
            yield None  # it may be typed now
            async with aclosing(engine.io.converse(replica, command, typed)) as said:
                async for piece in said:
                    yield piece

    given = tuple[Replica, int | None, float | None, bool]
    return {
        "watch": (tuple[()], engine.events.watch),
        "logs": (given, logs),
        "converse": (tuple[str, Replica, Command], converse),
    }


class Asked(msgspec.Struct, array_like=True):
    number: int
    installation: str
    method: str
    given: msgspec.Raw


class Told(msgspec.Struct, array_like=True):
    """The answer to a number, or the error's class and message instead."""

    number: int
    gives: msgspec.Raw
    error: tuple[str, str] | None = None


_log = structlog.get_logger("shared engine")
_asked = msgspec.msgpack.Decoder(Asked)
_told = msgspec.msgpack.Decoder(Told)
_encode = msgspec.msgpack.encode
_NOTHING: Final = msgspec.Raw(_encode(None))


async def serve(machine: Machine, path: str) -> asyncio.Server:
    """Let others in at a socket; the caller closes the server."""
    machine.is_believed = False  # several who ask know less than one
    relay = Relay()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                asked = _asked.decode(await _frame(reader))
                task = asyncio.create_task(_answer(machine, relay, asked, writer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            for task in list(tasks):  # a call that was begun goes on; a stream has nobody any more
                if task.get_name() == "stream":
                    task.cancel()
        finally:
            writer.close()

    return await asyncio.start_unix_server(met, path)


async def _answer(
    machine: Machine, relay: Relay, asked: Asked, writer: asyncio.StreamWriter
) -> None:
    engine = simulated_engine(machine, asked.installation)
    try:
        if (stream := _streams(engine, relay).get(asked.method)) is not None:
            task = asyncio.current_task()
            assert task is not None
            task.set_name("stream")
            given = msgspec.msgpack.decode(asked.given, type=stream[0])
            async for part in stream[1](*given):
                await _send(writer, Told(asked.number, msgspec.Raw(_encode(part))))
            writer.close()
            return
        method = _methods(engine, relay)[asked.method]
        found = await method.do(*msgspec.msgpack.decode(asked.given, type=method.given))
        told = Told(asked.number, msgspec.Raw(_encode(found)))
    except (EngineError, TimeoutError) as error:
        told = Told(asked.number, _NOTHING, (type(error).__name__, str(error)))
    except Exception as error:
        _log.exception("a call to the simulated engine broke", method=asked.method)
        told = Told(asked.number, _NOTHING, ("EngineError", repr(error)))
    await _send(writer, told)


async def _send(writer: asyncio.StreamWriter, message: Asked | Told) -> None:
    data = _encode(message)
    try:
        writer.write(len(data).to_bytes(HEAD, "big") + data)
        await writer.drain()
    except (ConnectionError, RuntimeError):
        return  # nobody hears it


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = int.from_bytes(await reader.readexactly(HEAD), "big")
    return await reader.readexactly(size)


@final
class Way:
    """A connection to a shared machine, opened when it is needed."""

    def __init__(self, path: str, installation: str) -> None:
        self._path, self._installation = path, installation
        self._numbers = count(1)
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[Told]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    def new_id(self) -> str:
        """Of a conversation; no other way to the machine has the same."""
        return f"{os.getpid()}-{id(self)}-{next(self._numbers)}"

    async def call(self, method: str, gives: Any, *given: object) -> Any:
        """Have a call done.

        Raises:
            EngineError: as the engine said, or `EngineUnavailable`: nobody knows.
        """
        number = next(self._numbers)
        answer: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        try:
            async with self._turn:
                if self._writer is None:
                    reader, self._writer = await asyncio.open_unix_connection(self._path)
                    self._hearing = asyncio.create_task(self._hear(reader))
            self._waiting[number] = answer
            await self._ask(self._writer, number, method, given)
            told = await answer
        except OSError as error:
            raise EngineUnavailable(f"the simulated engine at {self._path}: {error}") from error
        finally:
            self._waiting.pop(number, None)
        _raise(told)
        return msgspec.msgpack.decode(told.gives, type=gives)

    async def stream(self, method: str, gives: Any, *given: object) -> AsyncGenerator[Any]:
        """What goes on, until it ends. Raises as `call`."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise EngineUnavailable(f"the simulated engine at {self._path}: {error}") from error
        try:
            await self._ask(writer, 1, method, given)
            while True:
                told = _told.decode(await _frame(reader))
                _raise(told)
                yield msgspec.msgpack.decode(told.gives, type=gives)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _ask(
        self, writer: asyncio.StreamWriter, number: int, method: str, given: Sequence[object]
    ) -> None:
        raw = msgspec.Raw(_encode(given))
        await _send(writer, Asked(number, self._installation, method, raw))

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                told = _told.decode(await _frame(reader))
                if (answer := self._waiting.get(told.number)) and not answer.done():
                    answer.set_result(told)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._drop()

    def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError("the connection ended"))

    async def close(self) -> None:
        if self._hearing is not None:
            self._hearing.cancel()
            await asyncio.gather(self._hearing, return_exceptions=True)


def _raise(told: Told) -> None:
    if told.error is not None:
        name, message = told.error
        raise TimeoutError(message) if name == "TimeoutError" else getattr(ports, name)(message)


def shared_engine(way: Way) -> Engine:
    """The engine ports of one installation on a shared machine."""
    return Engine(
        _Replicas(way), _Images(way), _Grounds(way), _Events(way), _IO(way), _Foreign(way)
    )


class _Asking:
    def __init__(self, way: Way) -> None:
        self._way = way


@final
class _Replicas(_Asking, Replicas):
    @override
    async def list(self, app: AppKey | None = None) -> Sequence[Replica]:
        found: Sequence[Replica] = await self._way.call("list", tuple[Replica, ...], app)
        return found

    @override
    async def start(self, order: StartReplica) -> None:
        fields = msgspec.structs.asdict(order)
        fields["env"] = {
            name: value.reveal() if isinstance(value, SecretText) else value
            for name, value in order.env.items()
        }
        await self._way.call("start", None, Order(**fields))

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        await self._way.call("stop", None, replica, grace, keep)

    @override
    async def remove(self, replica: Replica) -> None:
        await self._way.call("remove", None, replica)


@final
class _Images(_Asking, Images):
    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        found: str = await self._way.call("resolve", str, image, policy)
        return found


@final
class _Grounds(_Asking, Grounds):
    @override
    async def prepare(self, project: str) -> None:
        await self._way.call("prepare", None, project)

    @override
    async def clear(self, project: str) -> None:
        await self._way.call("clear", None, project)

    @override
    async def projects(self) -> Sequence[str]:
        found: Sequence[str] = await self._way.call("projects", tuple[str, ...])
        return found

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        await self._way.call("remove_volumes", None, project, app)


@final
class _Events(_Asking, EngineEvents):
    @override
    async def watch(self) -> AsyncIterator[EngineEvent]:
        while True:
            try:
                async for event in self._way.stream("watch", EngineEvent):
                    yield event
            except EngineUnavailable:
                pass
            await asyncio.sleep(1.0)  # each stream begins with `EngineEvent(None)`


@final
class _IO(_Asking, ReplicaIO):
    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        async for line in self._way.stream("logs", LogLine, replica, tail, since, follow):
            yield line

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        result: ExecResult = await self._way.call(
            "run", ExecResult, replica, tuple(argv), timeout_seconds
        )
        return result

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        of = self._way.new_id()
        said = self._way.stream("converse", Said | None, of, replica, command)
        async with aclosing(
            led(said, typed, lambda one: self._way.call("type", None, of, one))
        ) as it:
            async for piece in it:
                yield piece


@final
class _Foreign(_Asking, Foreign):
    @override
    async def list(self, app: AppKey | None = None) -> Sequence[ForeignReplica]:
        found: Sequence[ForeignReplica] = await self._way.call(
            "list_foreign", tuple[ForeignReplica, ...], app
        )
        return found

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        await self._way.call("end", None, replica, grace)

    @override
    async def clear(self, installation: str, project: str) -> None:
        await self._way.call("clear_foreign", None, installation, project)
