"""Ways to the test server as Stateward has them: a kubeconfig, and a cluster opened by it."""

import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.k8s.access import Access, Kubeconfig
from adapters.k8s.cluster import Cluster
from adapters.k8s.patience import Patience
from adapters.k8s.transport import Transport
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer


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


def namespace(server: KubernetesServer, name: str = "shop") -> None:
    server.inside.create("Namespace", "", {"metadata": {"name": name}})
