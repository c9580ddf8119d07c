"""Engines: from a target's spec to its adapter. The only place that knows all of them."""

import asyncio
import random
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, final

from adapters.docker.engine import docker_answers, docker_engine
from adapters.process.engine import ProcessEngine
from domain.target import DockerSettings, K8sSettings, TargetSpec
from reconcilers.ports import EngineUnavailable
from reconcilers.targets import EngineOpener, OpenedEngine
from simulation.engine import simulated_engine
from simulation.machine import Machine
from simulation.shared import Way, shared_engine
from stateward.collecting import imported
from stateward.environment import Environment


class Choice(NamedTuple):
    """What the target `local` is made of, and why."""

    spec: TargetSpec
    reason: str


async def choose(default: str, docker_host: str | None) -> Choice:
    """Decide what `local` is at the first start: `auto` is Docker if a daemon answers."""
    settings = DockerSettings(host=docker_host) if docker_host else DockerSettings()
    if default == "auto":
        trouble = await asyncio.to_thread(docker_answers, settings.host)
        if trouble is None:
            spec = TargetSpec(engine="docker", docker=settings)
            return Choice(spec, f"a Docker daemon answers at {settings.host}")
        return Choice(TargetSpec(engine="process"), trouble)
    if default == "docker":
        return Choice(TargetSpec(engine="docker", docker=settings), "the settings say docker")
    if default == "k8s":
        return Choice(TargetSpec(engine="k8s"), "the settings say k8s: the cluster around this pod")
    if default == "process":
        return Choice(TargetSpec(engine="process"), "the settings say process")
    return Choice(TargetSpec(engine="simulated"), "the settings say simulated")


@final
class Opener(EngineOpener):
    """Opens engines for one installation."""

    def __init__(
        self,
        directory: Path,
        installation: str,
        *,
        now: Callable[[], float],
        rng: random.Random,
        environment: Environment,
    ) -> None:
        self._environment = environment
        self._directory, self._installation = directory, installation
        self._now, self._rng = now, rng
        self._machines: dict[str, Machine] = {}

    async def __call__(self, name: str, spec: TargetSpec) -> OpenedEngine:
        match spec.engine:
            case "docker":
                return await self._docker(name, spec.docker or DockerSettings())
            case "process":
                folder = self._directory if name == "local" else self._directory / "targets" / name
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                engine = ProcessEngine(folder, self._installation)
                return OpenedEngine(engine.ports, engine.close)
            case "k8s":
                return await self._kubernetes(name, spec)
            case "simulated" if spec.simulated is not None:
                way = Way(spec.simulated.host.removeprefix("unix://"), self._installation)
                return OpenedEngine(shared_engine(way), way.close)
            case "simulated":
                machine = self._machines.setdefault(name, Machine(self._now))
                return OpenedEngine(simulated_engine(machine, self._installation), _nothing)

    async def _docker(self, name: str, settings: DockerSettings) -> OpenedEngine:
        trouble = await asyncio.to_thread(docker_answers, settings.host)
        if trouble is not None:
            raise EngineUnavailable(trouble)
        engine = docker_engine(
            settings.host,
            self._installation,
            target=name,
            parallel_starts=settings.parallel_starts,
            now=self._now,
            rng=self._rng,
        )
        return OpenedEngine(engine, engine.close)

    async def _kubernetes(self, name: str, spec: TargetSpec) -> OpenedEngine:
        settings = spec.k8s or K8sSettings()
        # the SDK takes seconds to import, and most installations have no cluster
        k8s = await imported("adapters.k8s.engine")
        access = await imported("adapters.k8s.access")
        if settings.kubeconfig is None:
            around = self._environment
            way = access.InCluster(environment=around.variables, folder=around.service_account)
        else:
            way = access.Kubeconfig(
                path=Path(settings.kubeconfig),
                context=settings.context,
                allow_programs=settings.allow_exec,
            )
        agent = f"stateward/{version('stateward')}"
        who = k8s.Identity(self._installation, name, agent)
        images = None
        if settings.resolve_images:
            registry = await imported("adapters.registry.images")
            images = registry.RegistryImages(user_agent=agent)
        engine = await k8s.open_engine(
            way,
            settings,
            who,
            rng=self._rng,
            now=self._now,
            images=images,
            routing=spec.routing,
        )

        async def close() -> None:
            await engine.close()
            if images is not None:
                await images.close()

        return OpenedEngine(engine.ports, close, engine.objects)


async def _nothing() -> None:
    return
