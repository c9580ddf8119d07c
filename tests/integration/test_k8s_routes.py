"""An API server takes the routes that are rendered, and says when it has not the kind of one."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.k8s.cluster import Cluster
from adapters.k8s.errors import KindMissing
from adapters.k8s.render.manifests import sent
from tests.support.k8s_orders import RENDERER
from tests.support.k8s_routes import WAYS, rendered
from tests.support.kubernetes.definitions import HTTP_ROUTE, TRAEFIK
from tests.support.kubernetes.reaching import namespace, reached
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer

DEFINITIONS: dict[str, tuple[Object, ...]] = {
    "gateway": (HTTP_ROUTE,),
    "traefik": TRAEFIK,
    "ingress": (),
}


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as server:
        namespace(server, RENDERER.owner("shop", "web", 17).namespace)
        yield server


@pytest.fixture
async def cluster(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with reached(server, tmp_path) as cluster:
        yield cluster


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_takes_all_routes_and_the_same_again_changes_nothing(
    server: KubernetesServer, cluster: Cluster, way: str
) -> None:
    manifests = rendered(way).manifests
    for definition in DEFINITIONS[way]:
        server.inside.create("CustomResourceDefinition", "", definition)
    async with asyncio.timeout(60):
        while not all(server.kinds.of(one.key.api_version, one.key.kind) for one in manifests):
            await server.store.changed()
    for one in manifests:
        first = (await cluster.apply(sent(one, 42), manager="stateward")).body
        again = (await cluster.apply(sent(one, 42), manager="stateward")).body
        assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@pytest.mark.parametrize("way", ["gateway", "traefik"])
async def test_a_cluster_without_the_kind_says_so(cluster: Cluster, way: str) -> None:
    first = next(one for one in rendered(way).manifests if one.key.kind != "Secret")
    with pytest.raises(KindMissing, match=f"serves no kind {first.key.kind!r}"):
        await cluster.apply(sent(first, 42), manager="stateward")
