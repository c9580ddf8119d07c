"""What reconcilers need from the world. Adapters implement it; the simulation does too.

An engine may be slow, absent, or lie about what it did; it never decides. Every call is safe to
repeat and names its target ("slot 2 of revision 7, attempt 1"), never an amount ("one more").

EngineError
├── EngineUnavailable   the engine cannot be reached, or answered too late: retry later
│   └── LeaseEnded      the call was not begun: another worker may decide over the key by now
├── NameTaken           something else has this name: take the next attempt
├── ImageUnavailable    the image is not there and cannot be had: retrying may help, slowly
└── StartFailed         the engine refused this replica: the spec cannot run as it is
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from domain.app import Check, Port, Volume
from domain.route import Publish
from domain.secret import SecretText
from reconcilers.conversing import Command, Said, Typed


class EngineError(Exception):
    """An engine did not do what was asked. The message is fit for the app's status."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or did not answer in time; retrying later may succeed."""


class LeaseEnded(EngineUnavailable):
    """Nothing was asked of the engine: this worker does not decide over the key any more."""


class NameTaken(EngineError):
    """The replica's name belongs to something else, which was not touched."""


class ImageUnavailable(EngineError):
    """The image does not exist or cannot be pulled."""


class StartFailed(EngineError):
    """The engine refused to run this replica; the same order will be refused again."""


class ReplicaState(StrEnum):
    """Where a replica is in its life. `CREATED` was never started; `EXITED` never starts again.

    `KEPT` was stopped to be kept: it may become another replica of its app, of the same slot.
    """

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    KEPT = "kept"


class ReplicaName(NamedTuple):
    """Names one replica: a number of a revision is never used twice, an attempt only when what had

    its name is gone, and nobody here ended it.
    """

    project: str
    app: str
    revision: int
    slot: int
    attempt: int

    def of(self, installation: str) -> str:
        """The name on the engine, unique among installations."""
        project, app, revision, slot, attempt = self
        return f"{installation[:6]}.{project}.{app}.r{revision}.{slot}.{attempt}"


class Address(NamedTuple):
    """Where a named port of a replica is reached from this host."""

    port: str
    host: str
    number: int


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """One owned replica as its engine reports it.

    `id` is the engine's own handle; `digest` that of the order it was started from; `position` the
    head of the log at that time; times are seconds since the epoch. `healthy` is the engine's own
    opinion (an image's HEALTHCHECK), None where it has none; `starting` says that it has a check
    but no answer yet. `edited` names what differs from the order although nobody asked for it
    here: empty when nothing does, or nothing is known. `called` is what the engine's own tools call
    it, where that is not its name.
    """

    id: str
    name: ReplicaName
    uid: int
    digest: str
    position: int
    state: ReplicaState
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    addresses: tuple[Address, ...] = ()
    healthy: bool | None = None
    starting: bool = False
    edited: tuple[str, ...] = ()
    called: str = ""

    def shown(self, installation: str) -> str:
        """What people know it by."""
        return self.called or self.name.of(installation)


class StartReplica(msgspec.Struct, frozen=True, kw_only=True):
    """An order to run one replica, complete: an engine needs nothing else.

    `env` holds the app's own variables; engines add `PORT` (first port) and `PORT_<NAME>`.
    `memory_bytes` and `cpu_millis` are limits; `stop_grace` is seconds. `publish` are ports of the
    host that lead to ports of it, while it runs. `reuses` is a kept replica to make it from.
    """

    name: ReplicaName
    uid: int
    digest: str
    position: int
    image: str | None
    command: tuple[str, ...]
    args: tuple[str, ...]
    workdir: str | None
    env: Mapping[str, str | SecretText]
    ports: tuple[Port, ...]
    volumes: tuple[Volume, ...]
    cpu_millis: int | None
    memory_bytes: int | None
    stop_signal: str
    stop_grace: float
    publish: tuple[Publish, ...] = ()
    reuses: ReplicaName | None = None


class Replicas(Protocol):
    """The replicas that this installation owns on one target."""

    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        """Return all owned replicas, or those of one (project, app), in one call to the engine.

        Includes created, exited and kept ones. Never one of another installation.

        Raises:
            EngineUnavailable: the engine cannot be reached. A partial list is never returned.
        """
        ...

    async def start(self, order: StartReplica) -> None:
        """Make the ordered replica run. Twice is as once; a created one is started.

        One that has exited stays so. Volumes are made when missing. A kept one that it `reuses`
        becomes the ordered one, with what it wrote; if that is gone, or of another uid, digest or
        image, it is left as it is and the ordered one is made anew.

        Raises:
            NameTaken: the name belongs to a foreign object, or to one with another uid or digest.
            ImageUnavailable: the image is not on the engine.
            StartFailed: the engine refused it for another reason. What it left is `CREATED` or
                `EXITED` and shows in `list`, or is nothing.
            EngineUnavailable: unknown whether it runs; `list` tells.
        """
        ...

    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        """Ask it to stop, kill it after `grace` seconds, and return when it has exited.

        The exited replica stays, with its logs, until it is removed; with `keep` it shows as
        `KEPT`, also when it had stopped before. One that is gone is no error.
        """
        ...

    async def remove(self, replica: Replica) -> None:
        """Remove it and its logs, killing it if it runs. One that is gone is no error.

        One that was `KEPT` and has become another meanwhile is left alone.
        """
        ...


class Images(Protocol):
    """The images an engine can run."""

    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        """Make `image` present and return the immutable name to start replicas from.

        Args:
            image: what the spec says, with tag or digest.
            policy: `IfNotPresent`, `Always` or `Never`.
            credentials: `username` and `password` for its registry.

        Raises:
            ImageUnavailable: it cannot be had; the message says why.
        """
        ...


class Grounds(Protocol):
    """What a project's replicas share on a target: its network, and the volumes of its apps."""

    async def prepare(self, project: str) -> None:
        """Make what a project's replicas need before the first starts. Twice is as once."""
        ...

    async def clear(self, project: str) -> None:
        """Remove it after the last replica is gone. Volumes stay. Nothing there is no error."""
        ...

    async def projects(self) -> Sequence[str]:
        """The projects that have something to clear on this target."""
        ...

    async def remove_volumes(self, project: str, app: str) -> None:
        """Remove an app's volumes and all data on them. None there is no error."""
        ...


class ForeignReplica(msgspec.Struct, frozen=True, kw_only=True):
    """A replica that another installation runs here. `id` is the engine's own handle."""

    id: str
    installation: str
    name: ReplicaName
    state: ReplicaState


class Foreign(Protocol):
    """What other installations of Stateward run here: shown, and ended where it is adopted.

    A port of its own, so that nothing else that reconcilers do can see or touch what is not ours.
    """

    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        """Return the replicas of all other installations, or those of one (project, app).

        Never one of this installation, and nothing that no Stateward made.

        Raises:
            EngineUnavailable: the engine cannot be reached. A partial list is never returned.
        """
        ...

    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        """Stop it as `Replicas.stop` does, and take it away with its logs. Its data stays.

        One that is gone is no error; what is not as listed is left alone.
        """
        ...

    async def clear(self, installation: str, project: str) -> None:
        """Remove what its project shares, unless it still has replicas here. Volumes stay."""
        ...


class EngineEvent(NamedTuple):
    """Something happened to an app's replicas. None: events may have been missed, list again."""

    app: tuple[str, str] | None


class EngineEvents(Protocol):
    """News from an engine, so that a dead replica need not wait for the next sweep."""

    def watch(self) -> AsyncIterator[EngineEvent]:
        """Yield what happens, for ever; the first is always `EngineEvent(None)`.

        Reconnects by itself, and yields `EngineEvent(None)` after each gap.
        """
        ...


class LogLine(NamedTuple):
    """A line that a replica wrote: when (seconds since the epoch), where, and the bytes."""

    at: float
    stream: str
    text: bytes


class ExecResult(NamedTuple):
    exit_code: int
    stdout: bytes
    stderr: bytes


class ReplicaIO(Protocol):
    """Looking into a replica."""

    def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Yield what it wrote, oldest first; with `follow`, until it ends."""
        ...

    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        """Run a command beside the replica's own, without a shell.

        Raises:
            StartFailed: there is no such command, or the replica does not run.
            TimeoutError: it ran longer than `timeout_seconds` and was ended where possible.
        """
        ...

    def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        """Run a command beside the replica's own, and talk with it; the last said is `Ended`.

        The end of `typed` means nothing: `END_OF_INPUT` has to be typed. Who closes it before it
        has ended leaves: the command loses its input, or terminal, and is ended where possible.

        Raises:
            StartFailed: there is no such command, or the replica does not run.
            EngineUnavailable: the way to it broke.
        """
        ...


class Engine(NamedTuple):
    """Everything one target offers, handed to the reconcilers together."""

    replicas: Replicas
    images: Images
    grounds: Grounds
    events: EngineEvents
    io: ReplicaIO
    foreign: Foreign


class ProbeResult(NamedTuple):
    """`passed`, or a sentence on why not."""

    passed: bool
    message: str


class Prober(Protocol):
    """Asks a replica whether it is well."""

    async def probe(self, check: Check, replica: Replica, io: ReplicaIO) -> ProbeResult:
        """Run one check within its own time limit. Never raises: what goes wrong is the result."""
        ...
