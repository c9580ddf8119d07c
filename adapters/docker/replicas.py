"""Replicas as containers: one list call per sweep, and orders that are repeated without harm."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from typing import final, override

import docker
import structlog
from docker.errors import APIError, NotFound

from adapters.docker import labels
from adapters.docker.connection import Connection, sentence
from adapters.docker.creation import Made, look, make
from adapters.docker.facts import Facts
from adapters.docker.listing import Listed, replica
from reconcilers.ports import (
    EngineError,
    EngineUnavailable,
    Grounds,
    Replica,
    Replicas,
    ReplicaState,
    StartFailed,
    StartReplica,
)

_PAUSE = 0.05  # seconds before a name that is being taken at this moment is looked at again
_TRIES = 100

_log = structlog.get_logger(__name__)


@final
class DockerReplicas(Replicas):
    def __init__(
        self,
        connection: Connection,
        installation: str,
        target: str,
        facts: Facts,
        grounds: Grounds,
    ) -> None:
        self._docker = connection
        self._installation, self._target = installation, target
        self._facts = facts
        self._grounds = grounds
        self._identities: dict[str, labels.Identity | None] = {}  # labels never change

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        if app is None:
            listed = await self._listed()
            present = {entry.id for entry in listed}
            self._facts.keep_only(present)
            for gone in self._identities.keys() - present:
                del self._identities[gone]
        else:
            listed = await self._listed(*app)
            await self._facts.learn(self._facts.longest_unseen({entry.id for entry in listed}))
        new = [entry.id for entry in listed if self._facts.of(entry.id, entry.state) is None]
        if new:
            await self._facts.learn(new)
        if app is None:
            self._facts.look_again()
        return [
            replica(entry, self._facts.of(entry.id, entry.state), identity)
            for entry in listed
            if (identity := self._identity(entry)) is not None
        ]

    @override
    async def start(self, order: StartReplica) -> None:
        made = await self.create(order)
        if not made.may_start:
            return
        try:
            await self._start(made.id, order)
        finally:
            self._facts.call_off(made.id)

    async def create(self, order: StartReplica) -> Made:
        """Make the container and leave it at that: the part of a start that is cheap."""

        def making(client: docker.APIClient) -> Made | None:
            return make(client, order, self._installation, self._target)

        for _ in range(_TRIES):
            if (made := await self._docker.call(making)) is not None:
                return made
            await asyncio.sleep(_PAUSE)
        name = order.name.of(self._installation)
        raise EngineUnavailable(f"the name {name} is taken, and by nothing that can be seen")

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        if not await self._owns(replica.id):
            return
        called = self._called(replica)

        def stop(client: docker.APIClient) -> None:
            client.stop(replica.id, timeout=ceil(grace))
            if keep:
                keep_container(client, replica.id, called)

        try:
            await self._docker.wait(stop)
        except NotFound:
            return
        except APIError as error:
            raise EngineError(f"{called} did not stop: {sentence(error)}") from error

    @override
    async def remove(self, replica: Replica) -> None:
        if not await self._owns(replica.id):
            return
        is_kept = replica.state is ReplicaState.KEPT
        try:
            await self._docker.wait(
                lambda client: remove_container(client, replica.id, running=not is_kept)
            )
        except NotFound:
            return
        except APIError as error:
            what = f"{self._called(replica)} was not removed"
            raise EngineError(f"{what}: {sentence(error)}") from error

    async def _listed(self, *app: str) -> Sequence[Listed]:
        mine = labels.owned(self._installation, *app) | {labels.TARGET: self._target}
        wanted = labels.selecting(mine)
        try:
            return await self._docker.get(
                tuple[Listed, ...], "/containers/json", all=1, filters=wanted
            )
        except APIError as error:
            raise EngineUnavailable(f"the daemon lists nothing: {sentence(error)}") from error

    def _identity(self, entry: Listed) -> labels.Identity | None:
        if entry.id not in self._identities:
            try:
                self._identities[entry.id] = labels.identity(entry.labels)
            except (KeyError, ValueError) as error:
                _log.warning("replica.unreadable", container=entry.names, error=repr(error))
                self._identities[entry.id] = None
        return self._identities[entry.id]

    async def _start(self, container: str, order: StartReplica) -> None:
        try:
            try:
                await self._docker.start(container)
            except NotFound as error:
                if "network" not in sentence(error):
                    raise
                await self._grounds.prepare(order.name.project)  # somebody removed it
                await self._docker.start(container)
        except NotFound as error:
            raise EngineUnavailable(
                f"{order.name.of(self._installation)} was removed while it started"
            ) from error
        except APIError as error:
            raise StartFailed(
                f"the daemon did not start {order.name.of(self._installation)}: {sentence(error)}"
            ) from error

    async def _owns(self, container: str) -> bool:
        """Whether it is there and ours. Ids are never used twice, so a known one needs no look."""
        if container in self._identities:
            return True
        try:
            seen = await self._docker.call(lambda client: look(client, container))
        except APIError as error:
            raise EngineUnavailable(f"{container} cannot be seen: {sentence(error)}") from error
        return seen is not None and seen.belongs_to(self._installation)

    def _called(self, replica: Replica) -> str:
        return replica.name.of(self._installation)


def keep_container(client: docker.APIClient, container: str, name: str) -> None:
    """Mark one that has stopped, by its name, as kept."""
    seen = look(client, container)
    if seen is not None and seen.name == f"/{name}":
        client.rename(container, name + labels.KEPT)


def remove_container(
    client: docker.APIClient, container: str, *, volumes: bool = True, running: bool = True
) -> None:
    """Remove it; with `volumes`, those of its volumes that have no name.

    One that runs is killed, or left alone if it should not be `running`.
    """
    try:
        client.remove_container(container, force=running, v=volumes)
    except APIError as error:
        if error.status_code != HTTPStatus.CONFLICT:
            raise
        if not running:
            return
        client.wait(container, condition="removed")  # somebody else is removing it
