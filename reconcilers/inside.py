"""Looking inside: replicas, their logs, plans, what is foreign, asked of whoever is near them."""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol, final, override

import msgspec

from bus import codec
from bus.calls import CallFailed, CallLost, Calls
from bus.leases import Partition
from projections.desired import DesiredApp, DesiredState, foreseen
from reconcilers.adopting import listed_foreign
from reconcilers.object_preview import ObjectChange
from reconcilers.passing import Passing
from reconcilers.ports import (
    EngineError,
    EngineUnavailable,
    ExecResult,
    ForeignReplica,
    LogLine,
    Replica,
    ReplicaIO,
    StartFailed,
)
from reconcilers.sharing import Sharing

FLOCK: Final = 64  # of what is listed, in one part


class Opened(NamedTuple):
    """The way into an app's replicas, and what they are now."""

    io: ReplicaIO
    replicas: Sequence[Replica]


class Proposal(NamedTuple):
    """An event of an app that is not in the log, where it would be there."""

    stream: str
    position: int
    kind: str
    data: bytes

    def app(self) -> DesiredApp:
        """What the app would be. Raises `EngineUnavailable`."""
        found = foreseen(codec.decode, *self)
        if found is None:
            raise EngineUnavailable(f"what {self.stream} would be cannot be read here")
        image = found.image or found.spec.image  # nobody finds out about it for a mere proposal
        return msgspec.structs.replace(found, image=image)


class Inside(Protocol):
    """Everything about what runs that only its target can tell."""

    async def open(self, stream: str) -> Opened:
        """The present replicas of an app. Raises `EngineError`."""
        ...

    async def explain(self, stream: str) -> Sequence[str]:
        """What a pass over an app would do now, in sentences. Raises `EngineError`."""
        ...

    async def preview(self, proposal: Proposal) -> Sequence[ObjectChange]:
        """What would change of an app's objects; nothing is done. Raises `EngineError`."""
        ...

    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        """What other installations run on a target. Raises `EngineError`."""
        ...


@final
class Here(Inside):
    """By the engines of this process."""

    def __init__(self, passing: Passing, desired: DesiredState) -> None:
        self._passing, self._desired = passing, desired

    @override
    async def open(self, stream: str) -> Opened:
        wanted = self._desired.app(stream)
        if wanted is None:
            raise EngineUnavailable(f"{stream} does not exist or cannot be read")
        view = self._passing.view(wanted.target)
        replicas = await view.look((wanted.ref.project, wanted.ref.name))
        return Opened(view.engine.io, replicas)

    @override
    async def explain(self, stream: str) -> Sequence[str]:
        return await self._passing.explain(stream)

    @override
    async def preview(self, proposal: Proposal) -> Sequence[ObjectChange]:
        return await self._passing.preview(proposal.app())

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        return await listed_foreign(self._passing.view(target))


class Look(msgspec.Struct, frozen=True, tag="look"):
    stream: str


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    stream: str


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    proposal: Proposal


class Foreign(msgspec.Struct, frozen=True, tag="foreign"):
    target: str


class Logs(msgspec.Struct, frozen=True, tag="logs"):
    stream: str
    replica: Replica
    tail: int | None
    since: float | None
    follow: bool


class Run(msgspec.Struct, frozen=True, tag="run"):
    stream: str
    replica: Replica
    argv: tuple[str, ...]
    timeout_seconds: float


type Request = Look | Explain | Preview | Foreign | Logs | Run

_request = msgspec.msgpack.Decoder(Look | Explain | Preview | Foreign | Logs | Run)
_replicas = msgspec.msgpack.Decoder(list[Replica])
_foreign = msgspec.msgpack.Decoder(list[ForeignReplica])
_changes = msgspec.msgpack.Decoder(list[ObjectChange])
_sentences = msgspec.msgpack.Decoder(list[str])
_line = msgspec.msgpack.Decoder(LogLine)
_result = msgspec.msgpack.Decoder(ExecResult)
_encode = msgspec.msgpack.encode


@final
class Answering:
    """Answers for the partitions of this process what others ask."""

    def __init__(self, here: Inside) -> None:
        self._here = here

    async def answer(self, data: bytes) -> AsyncIterator[bytes]:
        """The parts of an answer; raises `CallFailed`."""
        try:
            async for part in self._parts(_request.decode(data)):
                yield part
        except msgspec.MsgspecError as error:
            raise CallFailed("Unreadable", f"the request cannot be read: {error}") from error
        except StartFailed as error:
            raise CallFailed("StartFailed", str(error)) from error
        except EngineError as error:
            raise CallFailed("EngineUnavailable", str(error)) from error
        except TimeoutError as error:
            raise CallFailed("TimedOut", str(error)) from error

    async def _parts(self, request: Request) -> AsyncIterator[bytes]:
        match request:
            case Look(stream):
                for part in _flocks((await self._here.open(stream)).replicas):
                    yield part
            case Foreign(target):
                for part in _flocks(await self._here.foreign(target)):
                    yield part
            case Explain(stream):
                yield _encode(list(await self._here.explain(stream)))
            case Preview(proposal):
                for part in _flocks(await self._here.preview(proposal)):
                    yield part
            case Logs() | Run():
                async for part in self._looked_into(request):
                    yield part

    async def _looked_into(self, request: Logs | Run) -> AsyncIterator[bytes]:
        io = (await self._here.open(request.stream)).io
        match request:
            case Logs(_, replica, tail, since, follow):
                async for line in io.logs(replica, tail=tail, since=since, follow=follow):
                    yield _encode(line)
            case Run(_, replica, argv, timeout_seconds):
                yield _encode(await io.run(replica, argv, timeout_seconds=timeout_seconds))


@final
class Elsewhere(Inside):
    """By asking the worker that decides over it."""

    def __init__(self, calls: Calls, desired: DesiredState, sharing: Sharing) -> None:
        self._calls, self._desired, self._sharing = calls, desired, sharing

    @override
    async def open(self, stream: str) -> Opened:
        found = [
            replica
            async for part in self.ask(stream, Look(stream))
            for replica in _replicas.decode(part)
        ]
        return Opened(_ElsewhereIO(self, stream), found)

    @override
    async def explain(self, stream: str) -> Sequence[str]:
        found = [_sentences.decode(part) async for part in self.ask(stream, Explain(stream))]
        return [sentence for sentences in found for sentence in sentences]

    @override
    async def preview(self, proposal: Proposal) -> Sequence[ObjectChange]:
        at = self._sharing.partition(proposal.app().target, proposal.stream)
        parts = self.ask_at(at, Preview(proposal))
        return [one async for part in parts for one in _changes.decode(part)]

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        parts = self.ask_at(Partition(target, 0), Foreign(target))
        return [one async for part in parts for one in _foreign.decode(part)]

    def ask(self, stream: str, request: Request) -> AsyncIterator[bytes]:
        """What the holder of an app answers, part by part. Raises `EngineError`, `TimeoutError`."""
        app = self._desired.app(stream)
        if app is None:
            raise EngineUnavailable(f"{stream} does not exist or cannot be read")
        return self.ask_at(self._sharing.partition(app.target, stream), request)

    async def ask_at(self, partition: Partition, request: Request) -> AsyncIterator[bytes]:
        try:
            async for part in self._calls.ask(partition, _encode(request)):
                yield part
        except CallLost as error:
            raise EngineUnavailable(f"target {partition.target}: {error}") from error
        except CallFailed as error:
            match error.kind:
                case "StartFailed":
                    raise StartFailed(str(error)) from error
                case "TimedOut":
                    raise TimeoutError(str(error)) from error
                case _:
                    raise EngineUnavailable(str(error)) from error


@final
class _ElsewhereIO(ReplicaIO):
    def __init__(self, elsewhere: Elsewhere, stream: str) -> None:
        self._elsewhere, self._stream = elsewhere, stream

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        request = Logs(self._stream, replica, tail, since, follow)
        async for part in self._elsewhere.ask(self._stream, request):
            yield _line.decode(part)

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        request = Run(self._stream, replica, tuple(argv), timeout_seconds)
        (result,) = [
            _result.decode(part) async for part in self._elsewhere.ask(self._stream, request)
        ]
        return result


@final
class Nearest(Inside):
    """Here, where this process decides over it; elsewhere, where another does."""

    def __init__(
        self, here: Inside, elsewhere: Inside, desired: DesiredState, sharing: Sharing
    ) -> None:
        self._here, self._elsewhere = here, elsewhere
        self._desired, self._sharing = desired, sharing

    @override
    async def open(self, stream: str) -> Opened:
        return await self._near(stream).open(stream)

    @override
    async def explain(self, stream: str) -> Sequence[str]:
        return await self._near(stream).explain(stream)

    @override
    async def preview(self, proposal: Proposal) -> Sequence[ObjectChange]:
        is_here = self._sharing.holds(proposal.app().target, proposal.stream)
        return await (self._here if is_here else self._elsewhere).preview(proposal)

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        is_here = self._sharing.holds_any(target)
        return await (self._here if is_here else self._elsewhere).foreign(target)

    def _near(self, stream: str) -> Inside:
        app = self._desired.app(stream)
        is_here = app is None or self._sharing.holds(app.target, stream)
        return self._here if is_here else self._elsewhere


def _flocks(found: Sequence[object]) -> list[bytes]:
    return [_encode(list(found[at : at + FLOCK])) for at in range(0, len(found), FLOCK)]
