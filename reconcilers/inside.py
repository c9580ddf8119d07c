"""Looking inside: replicas, their logs, plans, what is foreign, by the engines of this process."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, final, override

import msgspec

from bus import codec
from domain.events import AppAdopted, ForeignObject
from projections.desired import DesiredApp, DesiredState, foreseen
from reconcilers.adopting import listed_foreign
from reconcilers.object_adopting import InTheWay
from reconcilers.object_preview import ObjectChange
from reconcilers.passing import Passing
from reconcilers.ports import EngineUnavailable, ForeignReplica, Replica, ReplicaIO


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

    def adopting(self) -> Sequence[ForeignObject]:
        """What of a cluster it names to be taken over."""
        event = codec.decode(self.kind, self.data)
        return event.objects if isinstance(event, AppAdopted) else ()


class ProjectProposal(NamedTuple):
    """What a project would be on a target, whatever is in the log."""

    project: str
    uid: int
    target: str


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

    async def preview_project(self, proposal: ProjectProposal) -> Sequence[ObjectChange]:
        """What would change of what a project's apps share on a target. Raises `EngineError`."""
        ...

    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        """What other installations run on a target. Raises `EngineError`."""
        ...

    async def in_the_way(self, stream: str) -> Sequence[InTheWay]:
        """What of others has names on a cluster that an app needs. Raises `EngineError`."""
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
        return await self._passing.preview(proposal.app(), proposal.adopting())

    @override
    async def preview_project(self, proposal: ProjectProposal) -> Sequence[ObjectChange]:
        return await self._passing.preview_project(*proposal)

    @override
    async def foreign(self, target: str) -> Sequence[ForeignReplica]:
        return await listed_foreign(self._passing.view(target))

    @override
    async def in_the_way(self, stream: str) -> Sequence[InTheWay]:
        return await self._passing.in_the_way(stream)
