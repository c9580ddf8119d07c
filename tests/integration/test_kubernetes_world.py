"""The scripted world behind the Kubernetes API server of the tests: it acts as a cluster would.

Tests of the adapter build on this, so what they see must be what a real cluster shows.
"""

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.contracts.kubernetes_place import deployment
from tests.support.kubernetes.client import KubernetesClient
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.pods import PROTOCOLS, Container, Session
from tests.support.kubernetes.reaching import namespace
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer
from tests.support.kubernetes.world import PODS, SHOP, WEB, World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with KubernetesServer() as server:
        namespace(server)
        client = KubernetesClient(server.url, ADMIN_TOKEN)
        try:
            yield World(server, client)
        finally:
            await client.close()


# --- rollouts ---------------------------------------------------------------------------------


async def test_a_deployment_becomes_ready_pods(world: World) -> None:
    await world.apply()
    await world.ready()
    assert {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"web:1"}
    deployed = world.server.inside.get("Deployment", "shop", "web")
    assert deployed is not None
    assert world.status()["observedGeneration"] == deployed["metadata"]["generation"] == 1


async def test_one_new_pod_is_tried_and_old_ones_stay_until_it_is_ready(world: World) -> None:
    await world.apply("web:1")
    await world.ready()
    world.server.workloads.let("web:2", Fate.WAITS)
    await world.apply("web:2")
    await world.until(lambda: world.status().get("updatedReplicas") == 1)
    await world.until(lambda: world.status().get("unavailableReplicas") == 1)
    assert world.status()["replicas"] == 3  # a quarter of two more than wanted, rounded up
    assert world.status()["readyReplicas"] == 2  # the old ones
    world.server.workloads.let("web:2", Fate.RUNS)
    await world.ready()
    await world.until(
        lambda: {pod["spec"]["containers"][0]["image"] for pod in world.pods()} == {"web:2"}
    )


async def test_a_change_of_hands_is_kept_in_revisions(world: World) -> None:
    for image in ("web:1", "web:2"):
        await world.apply(image)
        await world.ready()
    key = "deployment.kubernetes.io/revision"
    sets = world.server.inside.all("ReplicaSet", "shop")
    revisions = {one["metadata"]["annotations"][key]: one["spec"]["replicas"] for one in sets}
    assert revisions == {"1": 0, "2": 2}


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        (Fate.PULL_FAILS, "ImagePullBackOff"),
        (Fate.CRASHES, "CrashLoopBackOff"),
        (Fate.OUT_OF_MEMORY, "CrashLoopBackOff"),
        (Fate.CONFIG_MISSING, "CreateContainerConfigError"),
    ],
)
async def test_pods_fare_as_their_image_is_fated(world: World, fate: Fate, reason: str) -> None:
    world.server.workloads.let("web:1", fate)
    await world.apply()
    await world.until(lambda: world.states() == {reason})
    assert world.condition("Available")[0] == "False"
    await world.until(lambda: world.server.inside.all("Event", "shop"))


async def test_a_pod_killed_for_its_memory_says_so(world: World) -> None:
    world.server.workloads.let("web:1", Fate.OUT_OF_MEMORY)
    await world.apply()
    await world.until(lambda: world.states() == {"CrashLoopBackOff"})
    (state,) = world.pods()[0]["status"]["containerStatuses"]
    assert state["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert state["lastState"]["terminated"]["exitCode"] == 137


async def test_a_pod_without_a_node_is_unschedulable(world: World) -> None:
    world.server.workloads.let("web:1", Fate.UNSCHEDULABLE)
    await world.apply()
    await world.until(
        lambda: (
            len(world.pods()) == 2 and all("conditions" in pod["status"] for pod in world.pods())
        )
    )
    (condition,) = world.pods()[0]["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("PodScheduled", "Unschedulable")


@pytest.mark.parametrize(
    "fate", [Fate.QUOTA_EXCEEDED, Fate.POD_SECURITY], ids=lambda fate: fate.name
)
async def test_pods_that_are_forbidden_fail_their_deployment(world: World, fate: Fate) -> None:
    world.server.workloads.let("web:1", fate)
    await world.apply()
    await world.until(lambda: world.condition("ReplicaFailure") == ("True", "FailedCreate"))
    assert world.pods() == []


async def test_a_deadline_passes_when_a_test_says_so(world: World) -> None:
    world.server.workloads.let("web:1", Fate.PULL_FAILS)
    await world.apply()
    await world.until(lambda: world.condition("Progressing")[0] == "True")
    world.server.workloads.pass_deadline("shop", "web")
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")


async def test_a_stateful_set_is_ordered_and_keeps_its_claims(world: World) -> None:
    body = deployment("db", replicas=2, serviceName="db")
    body["kind"] = "StatefulSet"
    body["spec"]["volumeClaimTemplates"] = [
        {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
    ]
    path = f"{SHOP}/statefulsets/db"
    assert (await world.client.apply(path, body, "stateward")).code == 201
    await world.until(lambda: [pod["metadata"]["name"] for pod in world.pods()] == ["db-0", "db-1"])
    await world.client.delete(path)
    await world.until(lambda: world.pods() == [])
    claims = world.server.inside.all("PersistentVolumeClaim", "shop")
    assert [claim["metadata"]["name"] for claim in claims] == ["data-db-0", "data-db-1"]


# --- ends -------------------------------------------------------------------------------------


async def test_what_a_deployment_owns_goes_with_it(world: World) -> None:
    await world.apply()
    await world.ready()
    await world.client.delete(WEB, {"propagationPolicy": "Background"})
    await world.until(lambda: world.pods() == [])
    assert world.server.inside.all("ReplicaSet", "shop") == []


async def test_a_foreground_deletion_ends_with_the_last_pod(world: World) -> None:
    await world.apply()
    await world.ready()
    answer = await world.client.delete(WEB, {"propagationPolicy": "Foreground"})
    assert answer.metadata["deletionTimestamp"]
    await world.until(lambda: world.server.inside.get("Deployment", "shop", "web") is None)
    assert world.pods() == []


async def test_orphans_stay_without_an_owner(world: World) -> None:
    await world.apply()
    await world.ready()
    await world.client.delete(WEB, {"propagationPolicy": "Orphan"})
    await world.until(lambda: world.server.inside.get("Deployment", "shop", "web") is None)
    (orphan,) = world.server.inside.all("ReplicaSet", "shop")
    assert "ownerReferences" not in orphan["metadata"]
    assert len(world.pods()) == 2


async def test_a_namespace_goes_with_all_that_is_in_it(world: World) -> None:
    await world.apply()
    await world.ready()
    await world.client.delete("/api/v1/namespaces/shop")
    await world.until(lambda: world.server.inside.get("Namespace", "", "shop") is None)
    assert list(world.server.store.inside("shop")) == []


# --- logs and commands ------------------------------------------------------------------------


async def pod_of(world: World) -> Container:
    await world.apply()
    await world.ready()
    return Container("shop", world.pods()[0]["metadata"]["name"], "c")


def log_of(place: Container) -> str:
    return f"{PODS}/{place.pod}/log"


async def test_a_log_is_told_by_lines_and_runs(world: World) -> None:
    place = await pod_of(world)
    for number in range(3):
        world.server.pods.say(place, f"line {number}", f"2026-01-01T00:00:0{number}Z")
    world.server.pods.restart(place)
    world.server.pods.say(place, "anew", "2026-01-01T00:00:09Z")
    path = log_of(place)
    told = {
        "all": (await world.client.get(path)).body["text"],
        "stamped": (await world.client.get(path, timestamps="true")).body["text"],
        "previous": (await world.client.get(path, previous="true", tailLines=1)).body["text"],
    }
    assert told == {
        "all": "anew\n",
        "stamped": "2026-01-01T00:00:09Z anew\n",
        "previous": "line 2\n",
    }


async def test_a_followed_log_goes_on_until_its_container_ends(world: World) -> None:
    place = await pod_of(world)
    world.server.pods.say(place, "before", "2026-01-01T00:00:00Z")
    async with world.client.session.get(log_of(place), params={"follow": "true"}) as response:
        assert await response.content.readline() == b"before\n"
        world.server.pods.say(place, "after", "2026-01-01T00:00:01Z")
        assert await response.content.readline() == b"after\n"
        world.server.pods.end(place)
        assert await response.content.read() == b""


async def test_a_container_that_waits_has_no_log(world: World) -> None:
    world.server.workloads.let("web:1", Fate.PULL_FAILS)
    await world.apply()
    await world.until(lambda: world.states() == {"ImagePullBackOff"})
    pod = world.pods()[0]["metadata"]["name"]
    answer = await world.client.get(f"{PODS}/{pod}/log")
    assert answer.code == 400
    assert "ImagePullBackOff" in answer.message


async def test_a_command_has_streams_of_its_own_and_an_exit_code(world: World) -> None:
    async def greet(session: Session) -> int:
        sent = await session.input.get()
        columns, _ = await session.sizes.get()
        assert sent is not None
        await session.out(b"hello " + sent)
        await session.err(b"%d columns" % columns)
        return 7

    world.server.pods.commands["greet"] = greet
    place = await pod_of(world)
    asked = {"command": "greet", "stdin": "true", "stdout": "true", "stderr": "true"}
    told: dict[int, bytes] = {}
    async with world.client.session.ws_connect(
        f"{PODS}/{place.pod}/exec", params=asked, protocols=PROTOCOLS
    ) as socket:
        assert socket.protocol == PROTOCOLS[0]
        await socket.send_bytes(b"\x00you")
        await socket.send_bytes(b"\x04" + json.dumps({"Width": 80, "Height": 24}).encode())
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.BINARY
            told[message.data[0]] = message.data[1:]
    assert (told[1], told[2]) == (b"hello you", b"80 columns")
    status = json.loads(told[3])
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]


async def test_a_program_that_is_not_there_is_named(world: World) -> None:
    place = await pod_of(world)
    async with world.client.session.ws_connect(
        f"{PODS}/{place.pod}/exec", params={"command": "nope"}, protocols=PROTOCOLS
    ) as socket:
        message = await socket.receive()
    assert message.data[0] == 3
    assert "executable file not found" in json.loads(message.data[1:])["message"]
