"""Looking into pods: logs, over the restarts of a container, and commands beside the app's own."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, final, override

import aiohttp
import msgspec

from adapters.k8s.access import AccessRefused
from adapters.k8s.copying import Copy
from adapters.k8s.errors import (
    Asked,
    ClusterUnavailable,
    KubernetesError,
    NotFound,
    Rejected,
    Unauthorized,
)
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.lines import lines
from adapters.k8s.pods import BEFORE, container
from adapters.k8s.transport import Sent, Transport
from reconcilers.object_ports import ObjectKey
from reconcilers.ports import (
    EngineError,
    EngineUnavailable,
    ExecResult,
    LogLine,
    Replica,
    ReplicaIO,
    StartFailed,
)

PODS: Final = BUILT_IN["v1", "Pod"]
SILENCE: Final = 3600.0  # seconds that a follower waits for a line before it asks anew
RESTART_SECONDS: Final = 1.0  # between two looks whether a container runs again
_OUT, _ERR, _STATUS = 1, 2, 3  # channels of a command
_PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True):
    causes: tuple[_Cause, ...] = ()


class _Ended(msgspec.Struct, frozen=True):
    """What the cluster says at the end of a command."""

    status: str = ""
    message: str = ""
    details: _Details = _Details()


class _Place(NamedTuple):
    """A container's present or former run."""

    namespace: str
    pod: str
    container: str
    previous: bool


@final
class PodIO(ReplicaIO):
    def __init__(self, transport: Transport, copy: Copy) -> None:
        self._transport, self._copy = transport, copy

    def _place(self, replica: Replica) -> _Place:
        """Raises: StartFailed, when its pod is gone."""
        there, _, previous = replica.id.partition(BEFORE[0])
        namespace, _, pod = there.partition("/")
        held = self._copy.held(ObjectKey("v1", "Pod", namespace, pod))
        if held is None:
            raise StartFailed(f"pod {pod} is gone; `stateward get app` shows what runs now")
        return _Place(namespace, pod, container(held.body), bool(previous))

    # -- logs ---------------------------------------------------------------------------------

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """A follower is taken along when the container is started again, and ends with the pod."""
        place = self._place(replica)
        last, told = since, set[tuple[float, bytes]]()  # the lines of the last moment
        while True:
            try:
                async for line in self._read(place, tail=tail, since=last, follow=follow):
                    if last is not None and (line.at < last or (line.at, line.text) in told):
                        continue  # the cluster is asked by whole seconds
                    told = {one for one in told if one[0] == line.at} | {(line.at, line.text)}
                    last = line.at
                    yield line
            except EngineUnavailable:
                if not follow:
                    raise
            if not follow or place.previous or not await self._goes_on(place):
                return
            tail = None

    async def _goes_on(self, place: _Place) -> bool:
        """Whether there is still a pod that may write more."""
        await asyncio.sleep(RESTART_SECONDS)
        held = self._copy.held(ObjectKey("v1", "Pod", place.namespace, place.pod))
        return held is not None and "deletionTimestamp" not in held.body["metadata"]

    async def _read(
        self, place: _Place, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        query = {"container": place.container, "timestamps": "true"}
        query |= {"follow": "true"} if follow and not place.previous else {}
        query |= {"previous": "true"} if place.previous else {}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        query |= {"sinceTime": _written(since)} if since is not None else {}
        sent = Sent("GET", PODS.path(place.namespace, place.pod, "log"), query, accept="*/*")
        asked = Asked("get", "pods/log", place.namespace, place.pod)
        try:
            async with self._transport.stream(asked, sent, silence=SILENCE) as pieces:
                async for line in lines(pieces):
                    yield _line(line)
        except (NotFound, Rejected):
            return  # it has not written yet, or never will
        except EngineUnavailable:
            raise
        except (KubernetesError, AccessRefused) as error:
            raise EngineUnavailable(str(error)) from error

    # -- commands -----------------------------------------------------------------------------

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        place = self._place(replica)
        query = [("container", place.container), ("stdout", "true"), ("stderr", "true")]
        query += [("command", word) for word in argv]
        asked = Asked("create", "pods/exec", place.namespace, place.pod)
        path = PODS.path(place.namespace, place.pod, "exec")
        written: dict[int, bytearray] = {_OUT: bytearray(), _ERR: bytearray(), _STATUS: bytearray()}
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._transport.socket(asked, path, query, _PROTOCOLS) as socket,
            ):
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.BINARY and message.data:
                        written.setdefault(message.data[0], bytearray()).extend(message.data[1:])
        except Unauthorized as error:
            raise EngineUnavailable(str(error)) from error
        except (ClusterUnavailable, TimeoutError):
            raise
        except (KubernetesError, AccessRefused) as error:
            raise EngineError(str(error)) from error
        code = _exit_code(bytes(written[_STATUS]), argv, place.pod)
        return ExecResult(code, bytes(written[_OUT]), bytes(written[_ERR]))


def _exit_code(status: bytes, argv: Sequence[str], pod: str) -> int:
    """Raises: StartFailed, when the command never ran; EngineUnavailable, when it was cut off."""
    if not status:
        raise EngineUnavailable(f"the connection to {argv[0]!r} in {pod} broke off before its end")
    ended = msgspec.json.decode(status, type=_Ended)
    if ended.status == "Success":
        return 0
    for cause in ended.details.causes:
        if cause.reason == "ExitCode":
            return int(cause.message)
    raise StartFailed(f"{argv[0]!r} cannot run in {pod}: {ended.message}")


def _line(line: bytes) -> LogLine:
    """A line as it comes with `timestamps`; a pod has one stream for both of a process."""
    at, _, text = line.partition(b" ")
    return LogLine(_seconds(at.decode()), "stdout", text)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
