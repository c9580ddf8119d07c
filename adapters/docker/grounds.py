"""What a project's replicas share on a daemon: one network, and the volumes of its apps.

The daemon lets several networks have one name, even of those that ask it not to at the same time.
So one project is prepared at a time, ours are found by their labels, and of two the unused goes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import final, override

import docker
import msgspec
from docker.errors import APIError, NotFound

from adapters.docker import labels
from adapters.docker.connection import Connection, get, sentence
from adapters.docker.request import network_name
from reconcilers.ports import EngineError, Grounds, NameTaken


class _Network(msgspec.Struct, rename="pascal"):
    id: str
    name: str
    labels: dict[str, str] | None = None


class _Volume(msgspec.Struct, rename="pascal"):
    name: str


class _Volumes(msgspec.Struct, rename="pascal"):
    volumes: list[_Volume] | None = None


@final
class DockerGrounds(Grounds):
    def __init__(self, connection: Connection, installation: str) -> None:
        self._docker = connection
        self._installation = installation
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @override
    async def prepare(self, project: str) -> None:
        async with self._turns[project]:
            await self._do(
                f"the network of project {project} cannot be made",
                lambda client: self._prepare(client, project),
            )

    @override
    async def clear(self, project: str) -> None:
        await self._do(
            f"the network of project {project} cannot be removed",
            lambda client: self._clear(client, project),
        )

    @override
    async def projects(self) -> Sequence[str]:
        networks = await self._do("the networks cannot be listed", self._networks)
        return sorted({(network.labels or {})[labels.PROJECT] for network in networks})

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        what = f"the volumes of {project}/{app} cannot be removed"
        await self._do(what, lambda client: self._remove_volumes(client, project, app))

    async def _do[T](self, failing: str, ask: Callable[[docker.APIClient], T]) -> T:
        try:
            return await self._docker.wait(ask)
        except APIError as error:
            raise EngineError(f"{failing}: {sentence(error)}") from error

    def _networks(self, client: docker.APIClient, *project: str) -> list[_Network]:
        wanted = labels.selecting(labels.owned(self._installation, *project))
        found = get(client, list[_Network], "/networks", {"filters": wanted})
        return [network for network in found if labels.PROJECT in (network.labels or {})]

    def _prepare(self, client: docker.APIClient, project: str) -> None:
        there = self._networks(client, project)
        if there:
            _drop_doubles(client, there)
            return
        name = network_name(self._installation, project)
        try:
            client.create_network(
                name,
                driver="bridge",
                check_duplicate=True,
                labels=labels.owned(self._installation, project),
            )
        except APIError as error:
            if self._networks(client, project):
                return  # made by another pass at this moment
            raise _unmade(name, error) from error

    def _clear(self, client: docker.APIClient, project: str) -> None:
        for network in self._networks(client, project):
            try:
                client.remove_network(network.id)
            except NotFound:
                continue
            except APIError as error:
                if "active endpoints" not in sentence(error):
                    raise  # else another target on this daemon still uses it

    def _remove_volumes(self, client: docker.APIClient, project: str, app: str) -> None:
        wanted = labels.selecting(labels.owned(self._installation, project, app))
        found = get(client, _Volumes, "/volumes", {"filters": wanted})
        for volume in found.volumes or ():
            try:
                client.remove_volume(volume.name)
            except NotFound:
                continue


def _drop_doubles(client: docker.APIClient, networks: Sequence[_Network]) -> None:
    """A name that means two networks starts no container; the daemon refuses to drop one in use."""
    left = len(networks)
    for network in networks:
        if left > 1:
            try:
                client.remove_network(network.id)
            except APIError:
                continue
            left -= 1


def _unmade(name: str, error: APIError) -> EngineError:
    said = sentence(error)
    if "already exists" in said:
        return NameTaken(f"a network {name} is there and belongs to something else")
    if "address pool" in said:
        return EngineError(
            f"network {name} cannot be made: the daemon has no addresses left for it; "
            "give it more with default-address-pools in its daemon.json"
        )
    return EngineError(f"network {name} cannot be made: {said}")
