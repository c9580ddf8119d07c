"""The copy of a cluster by owner: what is decoded once is as the cluster has it all the same."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

from adapters.k8s.access import Kubeconfig
from adapters.k8s.engine import Identity, open_engine
from domain.target import K8sSettings
from reconcilers.object_labels import APP, INSTALLATION, PROJECT, TARGET
from reconcilers.object_ports import ObjectEngine
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer

OWNER = ("shop", "web")
LABELS = {INSTALLATION: "11111111-aaaa", TARGET: "prod", PROJECT: "shop", APP: "web"}
PATIENCE = 60.0  # seconds


async def until_listed(engine: ObjectEngine, kinds: Sequence[str]) -> None:
    async with asyncio.timeout(PATIENCE):
        while [one["kind"] for one in await engine.list(OWNER)] != kinds:
            await asyncio.sleep(0.01)


async def test_what_is_told_of_an_object_is_listed_with_it_until_that_has_expired(
    tmp_path: Path,
) -> None:
    async with KubernetesServer() as server:
        inside = server.inside
        inside.create("Namespace", "", {"metadata": {"name": "stw-shop"}})
        web = {"metadata": {"name": "web", "labels": LABELS}}
        about = inside.create("ConfigMap", "stw-shop", web)
        access = Kubeconfig(path=kubeconfig(tmp_path / "config", server.url))
        who = Identity(LABELS[INSTALLATION], "prod", "stateward/test")
        opened = await open_engine(access, K8sSettings(), who, rng=random.Random(3), now=time.time)
        try:
            engine = opened.objects.engine
            await until_listed(engine, ["ConfigMap"])
            assert await engine.list(OWNER) is await engine.list(OWNER)
            inside.event(about, "Odd", "something is odd")
            await until_listed(engine, ["ConfigMap", "Event"])
            inside.delete("Event", "stw-shop", "web.odd")
            await until_listed(engine, ["ConfigMap"])
            inside.delete("ConfigMap", "stw-shop", "web")
            await until_listed(engine, [])
        finally:
            await opened.close()
