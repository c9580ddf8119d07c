"""Ways to the test server as Stateward has them: a kubeconfig, and a cluster opened by it."""

import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from adapters.k8s.access import Access, Kubeconfig, open_way
from adapters.k8s.cluster import Cluster
from adapters.k8s.patience import Patience
from adapters.k8s.transport import Transport
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer
from tests.support.requirements import kubeconfig_of_tests, require


def kubeconfig(
    path: Path, url: str, user: Object | None = None, *, cluster: Object | None = None
) -> Path:
    """Write a kubeconfig of one context, `here`."""
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "double", "user": "tester"}}],
        "clusters": [{"name": "double", "cluster": {"server": url, **(cluster or {})}}],
        "users": [{"name": "tester", "user": user or {"token": ADMIN_TOKEN}}],
    }
    path.write_text(json.dumps(written))
    return path


@asynccontextmanager
async def opened(access: Access) -> AsyncIterator[Cluster]:
    """A cluster that is asked for any kind, also those that Stateward itself has no use for."""
    rng = random.Random(7)
    transport = Transport(
        access,
        Patience(rng),
        user_agent="stateward/test",
        now=time.time,
        permit=lambda _asked: None,
    )
    try:
        yield Cluster(transport, rng)
    finally:
        await transport.close()


@asynccontextmanager
async def reached(
    server: KubernetesServer, folder: Path, token: str = ADMIN_TOKEN
) -> AsyncIterator[Cluster]:
    """A cluster that is the test server, as the user with that token."""
    path = kubeconfig(folder / f"{token}.json", server.url, {"token": token})
    async with opened(Kubeconfig(path=path)) as cluster:
        yield cluster


class RealCluster(NamedTuple):
    """The cluster that was named to try things on, and what it takes to ask it by other means."""

    access: Kubeconfig
    url: str
    token: str
    tls: ssl.SSLContext | None


@asynccontextmanager
async def real_cluster() -> AsyncIterator[RealCluster]:
    """The cluster of STATEWARD_TEST_KUBECONFIG; without one, the test is skipped."""
    require("kubernetes")
    path = kubeconfig_of_tests()
    assert path is not None, "the requirement says that there is one"
    access = Kubeconfig(path=path, allow_programs=True)
    way = await open_way(access, user_agent="stateward-tests")
    token = str(way.api.configuration.api_key.get("BearerToken", "")).removeprefix("Bearer ")
    tls = way.api.rest_client.ssl_context if way.host.startswith("https") else None
    try:
        yield RealCluster(access, way.host, token, tls)
    finally:
        await way.close()


def namespace(server: KubernetesServer, name: str = "shop") -> None:
    server.inside.create("Namespace", "", {"metadata": {"name": name}})
