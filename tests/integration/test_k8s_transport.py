"""What is asked of a cluster, and what becomes of each of its refusals."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.k8s.cluster import Cluster
from adapters.k8s.errors import (
    ClusterUnavailable,
    Conflict,
    FieldConflict,
    Forbidden,
    KindMissing,
    NamespaceTerminating,
    NotFound,
    Rejected,
    Throttled,
)
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.patience import Patience
from adapters.k8s.transport import TRIES
from simulation import loop
from tests.contracts.kubernetes_place import config_map, deployment
from tests.support.kubernetes.access import Rule, User
from tests.support.kubernetes.definitions import HTTP_ROUTE
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.reaching import namespace, reached
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer

CONFIG_MAPS = BUILT_IN["v1", "ConfigMap"]
DEPLOYMENTS = BUILT_IN["apps/v1", "Deployment"]
ROUTES = ("gateway.networking.k8s.io/v1", "HTTPRoute")


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as server:
        namespace(server)
        yield server


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with reached(server, tmp_path) as cluster:
        yield cluster


def in_shop(body: Object, **metadata: Any) -> Object:
    return {**body, "metadata": {**body["metadata"], "namespace": "shop", **metadata}}


async def apply(cluster: Cluster, body: Object, manager: str = "stateward", **how: bool) -> Object:
    return (await cluster.apply(in_shop(body), manager=manager, **how)).body


# --- what is asked ----------------------------------------------------------------------------


async def test_applying_creates_then_changes_then_writes_nothing(
    server: KubernetesServer, cluster: Cluster
) -> None:
    first = await cluster.apply(in_shop(config_map("a", {"k": "1"})), manager="stateward")
    again = await cluster.apply(in_shop(config_map("a", {"k": "2"})), manager="stateward")
    same = await cluster.apply(in_shop(config_map("a", {"k": "2"})), manager="stateward")
    assert (first.created, again.created) == (True, False)
    assert again.body["data"] == {"k": "2"}
    assert same.body["metadata"]["resourceVersion"] == again.body["metadata"]["resourceVersion"]


async def test_a_dry_run_shows_what_would_be(cluster: Cluster) -> None:
    shown = await apply(cluster, deployment(), dry_run=True)
    assert shown["spec"]["revisionHistoryLimit"] == 10
    with pytest.raises(NotFound):
        await cluster.get(DEPLOYMENTS, "shop", "d")


async def test_only_the_object_of_a_uid_is_deleted(cluster: Cluster) -> None:
    uid = (await apply(cluster, config_map("a")))["metadata"]["uid"]
    with pytest.raises(Conflict, match="UID"):
        await cluster.delete(CONFIG_MAPS, "shop", "a", uid="another", propagation="Background")
    await cluster.delete(CONFIG_MAPS, "shop", "a", uid=uid, propagation="Background")
    with pytest.raises(NotFound):
        await cluster.delete(CONFIG_MAPS, "shop", "a", uid=uid, propagation="Background")


async def test_a_list_may_be_of_metadata_only(cluster: Cluster) -> None:
    await apply(cluster, config_map("a", {"k": "long"}))
    pages = [page async for page in cluster.pages(CONFIG_MAPS, metadata_only=True)]
    assert [b"long" in bytes(item) for page in pages for item in page.items] == [False]


async def test_a_kind_that_is_not_served_is_missing_until_it_is(
    server: KubernetesServer, cluster: Cluster
) -> None:
    with pytest.raises(KindMissing, match="serves no kind 'HTTPRoute'"):
        await cluster.kind(*ROUTES)
    server.inside.create("CustomResourceDefinition", "", HTTP_ROUTE)
    async with asyncio.timeout(60):
        while not server.kinds.of(*ROUTES):
            await server.store.changed()
    assert (await cluster.kind(*ROUTES)).plural == "httproutes"


# --- refusals ---------------------------------------------------------------------------------


async def test_fields_of_another_manager_are_named_with_it(cluster: Cluster) -> None:
    await apply(cluster, deployment(replicas=1), "autoscaler")
    with pytest.raises(Conflict) as caught:
        await apply(cluster, deployment(replicas=2), force=False)
    assert FieldConflict(".spec.replicas", "autoscaler") in caught.value.fields
    assert (await apply(cluster, deployment(replicas=2)))["spec"]["replicas"] == 2


async def test_what_does_not_fit_its_schema_is_rejected_for_good(cluster: Cluster) -> None:
    with pytest.raises(Rejected, match="trying again will not help") as caught:
        await apply(cluster, deployment(bogus=1))
    assert caught.value.code == 500


async def test_what_is_invalid_is_rejected_with_its_fields(cluster: Cluster) -> None:
    body = deployment()
    body["spec"]["template"]["spec"]["containers"][0]["name"] = "No_DNS"
    with pytest.raises(Rejected) as caught:
        await apply(cluster, body)
    assert "spec.template.spec.containers[0].name" in caught.value.fields


@pytest.mark.parametrize("missing", ["patch", "create"])
async def test_a_missing_verb_is_named(
    server: KubernetesServer, tmp_path: Path, missing: str
) -> None:
    granted = Rule(
        verbs=frozenset({"get", "patch", "create"} - {missing}),
        groups=frozenset({"apps"}),
        resources=frozenset({"deployments"}),
    )
    server.access.users["limited"] = User("limited", (granted,))
    async with reached(server, tmp_path, "limited") as cluster:
        with pytest.raises(Forbidden, match=f"may not {missing} deployments.apps") as caught:
            await apply(cluster, deployment())
    assert (caught.value.verb, caught.value.resource) == (missing, "deployments.apps")


async def test_a_terminating_namespace_is_waited_for(
    server: KubernetesServer, cluster: Cluster
) -> None:
    held = {"metadata": {"finalizers": ["test/hold"]}}
    server.inside.patch("Namespace", "", "shop", held)
    server.inside.delete("Namespace", "", "shop")
    with pytest.raises(NamespaceTerminating):
        await apply(cluster, config_map("a"))


# --- trouble ----------------------------------------------------------------------------------


async def test_a_throttled_request_is_repeated_when_the_cluster_says(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.throttle(times=3, retry_after=0)
    await apply(cluster, config_map("a"))
    assert [call.verb for call in server.calls] == ["patch"] * 4


async def test_a_throttled_request_is_not_repeated_earlier(
    server: KubernetesServer, cluster: Cluster
) -> None:
    clock = asyncio.get_running_loop().time
    server.faults.throttle(retry_after=1)
    began = clock()
    await apply(cluster, config_map("a"))
    assert clock() - began >= 1.0


async def test_a_long_pause_is_told_instead_of_waited_for(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.throttle(retry_after=50)
    with pytest.raises(Throttled) as caught:
        await apply(cluster, config_map("a"))
    assert caught.value.retry_after == 50
    assert len(server.calls) == 1


async def test_no_watch_begins_while_the_cluster_asked_for_a_pause(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.throttle(retry_after=50)
    for _ in range(2):  # what one of them is told, the other knows
        with pytest.raises(Throttled):
            async for _event in cluster.watch(CONFIG_MAPS, "1"):
                pass
    assert len(server.calls) == 1


async def test_a_cluster_that_only_throttles_is_left_alone(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.throttle(times=100, retry_after=0)
    with pytest.raises(Throttled):
        await apply(cluster, config_map("a"))
    assert len(server.calls) == TRIES


async def test_a_server_error_may_pass_and_is_not_repeated_here(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.add(Fault(code=500))
    with pytest.raises(ClusterUnavailable):
        await apply(cluster, config_map("a"))
    assert len(server.calls) == 1
    await apply(cluster, config_map("a"))


async def test_a_lost_answer_is_unavailable_and_may_have_been_carried_out(
    server: KubernetesServer, cluster: Cluster
) -> None:
    server.faults.add(Fault(code=-1, after_work=True))
    with pytest.raises(ClusterUnavailable):
        await apply(cluster, config_map("a"))
    assert (await cluster.get(CONFIG_MAPS, "shop", "a"))["data"] == {"a": "1"}


async def test_a_dead_server_is_unavailable_until_it_is_back(
    server: KubernetesServer, cluster: Cluster
) -> None:
    await apply(cluster, config_map("a"))
    await server.kill()
    with pytest.raises(ClusterUnavailable, match="could not get configmaps 'a'"):
        await cluster.get(CONFIG_MAPS, "shop", "a")
    await server.start()
    assert (await cluster.get(CONFIG_MAPS, "shop", "a"))["data"] == {"a": "1"}


# --- patience, on virtual time ----------------------------------------------------------------


def test_nothing_is_asked_during_a_pause() -> None:
    async def story() -> None:
        patience, clock = Patience(random.Random(1)), asyncio.get_running_loop().time
        patience.pause(4.0)
        async with patience:
            assert 4.0 <= clock() <= 5.0

    loop.run(story())


def test_one_clusters_pause_is_not_anothers() -> None:
    async def story() -> None:
        slow, other = Patience(random.Random(1)), Patience(random.Random(2))
        slow.pause(30.0)
        async with other:
            assert asyncio.get_running_loop().time() == 0.0

    loop.run(story())


def test_no_more_than_so_many_are_under_way() -> None:
    async def story() -> None:
        patience, under_way, most = Patience(random.Random(1), in_flight=3), 0, 0

        async def ask() -> None:
            nonlocal under_way, most
            async with patience:
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(1.0)
                under_way -= 1

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(ask())
        assert most == 3

    loop.run(story())
