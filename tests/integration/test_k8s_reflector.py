"""A copy of what a cluster has, listed once and then kept true by a watch."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.k8s.cluster import PAGE, Cluster
from adapters.k8s.held import Trimming
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.reflector import Reflector
from tests.contracts.kubernetes_place import deployment
from tests.support.kubernetes.following import change, following, make, remove, watches
from tests.support.kubernetes.reaching import namespace, reached
from tests.support.kubernetes.server import KubernetesServer
from tests.support.kubernetes.store import Place

CONFIG_MAPS = BUILT_IN["v1", "ConfigMap"]
SECRETS = BUILT_IN["v1", "Secret"]
DEPLOYMENTS = BUILT_IN["apps/v1", "Deployment"]


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as server:
        namespace(server)
        server.calls.clear()
        yield server


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with reached(server, tmp_path) as cluster:
        yield cluster


# --- following --------------------------------------------------------------------------------


async def test_it_lists_in_pages_then_follows(server: KubernetesServer, cluster: Cluster) -> None:
    make(server, *(f"n{number:04d}" for number in range(PAGE + 7)))
    async with following(cluster, CONFIG_MAPS) as followed:
        assert len(followed.names) == PAGE + 7
        await followed.until(lambda: watches(server))
        make(server, "web")
        change(server, "web")
        remove(server, "web")
        await followed.until(lambda: followed.told("web") == ["new", "changed", "gone"])
    assert [call.verb for call in server.calls] == ["list", "list", "watch"]


async def test_only_what_is_selected_is_followed(
    server: KubernetesServer, cluster: Cluster
) -> None:
    make(server, "ours", owner="us")
    make(server, "other")
    async with following(cluster, CONFIG_MAPS, selector="owner=us") as followed:
        assert followed.names == ["ours"]
        await followed.until(lambda: watches(server))
        relabelled = {"metadata": {"labels": {"owner": "them"}}}
        server.inside.patch("ConfigMap", "shop", "ours", relabelled)
        await followed.until(lambda: followed.told("ours") == ["new", "gone"])


async def test_managed_fields_are_dropped(server: KubernetesServer, cluster: Cluster) -> None:
    make(server, "web")
    async with following(cluster, CONFIG_MAPS) as followed:
        assert "managedFields" not in followed.reflector.objects["shop", "web"].body["metadata"]


async def test_what_others_own_may_be_kept(server: KubernetesServer, cluster: Cluster) -> None:
    server.workloads.paused = True
    body = deployment()
    body["metadata"]["namespace"] = "shop"
    await cluster.apply(body, manager="stateward")
    server.inside.patch("Deployment", "shop", "d", {"metadata": {"annotations": {"by": "hand"}}})
    server.inside.patch_status("Deployment", "shop", "d", {"observedGeneration": 1})
    trimming = Trimming(ours=frozenset({"stateward"}))
    async with following(cluster, DEPLOYMENTS, trimming=trimming) as followed:
        metadata = followed.reflector.objects["shop", "d"].body["metadata"]
    kept = [(one["manager"], sorted(one["fieldsV1"])) for one in metadata["managedFields"]]
    assert kept == [("kube-controller-manager", ["f:metadata"])]


async def test_values_of_secrets_are_not_kept(server: KubernetesServer, cluster: Cluster) -> None:
    body = {"metadata": {"name": "token"}, "data": {"password": "c2VjcmV0"}}
    server.inside.create("Secret", "shop", body)
    trimming = Trimming(without=frozenset({"data"}))
    async with following(cluster, SECRETS, trimming=trimming) as followed:
        held = followed.reflector.objects["shop", "token"]
    assert held.body["type"] == "Opaque"
    assert b"c2VjcmV0" not in held.encoded


async def test_others_have_a_turn_while_a_long_list_is_taken_in(
    server: KubernetesServer, cluster: Cluster
) -> None:
    """5,000 objects of 3 KB are taken in by slices of 256 KB, and no more without a pause."""
    filler = "x" * 3000
    for number in range(5000):
        name = f"n{number:05d}"
        metadata = {"name": name, "namespace": "shop", "uid": str(number)}
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"k": filler},
        }
        server.store.put(Place("", "configmaps", "shop", name), body)
    turns = 0
    at_turn: list[int] = []

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    followed = Reflector(
        cluster, CONFIG_MAPS, random.Random(3), changed=lambda _: at_turn.append(turns)
    )
    counting, running = asyncio.create_task(count()), asyncio.create_task(followed.run())
    async with asyncio.timeout(60):
        await followed.synced()
    for task in (counting, running):
        task.cancel()
    assert len(at_turn) == 5000
    longest = max(at_turn.count(turn) for turn in set(at_turn))
    assert longest * len(filler) < 512 * 1024
