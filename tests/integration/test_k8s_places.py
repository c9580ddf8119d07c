"""A target that gets another cluster, or another way to the same one."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import override

import pytest

from adapters.k8s.access import Kubeconfig
from adapters.k8s.engine import Identity, open_engine
from domain import intents as i
from domain.names import app
from domain.target import K8sSettings, TargetSpec
from reconcilers.targets import OpenedEngine
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import NAMESPACE, ClusterHouse
from tests.support.intents import manifest
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import ADMIN_TOKEN, KubernetesServer

WEB = app("shop", "web")


class TwoWays(ClusterHouse):
    """A house whose kubeconfigs lead where they say."""

    @override
    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        if spec.engine != "k8s" or spec.k8s is None or spec.k8s.kubeconfig == "/config":
            return await super()._open(name, spec)
        who = Identity(self.installation, name, "stateward/test")
        access = Kubeconfig(path=Path(spec.k8s.kubeconfig or ""))
        engine = await open_engine(access, K8sSettings(), who, rng=random.Random(5), now=time.time)
        return OpenedEngine(engine.ports, engine.close, engine.objects)

    def target(self, name: str) -> str | None:
        """Where an app should run, as far as the worker has read."""
        found = self.desired.app(f"App/shop/{name}")
        return found.target if found is not None else None

    async def lead(self, way: Path) -> None:
        """The target `prod` leads elsewhere from now on."""
        settings = {"engine": "k8s", "k8s": {"kubeconfig": str(way)}}
        await self.send(manifest("Target", "prod", settings))


@asynccontextmanager
async def two_ways(folder: Path) -> AsyncIterator[TwoWays]:
    async with KubernetesServer() as server:
        house = TwoWays(server, folder, token=ADMIN_TOKEN)
        try:
            async with house.working():
                await house.furnish()
                yield house
        finally:
            await house.parts.targets.close()


@pytest.mark.parametrize(("stopped", "refused"), [(False, 0), (True, 0), (True, 3)])
async def test_what_is_left_where_a_target_led_is_taken_away_when_that_answers(
    tmp_path: Path, stopped: bool, refused: int
) -> None:
    """Its namespace as well, however often that is `refused` at first."""
    async with two_ways(tmp_path) as house, KubernetesServer() as other:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        if stopped:  # then there is no pod, only objects
            await house.send(i.Stop(ref=WEB))
            await house.until(lambda: not house.all("Pod"))
        await house.server.kill()
        await house.send(manifest("App", "web", spec(target="local", running=True)))
        await house.until(lambda: len(house.running()) == 2)
        await house.lead(kubeconfig(tmp_path / "other", other.url))
        await house.tick()
        assert house.found("Deployment")
        house.server.faults.add(Fault(code=500, times=refused, verb="delete", plural="namespaces"))
        await house.server.start()
        await house.until(lambda: not house.found("Deployment"))
        await house.until(lambda: house.server.inside.get("Namespace", "", NAMESPACE) is None)


async def test_another_way_to_the_same_cluster_takes_nothing_away_that_runs(
    tmp_path: Path,
) -> None:
    async with two_ways(tmp_path) as house:
        await house.send(manifest("App", "web", spec()))
        await house.send(manifest("App", "api", spec("api:1")))
        await house.ready()
        await house.ready("api")
        before = {one["metadata"]["uid"] for one in house.all("Deployment")}
        await house.server.kill()
        for name in ("web", "api"):
            await house.send(manifest("App", name, spec(target="local")))
        await house.until(lambda: len(house.running("web")) == len(house.running("api")) == 2)
        await house.lead(kubeconfig(tmp_path / "again", house.server.url))
        for name, image in (("web", "web:1"), ("api", "api:1")):
            await house.send(manifest("App", name, spec(image, target="prod")))
        await house.until(lambda: {house.target("web"), house.target("api")} == {"prod"})
        await house.server.start()
        await house.until(lambda: not house.running("web") and not house.running("api"))
        await house.rest()
        assert {one["metadata"]["uid"] for one in house.all("Deployment")} == before
