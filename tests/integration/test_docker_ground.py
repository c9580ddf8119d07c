"""What a replica stands on: its network, its volumes, its image, and its limits."""

import asyncio

import docker
import msgspec
import pytest

from adapters.docker.request import network_name
from domain.app import Volume
from reconcilers.ports import NameTaken, ReplicaName, ReplicaState, StartFailed
from tests.contracts.engine_world import DATA, PATIENCE, eventually
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_world import (
    OURS,
    STRANGER,
    DockerWorld,
    client,
    daemon,
    docker_world,
    engine_of,
)
from tests.support.images import python_image
from tests.support.udp import UDP_ECHO, udp_answer, udp_echo

__all__ = ["client", "daemon", "docker_world"]

NETWORK = network_name(OURS, "shop")
VOLUMES = f"stw-{OURS[:6]}-shop.web"
# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, NET_BIND_SERVICE
CAPABILITIES = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 10))


async def test_replicas_find_each_other_by_the_name_of_the_app(docker_world: DockerWorld) -> None:
    web = await docker_world.serve(docker_world.order())
    caller = docker_world.order(name=ReplicaName("shop", "caller", 1, 0, 1))
    replica = await docker_world.serve(caller)
    ask = "import socket; print(socket.gethostbyname('web'), end='')"
    answer = await docker_world.engine.io.run(
        replica, ["python3", "-c", ask], timeout_seconds=PATIENCE
    )
    assert answer.stdout.decode() == web.addresses[0].host


async def test_projects_do_not_find_each_other(docker_world: DockerWorld) -> None:
    await docker_world.serve(docker_world.order())
    stranger = docker_world.order(name=ReplicaName("bank", "caller", 1, 0, 1))
    replica = await docker_world.serve(stranger)
    ask = "import socket; socket.gethostbyname('web')"
    answer = await docker_world.engine.io.run(
        replica, ["python3", "-c", ask], timeout_seconds=PATIENCE
    )
    assert b"gaierror" in answer.stderr


async def test_a_foreign_network_of_our_name_is_left_alone(docker_world: DockerWorld) -> None:
    made = docker_world.client.create_network(NETWORK, labels=STRANGER)["Id"]
    with pytest.raises(NameTaken, match=NETWORK):
        await docker_world.engine.grounds.prepare("shop")
    await docker_world.engine.grounds.clear("shop")
    assert [n["Id"] for n in docker_world.client.networks(names=[NETWORK])] == [made]


async def test_a_foreign_volume_of_our_name_is_left_alone(docker_world: DockerWorld) -> None:
    name = f"{VOLUMES}.data.2"
    docker_world.client.create_volume(name, labels=STRANGER)
    with pytest.raises(StartFailed, match=name):
        await docker_world.start(docker_world.order(volumes=(DATA,)))
    await docker_world.engine.grounds.remove_volumes("shop", "web")
    assert docker_world.client.inspect_volume(name)["Labels"] == STRANGER


async def test_a_network_that_somebody_removed_is_made_again(docker_world: DockerWorld) -> None:
    await docker_world.engine.grounds.prepare("shop")
    docker_world.client.remove_network(NETWORK)
    await docker_world.engine.replicas.start(docker_world.order())
    assert (await docker_world.seen(docker_world.order())).state is ReplicaState.RUNNING


async def test_passes_that_prepare_a_project_together_make_one_network(
    docker_world: DockerWorld,
) -> None:
    await asyncio.gather(*(docker_world.engine.grounds.prepare("shop") for _ in range(4)))
    assert len(docker_world.client.networks(names=[NETWORK])) == 1


async def test_of_two_networks_of_ours_with_one_name_one_goes(docker_world: DockerWorld) -> None:
    await docker_world.engine.grounds.prepare("shop")
    (there,) = docker_world.client.networks(names=[NETWORK])
    docker_world.client.create_network(NETWORK, labels=there["Labels"])
    await docker_world.engine.grounds.prepare("shop")
    assert len(docker_world.client.networks(names=[NETWORK])) == 1


async def test_of_two_networks_the_one_in_use_stays(docker_world: DockerWorld) -> None:
    replica = await docker_world.serve(docker_world.order())
    (there,) = docker_world.client.networks(names=[NETWORK])
    docker_world.client.create_network(NETWORK, labels=there["Labels"])
    second = docker_world.order(name=ReplicaName("shop", "web", 8, 0, 1))
    assert (await docker_world.start(second)).state is ReplicaState.RUNNING
    assert [n["Id"] for n in docker_world.client.networks(names=[NETWORK])] == [there["Id"]]
    await docker_world.answers(replica.addresses[0])


async def test_two_volumes_of_one_replica_are_two(docker_world: DockerWorld) -> None:
    volumes = (Volume(name="a", path="/a"), Volume(name="b", path="/b", scope="app"))
    replica = await docker_world.serve(docker_world.order(volumes=volumes))
    names = [mount["Name"] for mount in docker_world.client.inspect_container(replica.id)["Mounts"]]
    assert sorted(names) == [f"{VOLUMES}.a.2", f"{VOLUMES}.b"]


async def test_volumes_that_have_no_name_go_with_their_replica(docker_world: DockerWorld) -> None:
    docker_world.image = python_image(docker_world.client, ("VOLUME /scratch",))
    replica = await docker_world.serve(docker_world.order())
    [volume] = docker_world.client.inspect_container(replica.id)["Mounts"]
    assert docker_world.client.inspect_volume(volume["Name"])
    await docker_world.engine.replicas.remove(replica)
    with pytest.raises(docker.errors.NotFound):
        docker_world.client.inspect_volume(volume["Name"])


async def test_a_replica_has_few_capabilities_and_gains_none(docker_world: DockerWorld) -> None:
    replica = await docker_world.serve(docker_world.order())
    answer = await docker_world.engine.io.run(
        replica, ["cat", "/proc/self/status"], timeout_seconds=PATIENCE
    )
    fields = dict(line.split(":\t", 1) for line in answer.stdout.decode().splitlines())
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == CAPABILITIES


async def test_limits_are_those_of_the_order(docker_world: DockerWorld) -> None:
    order = docker_world.order(cpu_millis=500, memory_bytes=64 * 2**20)
    replica = await docker_world.serve(order)
    host = docker_world.client.inspect_container(replica.id)["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (64 * 2**20, 500_000_000)
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["Init"] is True
    assert host["LogConfig"]["Config"] == {"max-file": "3", "max-size": "10m"}


async def test_an_impossible_limit_is_refused_in_the_daemons_words(
    docker_world: DockerWorld,
) -> None:
    with pytest.raises(StartFailed, match=r"(?i)cpus"):
        await docker_world.start(docker_world.order(cpu_millis=1_000_000))


async def test_an_images_own_command_and_health_check_are_used(docker_world: DockerWorld) -> None:
    check = 'HEALTHCHECK --interval=200ms --retries=1 CMD ["sh", "-c", "test ! -e /sick"]'
    docker_world.image = python_image(docker_world.client, (check,))
    order = msgspec.structs.replace(docker_world.order(command=()), args=())
    replica = await docker_world.start(order)
    for opinion in (True, False):

        async def has_opinion(expected: object = opinion) -> bool:
            return (await docker_world.seen(order)).healthy is expected

        await eventually(has_opinion)
        make_sick = ["sh", "-c", ": > /sick"]
        await docker_world.engine.io.run(replica, make_sick, timeout_seconds=PATIENCE)
    log = await docker_world.logged(replica, b"listening on 8080")
    assert log[0].stream == "stdout"


async def test_a_port_of_the_host_may_be_one_of_udp(docker_world: DockerWorld) -> None:
    order = udp_echo(docker_world.order(UDP_ECHO, command=("python3", "-c")))
    await docker_world.start(order)
    assert await udp_answer(order) == b"who?"


async def test_two_targets_on_one_daemon_do_not_see_each_others_replicas(
    daemon: DockerDaemon,
    docker_world: DockerWorld,
) -> None:
    elsewhere = engine_of(daemon.host, OURS, target="elsewhere")
    try:
        await docker_world.serve(docker_world.order())
        assert await elsewhere.replicas.list() == []
        assert await elsewhere.replicas.list(("shop", "web")) == []
        await elsewhere.grounds.clear("shop")
        assert len(await docker_world.engine.replicas.list()) == 1
    finally:
        await elsewhere.close()
