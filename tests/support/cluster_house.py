"""A whole control plane in one process whose target `prod` is a cluster: the test server's.

Real time passes here; the log, the secrets and the target `local` are simulated as in any house.
"""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, override

from adapters.k8s.access import Access, Kubeconfig
from adapters.k8s.engine import Identity, open_engine
from domain.target import K8sSettings, TargetSpec
from reconcilers.passing import WorkerSettings
from reconcilers.ports import Images
from reconcilers.targets import OpenedEngine
from tests.support.deployment import account
from tests.support.house import House
from tests.support.intents import manifest
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import KubernetesServer

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
NAMESPACE = "stw-shop"
TOKEN = "account-token"  # of who may do what the ClusterRoles that ship allow


class HouseOnCluster(House):
    """A house whose targets of engine `k8s` are the cluster at an address.

    `images` says what tags name there; without it, they stay tags.
    """

    def __init__(
        self, url: str, folder: Path, *, token: str, images: Images | None = None, **how: Any
    ) -> None:
        super().__init__(**how)
        self.images = images
        self.config = kubeconfig(folder / f"{token}.json", url, {"token": token})

    def access(self, settings: K8sSettings) -> Access:
        return Kubeconfig(path=self.config, context=settings.context)

    @override
    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        if spec.engine != "k8s":
            return await super()._open(name, spec)
        settings = spec.k8s or K8sSettings()
        who = Identity(self.installation, name, "stateward/test")
        engine = await open_engine(
            self.access(settings),
            settings,
            who,
            rng=random.Random(5),
            now=time.time,
            images=self.images,
            routing=spec.routing,
        )
        return OpenedEngine(engine.ports, engine.close, engine.objects)


class ClusterHouse(HouseOnCluster):
    """Every `ticks` seconds everything is looked at, whether or not there was news of it."""

    def __init__(
        self,
        server: KubernetesServer,
        folder: Path,
        *,
        token: str = TOKEN,
        ticks: float = 1.0,
        **how: Any,
    ) -> None:
        settings = WorkerSettings(passes=4, replay_interval=ticks, tail_interval=ticks / 2)
        super().__init__(server.url, folder, token=token, settings=settings, **how)
        self.server = server

    @override
    async def furnish(self) -> None:
        await self.send(
            manifest("Target", "local", {"engine": "simulated"}),
            manifest("Target", "prod", {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}),
            manifest("Project", "shop", {"target": "prod"}),
        )

    def found(self, kind: str, name: str = "web") -> Object | None:
        return self.server.inside.get(kind, NAMESPACE, name)

    def all(self, kind: str) -> list[Object]:
        return self.server.inside.all(kind, NAMESPACE)

    @property
    def written(self) -> int:
        """How many requests have changed, or could have changed, anything."""
        return sum(1 for call in self.server.calls if call.verb in WRITES)

    def reason(self, kind: str, app: str = "web") -> tuple[str, str]:
        status = self.of(app)
        condition = status.condition(kind) if status is not None else None
        return (condition.status, condition.reason) if condition is not None else ("", "")

    @override
    async def until(self, holds: Callable[[], object], within: float = 60.0) -> float:
        return await super().until(holds, within)

    async def rest(self) -> None:
        """Wait until ticks find nothing to do."""
        before = -1
        while before != self.written:
            before = self.written
            await self.tick()

    async def tick(self) -> None:
        """Wait until everything was asked for once more."""
        began = self.worker.progress["replay"]
        await self.until(lambda: self.worker.progress["replay"] > began)


@asynccontextmanager
async def cluster_house(folder: Path, **how: Any) -> AsyncIterator[ClusterHouse]:
    """A furnished house whose worker runs, beside a cluster of its own."""
    async with KubernetesServer() as server:
        server.access.users[TOKEN] = account()
        house = ClusterHouse(server, folder, **how)
        try:
            async with house.working():
                await house.furnish()
                yield house
        finally:
            await house.parts.targets.close()
