"""What happens to containers behind our backs is heard, and seen in the next list."""

import asyncio
from collections.abc import Callable
from typing import Any

import docker
import pytest

from adapters.docker.events import OVERLAP
from adapters.docker.request import network_name
from reconcilers.ports import EngineEvent, Replica, ReplicaName, ReplicaState
from tests.contracts.engine_world import PATIENCE, eventually, news
from tests.support.docker_world import OURS, DockerWorld, client, daemon, docker_world

__all__ = ["client", "daemon", "docker_world"]

type Mischief = Callable[[docker.APIClient, str], Any]

RENAMED = f"stateward-test-renamed-{OURS}"
RUNNING, EXITED = ReplicaState.RUNNING, ReplicaState.EXITED


@pytest.mark.parametrize(
    ("mischief", "state", "edited"),
    [
        pytest.param(lambda c, i: c.kill(i), EXITED, (), id="kill"),
        pytest.param(lambda c, i: c.stop(i, timeout=5), EXITED, (), id="stop"),
        pytest.param(lambda c, i: c.pause(i), RUNNING, ("paused",), id="pause"),
        pytest.param(lambda c, i: c.rename(i, RENAMED), RUNNING, ("name",), id="rename"),
        pytest.param(
            lambda c, i: c.update_container(i, mem_limit="96m", memswap_limit="96m"),
            RUNNING,
            ("memory",),
            id="update memory",
        ),
        pytest.param(
            lambda c, i: c.update_container(i, restart_policy={"Name": "always"}),
            RUNNING,
            ("restart policy",),
            id="update restart policy",
        ),
    ],
)
async def test_a_change_behind_our_back_is_heard_and_then_seen(
    docker_world: DockerWorld, mischief: Mischief, state: ReplicaState, edited: tuple[str, ...]
) -> None:
    order = docker_world.order(memory_bytes=64 * 2**20)
    replica = await docker_world.serve(order)
    assert replica.edited == ()
    async with news(docker_world.engine) as events:
        await asyncio.to_thread(mischief, docker_world.client, replica.id)

        async def is_seen() -> bool:
            seen = await docker_world.seen(order)
            return (seen.state, seen.edited) == (state, edited)

        async with asyncio.timeout(PATIENCE):
            while await anext(events) != EngineEvent(("shop", "web")) or not await is_seen():
                pass
    await docker_world.engine.replicas.stop(replica, grace=2)
    assert (await docker_world.seen(order)).state is EXITED
    await docker_world.engine.replicas.remove(replica)
    assert list(await docker_world.engine.replicas.list()) == []


async def test_an_edit_shows_in_the_full_list_though_nobody_listens(
    docker_world: DockerWorld,
) -> None:
    replica = await docker_world.serve(docker_world.order(memory_bytes=64 * 2**20))
    await docker_world.edit(replica)

    async def shows() -> bool:
        return [seen.edited for seen in await docker_world.engine.replicas.list()] == [("memory",)]

    await eventually(shows)


async def test_one_cut_off_from_its_project_shows(docker_world: DockerWorld) -> None:
    replica = await docker_world.serve(docker_world.order())
    docker_world.client.disconnect_container_from_network(replica.id, network_name(OURS, "shop"))
    seen = await docker_world.seen(docker_world.order())
    assert (seen.edited, seen.addresses) == (("network",), ())


async def test_one_that_takes_too_much_memory_is_listed_with_that_reason(
    docker_world: DockerWorld,
) -> None:
    hungry = ("python3", "-c", "bytearray(b'x') * (300 << 20)")
    order = docker_world.order(" ", command=hungry, memory_bytes=32 * 2**20)
    await docker_world.start(order)
    exited = await docker_world.exited(order)
    assert exited.exit_code == 137
    assert "limit of 32 MiB" in exited.reason


async def test_one_started_again_by_hand_has_its_new_times(docker_world: DockerWorld) -> None:
    order = docker_world.order()
    first = await docker_world.serve(order)
    async with news(docker_world.engine) as events:
        await asyncio.to_thread(docker_world.client.restart, first.id, timeout=0)

        async def is_newer() -> bool:
            started_at = (await docker_world.seen(order)).started_at
            return started_at is not None and started_at > (first.started_at or 0)

        async with asyncio.timeout(PATIENCE):
            while await anext(events) == EngineEvent(None) or not await is_newer():
                pass


async def test_a_container_with_our_label_alone_is_no_replica_and_stays(
    docker_world: DockerWorld,
) -> None:
    made = docker_world.client.create_container(
        docker_world.image or "",
        labels={"stateward/installation": OURS},
    )
    replica: Replica = await docker_world.start(docker_world.order())
    assert list(await docker_world.engine.replicas.list()) == [replica]
    assert docker_world.client.inspect_container(made)["State"]["Status"] == "created"


async def test_what_an_event_names_is_looked_at_before_its_turn(docker_world: DockerWorld) -> None:
    for slot in range(3):
        await docker_world.start(docker_world.order(name=ReplicaName("shop", "web", 7, slot, 1)))
    replicas = await docker_world.engine.replicas.list()
    await asyncio.sleep(OVERLAP)  # what happened longer ago than this is not told again
    async with news(docker_world.engine) as events:
        for replica in replicas:
            await docker_world.edit(replica)
        heard: list[EngineEvent] = []
        async with asyncio.timeout(PATIENCE):
            while len(heard) < len(replicas):
                event = await anext(events)
                heard += [event] if event.app is not None else []
        seen = await docker_world.engine.replicas.list()
    assert [replica.edited for replica in seen] == [("memory",)] * 3
