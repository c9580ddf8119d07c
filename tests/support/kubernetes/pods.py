"""What pods say and what runs in them, as a test scripts it: logs, and commands by `exec`."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from aiohttp import WSMsgType, web

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.faults import ConnectionCut
from tests.support.kubernetes.requests import Request
from tests.support.kubernetes.schema import Object

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


class Container(NamedTuple):
    namespace: str
    pod: str
    name: str


class Line(NamedTuple):
    """`at` is RFC 3339."""

    at: str
    text: str
    end: str = "\n"


@dataclass(slots=True)
class Log:
    """What one run of a container said."""

    lines: list[Line] = field(default_factory=list)
    ended: bool = False
    cuts: int = 0


@dataclass(slots=True)
class Session:
    """One command under `exec`, as the process sees it."""

    http: web.Request
    socket: web.WebSocketResponse
    arguments: tuple[str, ...]
    input: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)  # None: its end
    sizes: asyncio.Queue[tuple[int, int]] = field(default_factory=asyncio.Queue)  # columns, rows

    async def out(self, data: bytes) -> None:
        await self.socket.send_bytes(bytes([_STDOUT]) + data)

    async def err(self, data: bytes) -> None:
        await self.socket.send_bytes(bytes([_STDERR]) + data)

    def cut(self) -> None:
        """Drop the connection."""
        assert self.http.transport is not None, "a command under way has a connection"
        self.http.transport.abort()


type Command = Callable[[Session], Awaitable[int]]


@dataclass(slots=True)
class Pods:
    commands: dict[str, Command] = field(default_factory=dict)  # by the name of the program
    _logs: dict[Container, list[Log]] = field(default_factory=dict)  # the last one is current
    _said: asyncio.Event = field(default_factory=asyncio.Event)

    # --- scripting ----------------------------------------------------------------------------

    def say(self, container: Container, line: str, at: str) -> None:
        self._current(container).lines.append(Line(at, line))
        self._wake()

    def mutter(self, container: Container, line: str, at: str) -> None:
        """Say something without an end of the line."""
        self._current(container).lines.append(Line(at, line, end=""))
        self._wake()

    def cut(self, container: Container) -> None:
        """Drop the connections of who follows its log."""
        self._current(container).cuts += 1
        self._wake()

    def restart(self, container: Container) -> None:
        """The container ended, and runs anew: followers of the old run reach its end."""
        self._current(container).ended = True
        self._logs[container].append(Log())
        self._wake()

    def end(self, container: Container) -> None:
        self._current(container).ended = True
        self._wake()

    def _current(self, container: Container) -> Log:
        return self._logs.setdefault(container, [Log()])[-1]

    def _wake(self) -> None:
        self._said.set()
        self._said = asyncio.Event()

    # --- requests -----------------------------------------------------------------------------

    async def log(self, request: Request, pod: Object) -> AsyncIterator[bytes]:
        """Lines of a container, as the query asks for them.

        Raises:
            Refused: 400, the container has not started, or has no previous run.
        """
        query = request.query
        log = self._asked(request, pod)
        stamped, since = query.get("timestamps") == "true", query.get("sinceTime")
        found = [line for line in log.lines if since is None or _moment(line.at) >= _moment(since)]
        told, cuts = len(log.lines), log.cuts
        if tail := query.get("tailLines"):
            found = found[-int(tail) :] if int(tail) else []
        for line in found:
            yield _line(line, stamped=stamped)
        while query.get("follow") == "true":
            if log.cuts > cuts:
                raise ConnectionCut
            for line in log.lines[told:]:
                told += 1
                yield _line(line, stamped=stamped)
            if told == len(log.lines):
                if log.ended:
                    return
                await self._said.wait()

    def _asked(self, request: Request, pod: Object) -> Log:
        container = _container(request, pod)
        states = {one["name"]: one for one in pod.get("status", {}).get("containerStatuses") or ()}
        told = states.get(container, {})
        waiting = told.get("state", {}).get("waiting")
        place = Container(request.namespace, request.name, container)
        runs = self._logs.setdefault(place, [Log()])
        if request.query.get("previous") == "true":
            if len(runs) < 2:
                said = (
                    f'previous terminated container "{container}" in pod "{request.name}" not found'
                )
                raise Refused(400, said)
            return runs[-2]
        if waiting and "terminated" in told.get("lastState", {}) and len(runs) > 1:
            return runs[-2] if not runs[-1].lines else runs[-1]  # as kubelets do
        if waiting and not runs[-1].lines:
            said = f'container "{container}" in pod "{request.name}" is waiting to start: '
            raise Refused(400, said + waiting["reason"])
        return runs[-1]

    async def execute(self, http: web.Request, request: Request, pod: Object) -> web.StreamResponse:
        """Run a scripted command over a WebSocket."""
        _container(request, pod)
        arguments = tuple(http.query.getall("command", []))
        if not arguments:
            raise Refused(400, "you must specify at least 1 command for the container")
        socket = web.WebSocketResponse(protocols=PROTOCOLS)
        await socket.prepare(http)
        session = Session(http, socket, arguments)
        reading = asyncio.create_task(_read(session))
        running = asyncio.create_task(self._run(session))
        try:
            await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():  # who asked has gone, and a node ends what it ran for them
                running.cancel()
            status = await running
        except asyncio.CancelledError:
            return socket
        finally:
            running.cancel()
            reading.cancel()
        await socket.send_bytes(bytes([_STATUS]) + json.dumps(status).encode())
        await socket.close()
        return socket

    async def _run(self, session: Session) -> Object:
        command = self.commands.get(session.arguments[0])
        if command is None:
            said = f'exec: "{session.arguments[0]}": executable file not found in $PATH'
            return {
                "metadata": {},
                "status": "Failure",
                "message": said,
                "reason": "InternalError",
                "code": 500,
            }
        if (code := await command(session)) == 0:
            return {"metadata": {}, "status": "Success"}
        causes = [{"reason": "ExitCode", "message": str(code)}]
        return {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }


async def _read(session: Session) -> None:
    async for message in session.socket:
        if message.type is not WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == _STDIN:
            session.input.put_nowait(data)
        elif channel == _RESIZE:
            size = json.loads(data)
            session.sizes.put_nowait((size["Width"], size["Height"]))
        elif channel == _CLOSE and data[:1] == bytes([_STDIN]):
            session.input.put_nowait(None)
    session.input.put_nowait(None)


def _container(request: Request, pod: Object) -> str:
    names = [one["name"] for one in pod["spec"]["containers"]]
    asked = request.query.get("container", "")
    if asked and asked not in names:
        raise Refused(400, f"container {asked} is not valid for pod {request.name}")
    if not asked and len(names) > 1:
        said = f"a container name must be specified for pod {request.name}, choose one of: {names}"
        raise Refused(400, said)
    return asked or str(names[0])


def _line(line: Line, *, stamped: bool) -> bytes:
    at, text, end = line
    return f"{at} {text}{end}".encode() if stamped else f"{text}{end}".encode()


def _moment(at: str) -> datetime:
    return datetime.fromisoformat(at)
