"""Looking inside from another process: whoever decides over a key is asked, and answers.

A conversation is a call whose answer is what is said; each piece that is typed is a call of its
own, made once the one before was answered.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Final, final, override

import msgspec

from bus.calls import CallFailed, CallLost, Calls
from bus.leases import Partition
from projections.desired import DesiredState
from reconcilers.conversing import Command, Said, Typed
from reconcilers.inside import Inside, Opened, ProjectProposal, Proposal
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
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
from reconcilers.relaying import Relay, led
from reconcilers.sharing import Sharing

FLOCK: Final = 64  # of what is listed, in one part


class Look(msgspec.Struct, frozen=True, tag="look"):
    stream: str


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    stream: str


class Preview(msgspec.Struct, frozen=True, tag="preview"):
    proposal: Proposal


class PreviewProject(msgspec.Struct, frozen=True, tag="preview-project"):
    proposal: ProjectProposal


class Foreign(msgspec.Struct, frozen=True, tag="foreign"):
    target: str


class Strange(msgspec.Struct, frozen=True, tag="in-the-way"):
    stream: str


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


class Converse(msgspec.Struct, frozen=True, tag="converse"):
    """Its first word is None, and then it may be typed, by `Type` and its `number`."""

    stream: str
    replica: Replica
    command: Command
    number: str


class Type(msgspec.Struct, frozen=True, tag="type"):
    number: str
    typed: Typed


type Listing = Look | Foreign | Preview | PreviewProject | Strange
type Request = Listing | Explain | Logs | Run | Converse | Type

_request = msgspec.msgpack.Decoder(
    Look | Explain | Preview | PreviewProject | Foreign | Strange | Logs | Run | Converse | Type
)
_replicas = msgspec.msgpack.Decoder(list[Replica])
_foreign = msgspec.msgpack.Decoder(list[ForeignReplica])
_strange = msgspec.msgpack.Decoder(list[InTheWay])
_changes = msgspec.msgpack.Decoder(list[ObjectChange])
_sentences = msgspec.msgpack.Decoder(list[str])
_line = msgspec.msgpack.Decoder(LogLine)
_said = msgspec.msgpack.Decoder(Said | None)
_result = msgspec.msgpack.Decoder(ExecResult)
_encode = msgspec.msgpack.encode


@final
class Answering:
    """Answers for the partitions of this process what others ask."""

    def __init__(self, here: Inside) -> None:
        self._here = here
        self._relay = Relay()

    async def answer(self, data: bytes) -> AsyncGenerator[bytes]:
        """The parts of an answer; raises `CallFailed`."""
        try:
            async with aclosing(self._parts(_request.decode(data))) as parts:
                async for part in parts:
                    yield part
        except msgspec.MsgspecError as error:
            raise CallFailed("Unreadable", f"the request cannot be read: {error}") from error
        except StartFailed as error:
            raise CallFailed("StartFailed", str(error)) from error
        except EngineError as error:
            raise CallFailed("EngineUnavailable", str(error)) from error
        except TimeoutError as error:
            raise CallFailed("TimedOut", str(error)) from error

    async def _parts(self, request: Request) -> AsyncGenerator[bytes]:
        match request:
            case Explain(stream):
                yield _encode(list(await self._here.explain(stream)))
            case Look() | Foreign() | Preview() | PreviewProject() | Strange():
                for part in _flocks(await self._listed(request)):
                    yield part
            case Type(number, typed):
                await self._relay.type(number, typed)
            case _:
                async with aclosing(self._looked_into(request)) as parts:
                    async for part in parts:
                        yield part

    async def _listed(self, request: Listing) -> Sequence[object]:
        match request:
            case Look(stream):
                return (await self._here.open(stream)).replicas
            case Foreign(target):
                return await self._here.foreign(target)
            case Preview(proposal):
                return await self._here.preview(proposal)
            case PreviewProject(proposal):
                return await self._here.preview_project(proposal)
            case Strange(stream):
                return await self._here.in_the_way(stream)

    async def _looked_into(self, request: Logs | Run | Converse) -> AsyncGenerator[bytes]:
        io = (await self._here.open(request.stream)).io
        match request:
            case Logs(_, replica, tail, since, follow):
                async for line in io.logs(replica, tail=tail, since=since, follow=follow):
                    yield _encode(line)
            case Run(_, replica, argv, timeout_seconds):
                yield _encode(await io.run(replica, argv, timeout_seconds=timeout_seconds))
            case Converse(_, replica, command, number):
                with self._relay.opened(number) as typed:
                    yield _encode(None)
                    async with aclosing(io.converse(replica, command, typed)) as said:
                        async for piece in said:
                            yield _encode(piece)


@final
class Elsewhere(Inside):
    """By asking the worker that decides over it. `new_id` never gives the same twice, anywhere."""

    def __init__(
        self, calls: Calls, desired: DesiredState, sharing: Sharing, new_id: Callable[[], str]
    ) -> None:
        self._calls, self._desired, self._sharing = calls, desired, sharing
        self.new_id = new_id

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
    async def preview_project(self, proposal: ProjectProposal) -> Sequence[ObjectChange]:
        parts = self.ask_at(Partition(proposal.target, 0), PreviewProject(proposal))
        return [one async for part in parts for one in _changes.decode(part)]

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        parts = self.ask_at(Partition(target, 0), Foreign(target))
        return [one async for part in parts for one in _foreign.decode(part)]

    @override
    async def in_the_way(self, stream: str) -> Sequence[InTheWay]:
        parts = self.ask(stream, Strange(stream))
        return [one async for part in parts for one in _strange.decode(part)]

    def ask(self, stream: str, request: Request) -> AsyncGenerator[bytes]:
        """What the holder of an app answers, part by part. Raises `EngineError`, `TimeoutError`."""
        app = self._desired.app(stream)
        if app is None:
            raise EngineUnavailable(f"{stream} does not exist or cannot be read")
        return self.ask_at(self._sharing.partition(app.target, stream), request)

    async def ask_at(self, partition: Partition, request: Request) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._calls.ask(partition, _encode(request))) as parts:
                async for part in parts:
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

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        number = self._elsewhere.new_id()
        request = Converse(self._stream, replica, command, number)

        async def type_(one: Typed) -> None:
            async for _ in self._elsewhere.ask(self._stream, Type(number, one)):
                pass

        async with aclosing(led(self._pieces(request), typed, type_)) as said:
            async for piece in said:
                yield piece

    async def _pieces(self, request: Converse) -> AsyncGenerator[Said | None]:
        async with aclosing(self._elsewhere.ask(self._stream, request)) as parts:
            async for part in parts:
                yield _said.decode(part)


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
    async def preview_project(self, proposal: ProjectProposal) -> Sequence[ObjectChange]:
        is_here = self._sharing.holds_any(proposal.target)
        return await (self._here if is_here else self._elsewhere).preview_project(proposal)

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        is_here = self._sharing.holds_any(target)
        return await (self._here if is_here else self._elsewhere).foreign(target)

    @override
    async def in_the_way(self, stream: str) -> Sequence[InTheWay]:
        return await self._near(stream).in_the_way(stream)

    def _near(self, stream: str) -> Inside:
        app = self._desired.app(stream)
        is_here = app is None or self._sharing.holds(app.target, stream)
        return self._here if is_here else self._elsewhere


def _flocks(found: Sequence[object]) -> list[bytes]:
    return [_encode(list(found[at : at + FLOCK])) for at in range(0, len(found), FLOCK)]
