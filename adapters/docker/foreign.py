"""What other installations of Stateward run on this daemon, found by the labels that they set.

Whoever may use the daemon may set any label, so what is listed is looked at again before it ends.
"""

from collections.abc import Sequence
from math import ceil
from typing import final, override

import docker
from docker.errors import APIError, NotFound

from adapters.docker import labels
from adapters.docker.connection import Connection, sentence
from adapters.docker.creation import look
from adapters.docker.grounds import DockerGrounds
from adapters.docker.listing import Listed, state_of
from adapters.docker.replicas import remove_container
from domain.names import is_installation
from reconcilers.ports import EngineError, EngineUnavailable, Foreign, ForeignReplica


@final
class DockerForeign(Foreign):
    def __init__(self, connection: Connection, installation: str) -> None:
        self._docker = connection
        self._installation = installation

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        wanted = labels.of_anybody(*(app or ()))
        try:
            listed = await self._docker.get(
                tuple[Listed, ...], "/containers/json", all=1, filters=wanted
            )
        except APIError as error:
            raise EngineUnavailable(f"the daemon lists nothing: {sentence(error)}") from error
        return [found for entry in listed if (found := self._foreign(entry)) is not None]

    def _foreign(self, entry: Listed) -> ForeignReplica | None:
        """None: it is ours, or not as a Stateward would have made it."""
        installation = entry.labels.get(labels.INSTALLATION, "")
        if installation == self._installation or not is_installation(installation):
            return None
        try:
            name = labels.name_in(entry.labels)
        except (KeyError, ValueError):
            return None
        state = state_of(entry.state)
        return ForeignReplica(id=entry.id, installation=installation, name=name, state=state)

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        try:
            await self._docker.wait(lambda client: self._end(client, replica, ceil(grace)))
        except NotFound:
            return
        except APIError as error:
            called = replica.name.of(replica.installation)
            raise EngineError(f"{called} did not end: {sentence(error)}") from error

    def _end(self, client: docker.APIClient, replica: ForeignReplica, grace: int) -> None:
        seen = look(client, replica.id)
        if seen is None or replica.installation == self._installation:
            return
        marks = seen.config.labels or {}
        if not seen.belongs_to(replica.installation) or labels.name_in(marks) != replica.name:
            return
        client.stop(replica.id, timeout=grace)
        remove_container(client, replica.id, volumes=False)

    @override
    async def clear(self, installation: str, project: str) -> None:
        left = await self.list()
        if installation == self._installation:
            return
        if any((one.installation, one.name.project) == (installation, project) for one in left):
            return
        await DockerGrounds(self._docker, installation).clear(project)
