"""Scenarios of the simulation, lived through by a real control plane on real Docker and NATS.

Each names the scenario of `simulation.scenarios` that it mirrors, the trouble that it is told
under, and what of its promises is checked for real. "At rest" is `World.at_rest` of
`tests.support.docker_truth`: within a stated bound exactly the wanted containers run, by their
labels, none owned is left over, every idempotency key that was asked has one event, and
`stateward verify` finds the log sound. After each, a container of another installation is as it
was, and once its app is deleted, nothing owned is left.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import docker
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from bus.nats.credentials import PRODUCER
from bus.nats.subjects import intent_subject, submit_subject
from domain.names import app
from reconcilers.ports import ReplicaName
from tests.acceptance.producing import producer
from tests.support.cut_connections import Proxy
from tests.support.docker_daemon import DockerDaemon, daemon, erase_installation
from tests.support.docker_truth import BOUND, World, foreign, visited
from tests.support.images import python_image
from tests.support.nats_server import client as nats_client
from tests.support.nats_server import envelope, foreign_server
from tests.support.serving import ControlPlane, served

__all__ = ["daemon"]
pytestmark = [pytest.mark.real, pytest.mark.needs("docker", "nats"), pytest.mark.timeout(180)]

STOPPED_SECONDS = 3.0  # of a control plane under SIGSTOP: longer than its replay interval
LATE = "stateward-test/late"
REPLY_SECONDS = 0.5  # until a producer takes an answer for lost, and asks again


@pytest.fixture(scope="module")
def client(daemon: DockerDaemon) -> Iterator[docker.APIClient]:
    with closing(docker.APIClient(daemon.host, version="auto")) as client:
        yield client


@contextmanager
def started(daemon: DockerDaemon, client: docker.APIClient, home: Path, *o: str) -> Iterator[World]:
    """A control plane on the daemon, afterwards gone with all it made."""
    options = (f"--docker-host={daemon.host}", *o)
    with contextmanager(served)(home, *options, engine="docker") as plane:
        world = World(plane, client, python_image(client))
        yield world
    erase_installation(client, world.installation)


@pytest.fixture(scope="module")
def plane(
    daemon: DockerDaemon, client: docker.APIClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ControlPlane]:
    with started(daemon, client, tmp_path_factory.mktemp("real")) as world:
        yield world.plane


@pytest.fixture
def world(plane: ControlPlane, client: docker.APIClient) -> Iterator[World]:
    """Beside a container of somebody else's, and afterwards without its app."""
    world = World(plane, client, python_image(client))
    with foreign(client, world.image):
        yield world
        if not plane.is_running:
            plane.start()
        plane.delete(world.name)
        world.gone()


def test_a_rollout_survives_a_kill_in_its_middle(world: World, daemon: DockerDaemon) -> None:
    """`rollout` under `kill -9`. For real: at rest; somebody answered at every moment."""
    world.deploy("old", replicas=2)
    with visited(world, daemon.host) as rounds:
        world.apply("rollout", "new", replicas=2)
        world.plane.until(lambda: len(world.revisions()) == 2, "it is in its middle")
        world.plane.restart()
        world.apply("rollout", "new", replicas=2)
        world.at_rest(2, "new")
    assert {"old", "new"} <= set().union(*rounds)


def test_what_is_hurt_while_it_is_stopped_is_healed_after(world: World) -> None:
    """`heal` under SIGSTOP, `docker rm -f`, `docker kill` and `docker pause`.

    For real: at rest; all three were replaced, two losses are told of, the fourth was left alone.
    """
    world.deploy("well", replicas=4)
    removed, killed, paused, unhurt = (world.in_slot(slot) for slot in range(4))
    os.kill(world.plane.pid, signal.SIGSTOP)
    try:
        world.client.remove_container(removed, force=True)
        world.client.kill(killed)
        world.client.pause(paused)
        time.sleep(STOPPED_SECONDS)
    finally:
        os.kill(world.plane.pid, signal.SIGCONT)
    world.plane.until(
        lambda: {0, 1} <= {one["data"]["slot"] for one in world.events("replica.healed")},
        "the healings are recorded",
        BOUND,
    )
    world.at_rest(4, "well")
    assert world.in_slot(3) == unhurt
    running = {one["Id"] for one in world.containers() if one["State"] == "running"}
    assert not {removed, killed, paused} & running


async def insist(sender: Client, subject: str, message: bytes) -> dict[str, Any]:
    """Ask with the same key until there is an answer, as who never heard back."""
    while True:
        with suppress(NatsError, OSError):
            answer = await sender.request(subject, message, timeout=REPLY_SECONDS)
            told: dict[str, Any] = json.loads(answer.data)
            if told.get("status", 0) < 500 and "error" not in told:  # else: ask again later
                return told
        await asyncio.sleep(0.05)


async def test_submissions_under_way_when_the_server_is_killed_are_decided_once(
    world: World,
) -> None:
    """`pause-and-resume` under `kill -9` of nats-server.

    For real: what the stream acknowledged is decided exactly once, though every submission was
    handed in twice; at rest.
    """
    await asyncio.to_thread(world.deploy, "0")
    await asyncio.to_thread(world.act, "pause", {"reason": "a sale"})
    ref, keys = app("default", world.name), [world.key(f"{number}") for number in range(12)]
    async with producer(world.plane) as sender:
        for number, key in enumerate(keys):
            message = envelope("restart", ref.stream, key=key)
            if number in (3, 8):
                sending = asyncio.create_task(
                    insist(sender, submit_subject(PRODUCER, ref), message)
                )
                for server in world.plane.bus_servers():
                    server.kill()
                await sending
            for _ in range(2):
                stored = await insist(sender, submit_subject(PRODUCER, ref), message)
                assert stored["stream"] == "STATEWARD_SUBMIT"
    await asyncio.to_thread(
        world.plane.until,
        lambda: {one["cause"] for one in world.events()} >= world.keys,
        "all is decided",
        BOUND,
    )
    await asyncio.to_thread(world.act, "resume")
    await asyncio.to_thread(world.at_rest, 1, "0")


@asynccontextmanager
async def troubled(proxy: Proxy, chance: random.Random) -> AsyncIterator[None]:
    trouble = asyncio.create_task(proxy.trouble(chance))
    try:
        yield
    finally:
        trouble.cancel()


async def test_intents_whose_messages_are_dropped_are_asked_again_and_decided_once(
    world: World, daemon: DockerDaemon, tmp_path: Path
) -> None:
    """`restart`, `scale-up`, `scale-down` under dropped messages and cut connections.

    The control plane and the producer reach an external NATS only through a proxy. For real: one
    event per key; at rest; another installation's app on the same daemon is untouched.
    """
    await asyncio.to_thread(world.deploy, "neighbour")
    before = [(one["Id"], one["State"]) for one in world.containers()]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with foreign_server(tmp_path / "nats", "") as port, Proxy(port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        beside = started(daemon, world.client, tmp_path / "beside", f"--nats={url}")
        other = await asyncio.to_thread(beside.__enter__)
        try:
            await asyncio.to_thread(other.deploy, "here")
            await asyncio.to_thread(other.act, "pause", {"reason": "a sale"})
            async with nats_client(url) as sender, troubled(proxy, chance):
                for number in count():
                    if number >= 7 and proxy.cuts > 2 and proxy.lost:
                        break
                    verb, data = ("scale", {"replicas": 1 + number % 4 // 2})
                    if number % 2 or number >= 7:
                        verb, data = "restart", {}
                    ref = app("default", other.name)
                    key = f"{other.name}-{number}"
                    message = envelope(verb, ref.stream, data, key=key)
                    answer = await insist(sender, intent_subject(PRODUCER, ref), message)
                    await asyncio.sleep(chance.uniform(0, 0.2))
                    if answer["changes"][0].get("events"):
                        other.keys.add(key)
            await asyncio.to_thread(other.act, "resume")
            await asyncio.to_thread(other.at_rest, 2, "here")
        finally:
            await asyncio.to_thread(beside.__exit__, None, None, None)
    assert [(one["Id"], one["State"]) for one in world.containers()] == before


def test_an_intent_while_the_daemon_is_away_is_carried_out_when_it_is_back(
    world: World, daemon: DockerDaemon
) -> None:
    """`scale-up` under a restart of dockerd, which ends every container.

    For real: the intent is accepted meanwhile, the target is said to be unreachable; at rest.
    """
    if not daemon.owned:
        pytest.skip("the Docker daemon is not of our own, so that it may not be restarted")
    world.deploy("back")
    daemon.stop()
    try:
        world.act("scale", {"replicas": 2})
        world.plane.until(
            lambda: world.plane.condition("Synced", world.name)[0] != "True", "it says so", BOUND
        )
    finally:
        daemon.start()
    world.at_rest(2, "back")


def test_a_delete_that_was_answered_is_finished_after_a_kill(world: World) -> None:
    """`delete` under `kill -9`. For real: no container and no volume is left; one event."""
    volumes = [{"name": "data", "path": "/data"}]
    world.deploy("going", replicas=2, volumes=volumes)
    path = f"/api/v1/projects/default/apps/{world.name}"
    answer = world.plane.http.delete(path, params={"volumes": "true"})
    assert answer.status_code == 200, answer.text
    world.plane.restart()
    world.gone()
    world.plane.until(lambda: world.events("removal.completed"), "it is recorded")
    assert world.plane.http.get(path).status_code == 404
    assert len(world.events("app.deleted")) == 1
    world.check_history()


def test_an_image_that_comes_late_is_rolled_out_although_it_was_killed_waiting(
    world: World,
) -> None:
    """`late-image` under `kill -9`. For real: at rest; the old revision served meanwhile."""
    world.deploy("old")
    old = world.in_slot(0)
    world.apply("rollout", "new", image=LATE)
    world.plane.until(
        lambda: world.plane.condition("Degraded", world.name)[0] == "True", "it is degraded"
    )
    assert world.in_slot(0) == old
    world.plane.kill()
    world.client.tag(world.image, LATE, "latest")
    try:
        world.plane.start()
        world.at_rest(1, "new")
    finally:
        world.client.remove_image(LATE, force=True)


def test_a_name_that_somebody_else_has_is_left_to_them(world: World) -> None:
    """`squatted-name`, with a container that was there first. For real: at rest; it is untouched.

    The first round of names is somebody's: of both slots of the first revision.
    """
    squatted = ReplicaName("default", world.name, 1, 0, 1).of(world.installation)
    with foreign(world.client, world.image, squatted):
        answer = world.apply("deploy", "beside", replicas=2)
        assert answer["changes"][0]["result"] == "created"
        world.at_rest(2, "beside")
