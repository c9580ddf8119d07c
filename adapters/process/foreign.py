"""What other installations left running below this data directory.

There are none unless the directory outlived its log: every installation has a directory of its
own, and those of others are out of sight. Then `replicas/` still names the former installation.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final, override

from adapters.process.grounds import ProcessGrounds
from adapters.process.slots import Slots, installations
from domain.names import is_installation
from reconcilers.ports import EngineUnavailable, Foreign, ForeignReplica, Replicas


@final
class ProcessForeign(Foreign):
    """Args: `replicas_of` gives the ways to an installation's replicas in this directory."""

    def __init__(
        self, data: Path, installation: str, replicas_of: Callable[[str], Replicas]
    ) -> None:
        self._data = data
        self._installation = installation
        self._replicas_of = replicas_of

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        try:
            return await asyncio.to_thread(self._list, app)
        except OSError as error:
            raise EngineUnavailable(f"the replicas cannot be listed: {error}") from error

    def _list(self, app: tuple[str, str] | None) -> Sequence[ForeignReplica]:
        root = self._data / "replicas"
        others = installations(root, app) - {self._installation}
        return [
            ForeignReplica(
                id=slot.replica.id,
                installation=other,
                name=slot.replica.name,
                state=slot.replica.state,
            )
            for other in sorted(filter(is_installation, others))
            for slot in Slots(root, other).list(app)
        ]

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        if replica.installation == self._installation:
            return
        theirs = self._replicas_of(replica.installation)
        for one in await theirs.list((replica.name.project, replica.name.app)):
            if one.name == replica.name:
                await theirs.stop(one, grace=grace)
                await theirs.remove(one)

    @override
    async def clear(self, installation: str, project: str) -> None:
        left = await self.list()
        used = {(one.installation, one.name.project) for one in left}
        if installation != self._installation and (installation, project) not in used:
            await ProcessGrounds(self._data, installation).clear(project)
