"""What every engine of objects answers alike, where engines of replicas have ports of their own."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import final, override

from domain.secret import SecretText
from reconcilers.object_ports import ObjectEvent
from reconcilers.ports import (
    EngineError,
    EngineEvent,
    EngineEvents,
    Foreign,
    ForeignReplica,
    Images,
)

type Owner = tuple[str, str]


@final
class NodeImages(Images):
    """The nodes of a cluster pull images, as the spec names them."""

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        return image


@final
class ObjectNews(EngineEvents):
    """Whose objects changed; what a project shares concerns all of its apps.

    Args:
        changes: as `ObjectEngine.watch`.
        owners: everybody of whom anything is there.
    """

    def __init__(
        self,
        changes: Callable[[], AsyncIterator[ObjectEvent]],
        owners: Callable[[], Iterable[Owner]],
    ) -> None:
        self._changes, self._owners = changes, owners

    @override
    async def watch(self) -> AsyncIterator[EngineEvent]:
        async for event in self._changes():
            if event.owner is None or event.owner[1]:
                yield EngineEvent(event.owner)
                continue
            for project, app in self._owners():
                if project == event.owner[0] and app:
                    yield EngineEvent((project, app))


@final
class NobodyElse(Foreign):
    """On clusters objects are taken over, each by its name, and not what an installation runs."""

    def __init__(self, target: str) -> None:
        self._refusal = (
            f"target {target} is a Kubernetes cluster, where objects are taken over one by one; "
            "`stateward adopt app/NAME -n PROJECT --objects --dry-run` shows those of an app"
        )

    @override
    async def list(self, app: Owner | None = None) -> Sequence[ForeignReplica]:
        raise EngineError(self._refusal)

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        raise EngineError(self._refusal)

    @override
    async def clear(self, installation: str, project: str) -> None:
        raise EngineError(self._refusal)
