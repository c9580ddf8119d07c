"""One daemon as two installations see it, and mischief behind their backs, for tests of the engine.

Import `daemon`, `client` and `docker_world` as fixtures.
"""

import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import final, override

import docker
import pytest
from docker.errors import APIError

from adapters.docker.engine import DockerEngine, docker_engine
from adapters.docker.replicas import DockerReplicas
from reconcilers.ports import Replica, StartReplica
from tests.contracts.engine_world import World
from tests.support.docker_daemon import DockerDaemon, daemon, erase_installation
from tests.support.images import PROGRAM, REPOSITORY, python_image

__all__ = ["OTHERS", "OURS", "DockerWorld", "client", "daemon", "docker_world", "engine_of"]

# of this run alone: another may be using the same daemon
OURS, OTHERS = str(uuid.uuid4()), str(uuid.uuid4())
STRANGER = {"whose": f"that of a stranger to {OURS}"}


def engine_of(host: str, installation: str, target: str = "local") -> DockerEngine:
    return docker_engine(host, installation, target=target, now=time.time, rng=random.Random(1))


@final
class DockerWorld(World):
    program = PROGRAM
    reports_edits = True

    def __init__(self, client: docker.APIClient, ours: DockerEngine, other: DockerEngine) -> None:
        self.client = client
        self.engine = ours
        self.other = other
        self.image = python_image(client)

    @override
    async def kill(self, replica: Replica) -> None:
        self.client.kill(replica.id)

    @override
    async def lose(self, replica: Replica) -> None:
        self.client.remove_container(replica.id, force=True)

    @override
    async def squat(self, order: StartReplica) -> Callable[[], Awaitable[bool]]:
        name = order.name.of(OURS)
        made = self.client.create_container(self.image or "", name=name, labels=STRANGER)
        before = self.client.inspect_container(made)

        async def is_intact() -> bool:
            return bool(self.client.inspect_container(made) == before)

        return is_intact

    @override
    async def create_only(self, order: StartReplica) -> None:
        assert isinstance(self.engine.replicas, DockerReplicas)
        await self.engine.replicas.create(order)

    @override
    async def edit(self, replica: Replica) -> None:
        self.client.update_container(replica.id, mem_limit="96m", memswap_limit="96m")


@pytest.fixture
def client(daemon: DockerDaemon) -> Iterator[docker.APIClient]:
    client = docker.APIClient(daemon.host, version="auto")
    yield client
    client.close()


@pytest.fixture
async def docker_world(
    daemon: DockerDaemon, client: docker.APIClient
) -> AsyncIterator[DockerWorld]:
    ours, other = engine_of(daemon.host, OURS), engine_of(daemon.host, OTHERS)
    world = DockerWorld(client, ours, other)
    plain = world.image
    yield world
    await ours.close()
    await other.close()
    strangers = {"label": [f"{label}={value}" for label, value in STRANGER.items()]}
    for container in client.containers(all=True, filters=strangers):
        client.remove_container(container["Id"], force=True)
    erase_installation(client, OURS)
    for network in client.networks(filters=strangers):
        client.remove_network(network["Id"])
    for volume in client.volumes(filters=strangers)["Volumes"] or ():
        client.remove_volume(volume["Name"])
    if world.image != plain and str(world.image).startswith(REPOSITORY):
        with suppress(APIError):  # another run uses it too
            client.remove_image(str(world.image))
