"""Looking into pods: logs, over the restarts of a container, and commands beside the app's own."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, NamedTuple, final, override

import msgspec

from adapters.k8s.conversing import PROTOCOLS, held, query
from adapters.k8s.copying import Copy
from adapters.k8s.errors import (
    Asked,
    ClusterUnavailable,
    KubernetesError,
    NotFound,
    Rejected,
    Unauthorized,
)
from adapters.k8s.grants import COMMANDS, LOGS
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.kubeconfig import AccessRefused
from adapters.k8s.lines import lines
from adapters.k8s.pods import BEFORE, container
from adapters.k8s.transport import Sent, Transport
from reconcilers.conversing import Command, Ended, Said, Typed, Written, nothing_typed
from reconcilers.object_ports import Json, ObjectKey
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
MAX_OUTPUT: Final = 2**20  # bytes of each stream of a command; what it writes beyond is dropped


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
    """A container's present or former run, and how the cluster last told its state."""

    namespace: str
    pod: str
    container: str
    previous: bool
    state: Json

    @property
    def ended_before(self) -> float | None:
        """When it last ended, of one that waits to be started again.

        Until then a cluster gives the log of that run as the present one.
        """
        ended = (self.state.get("lastState") or {}).get("terminated") or {}
        waits = "waiting" in (self.state.get("state") or {})
        return _seconds(ended["finishedAt"]) if waits and "finishedAt" in ended else None


@final
class _Told:
    """Which lines were told: a log that is read again begins at a whole second."""

    def __init__(self, since: float | None) -> None:
        self.since = since
        self._latest = since or 0.0
        self._before, self._now = set[bytes](), set[bytes]()  # lines of that moment

    def takes(self, line: LogLine) -> bool:
        """Whether a line is new; then it is told from now on."""
        if self.since is not None and line.at < self.since:
            return False
        if line.at == self.since and line.text in self._before:
            return False
        if line.at > self._latest:
            self._latest, self._now = line.at, set()
        if line.at == self._latest:
            self._now.add(line.text)
        return True

    def again(self) -> None:
        """The log is read again, from the latest line on."""
        if self._latest:
            self.since, self._before = self._latest, set(self._now)


@final
class PodIO(ReplicaIO):
    def __init__(self, transport: Transport, copy: Copy) -> None:
        self._transport, self._copy = transport, copy

    def _place(self, replica: Replica) -> _Place | None:
        """Where a replica is; None when its pod is gone."""
        there, _, previous = replica.id.partition(BEFORE[0])
        namespace, _, pod = there.partition("/")
        held = self._copy.held(ObjectKey("v1", "Pod", namespace, pod))
        if held is None:
            return None
        body = held.body
        name = container(body)
        states = {one["name"]: one for one in body.get("status", {}).get("containerStatuses") or ()}
        return _Place(namespace, pod, name, bool(previous), states.get(name, {}))

    # -- logs ---------------------------------------------------------------------------------

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """A follower is taken along when the container is started again, and ends with the pod."""
        place = self._place(replica)
        if place is None:
            return
        told = _Told(since)
        if not place.previous and (ended := place.ended_before) is not None:
            if not follow:
                return  # what it wrote is the log of its previous run
            told = _Told(max(since or 0.0, ended + 1.0))  # clusters tell whole seconds
        refusals = 0
        while True:
            try:
                async for line in self._read(place, tail=tail, since=told.since, follow=follow):
                    refusals, tail = 0, None
                    if told.takes(line):
                        yield line
                tail = None  # what its next run writes is all new
            except KubernetesError as error:
                # credentials may have been replaced meanwhile: one refusal is none
                refusals += not isinstance(error, ClusterUnavailable)
                if not follow or refusals > 1:
                    raise _unreadable(error) from error
            if not follow or place.previous or not await self._goes_on(place):
                return
            told.again()

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
        asked = Asked("get", LOGS, place.namespace, place.pod)
        try:
            async with self._transport.stream(asked, sent, silence=SILENCE) as pieces:
                at = since or 0.0
                async for text in lines(pieces, unfinished=True):
                    line = _line(text, at)
                    at = line.at
                    yield line
        except (NotFound, Rejected):
            return  # it has not written yet, or never will

    # -- commands -----------------------------------------------------------------------------

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        command = Command(tuple(argv))
        written = {"stdout": bytearray(), "stderr": bytearray()}
        code = 0
        async with (
            asyncio.timeout(timeout_seconds),
            aclosing(self.converse(replica, command, nothing_typed())) as said,
        ):
            async for piece in said:
                match piece:
                    case Written(stream, data):
                        kept = written[stream]
                        kept += data[: MAX_OUTPUT - len(kept)]
                    case Ended(exit_code):
                        code = exit_code
        return ExecResult(code, bytes(written["stdout"]), bytes(written["stderr"]))

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        place = self._running(replica, command.argv[0])
        asked = Asked("run", COMMANDS, place.namespace, place.pod)
        path = PODS.path(place.namespace, place.pod, "exec")
        status = bytearray()
        try:
            async with (
                self._transport.socket(
                    asked, path, query(place.container, command), PROTOCOLS
                ) as socket,
                aclosing(held(socket, command, typed, status)) as said,
            ):
                async for piece in said:
                    yield piece
        except Unauthorized as error:
            raise EngineUnavailable(str(error)) from error
        except ClusterUnavailable:
            raise
        except (KubernetesError, AccessRefused) as error:
            raise EngineError(str(error)) from error
        yield Ended(_exit_code(bytes(status), command.argv, place.pod))

    def _running(self, replica: Replica, program: str) -> _Place:
        """Raises: StartFailed, when there is nothing to run a command beside."""
        place = self._place(replica)
        if place is None:
            why = "its pod is gone"
        elif place.previous:
            why = "that run of its container has ended"
        elif "running" not in (place.state.get("state") or {}):
            why = f"its container {place.container!r} does not run"
        else:
            return place
        where = replica.id.partition(BEFORE[0])[0]
        shown = "`stateward describe app` shows what runs now"
        raise StartFailed(f"{program!r} cannot run in {where}: {why}; {shown}")


def _unreadable(error: KubernetesError) -> EngineError:
    kind = EngineUnavailable if isinstance(error, ClusterUnavailable) else EngineError
    return kind(str(error))


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


def _line(line: bytes, before: float) -> LogLine:
    """A line as it comes with `timestamps`; a pod has one stream for both of a process.

    What a node itself has to say of a log stands in it without a time: it is that `before`.
    """
    at, _, text = line.partition(b" ")
    try:
        return LogLine(_seconds(at.decode()), "stdout", text)
    except ValueError:
        return LogLine(before, "stdout", line)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
