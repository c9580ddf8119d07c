"""One pod of one app on the double of a cluster, and the engine that sees it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from adapters.k8s.access import Kubeconfig
from adapters.k8s.engine import Identity, KubernetesEngine, open_engine
from domain.target import K8sSettings
from reconcilers.object_labels import APP, INSTALLATION, PROJECT, REVISION, TARGET, UID
from reconcilers.ports import Replica
from tests.support.kubernetes.pods import Container
from tests.support.kubernetes.server import KubernetesServer

NAMESPACE = "stw-shop"
OWNED = {INSTALLATION: "11111111-aaaa", TARGET: "prod", PROJECT: "shop", APP: "web"}
LABELS = {**OWNED, UID: "7", REVISION: "1", "stateward/run": "web"}
THERE = Container(NAMESPACE, "web", "main")


def deploy(server: KubernetesServer) -> None:
    """One pod of one app, as a controller would make it."""
    server.inside.create("Namespace", "", {"metadata": {"name": NAMESPACE}})
    containers = [{"name": "main", "image": "web:1"}]
    pod = {"metadata": {"name": "web", "labels": LABELS}, "spec": {"containers": containers}}
    server.inside.create("Pod", NAMESPACE, pod)


@asynccontextmanager
async def engine(config: Path) -> AsyncIterator[KubernetesEngine]:
    who = Identity("11111111-aaaa", "prod", "stateward/test")
    opened = await open_engine(
        Kubeconfig(path=config), K8sSettings(), who, rng=random.Random(3), now=time.time
    )
    try:
        yield opened
    finally:
        await opened.close()


async def replica(opened: KubernetesEngine, *, previous: bool = False) -> Replica:
    """The app's pod, or what it was before, as soon as the copy shows it."""
    while True:
        found = await opened.ports.replicas.list(("shop", "web"))
        for one in found:
            if ("#" in one.id) is previous and (previous or one.reason or one.started_at):
                return one
        await asyncio.sleep(0.02)
