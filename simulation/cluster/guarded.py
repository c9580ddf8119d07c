"""A simulated cluster as one life of a control plane reaches it: only while it lives."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import final, override

from domain.target import K8sSettings
from reconcilers.object_ports import (
    MANAGER,
    Applied,
    ForeignObjects,
    Json,
    Manifest,
    ObjectEngine,
    ObjectEvent,
    ObjectKey,
    Propagation,
)
from reconcilers.object_removal import ObjectGrounds
from reconcilers.ports import EngineError
from simulation.cluster.cluster import Cluster
from simulation.cluster.engine import ClusterEngine, cluster_engine
from simulation.guarded import GuardedEvents, GuardedIO, GuardedReplicas, Road, Sent
from simulation.lives import Life
from simulation.looking import SimulatedIO


def guarded_cluster(
    cluster: Cluster, installation: str, settings: K8sSettings, life: Life, sent: Sent
) -> ClusterEngine:
    """The engine of a target that is a cluster, for one life."""
    road = Road(life, cluster.name, sent)
    inner = cluster_engine(cluster, installation, settings, is_alive=lambda: life.is_alive)
    objects = inner.objects._replace(
        engine=GuardedObjects(inner.objects.engine, road),
        foreign=GuardedForeign(inner.objects.foreign, life),
    )
    ports = inner.ports._replace(
        replicas=GuardedReplicas(inner.ports.replicas, road),
        grounds=ObjectGrounds(objects),
        events=GuardedEvents(inner.ports.events, road),
        io=GuardedIO(SimulatedIO(cluster.machine, installation), life),
    )
    return inner._replace(ports=ports, objects=objects)


@final
class GuardedObjects(ObjectEngine):
    def __init__(self, inner: ObjectEngine, road: Road) -> None:
        self._inner, self._road = inner, road

    @override
    async def apply(
        self,
        manifest: Manifest,
        *,
        owner: tuple[str, str],
        uid: str | None,
        position: int,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Applied:
        return await self._road.send(
            f"apply {manifest.key}",
            lambda: self._inner.apply(
                manifest, owner=owner, uid=uid, position=position, manager=manager, dry_run=dry_run
            ),
        )

    @override
    async def delete(
        self, key: ObjectKey, *, owner: tuple[str, str], uid: str, propagation: Propagation
    ) -> None:
        await self._road.send(
            f"delete {key}",
            lambda: self._inner.delete(key, owner=owner, uid=uid, propagation=propagation),
        )

    @override
    async def list(self, owner: tuple[str, str] | None = None) -> Sequence[Json]:
        return await self._road.life.read(lambda: self._inner.list(owner))

    @override
    def marks(
        self, owners: Iterable[tuple[str, str]] | None = None
    ) -> Mapping[tuple[str, str], int]:
        return self._inner.marks(owners)

    @override
    def lacks(self, api_version: str, kind: str) -> EngineError | None:
        return self._inner.lacks(api_version, kind)

    @override
    def position(self) -> int:
        return self._inner.position()

    @override
    async def watch(self) -> AsyncIterator[ObjectEvent]:
        async with aclosing(self._inner.watch()) as news:  # type: ignore[type-var]
            async for event in news:
                await self._road.life.present()
                yield event


@final
class GuardedForeign(ForeignObjects):
    def __init__(self, inner: ForeignObjects, life: Life) -> None:
        self._inner, self._life = inner, life

    @override
    async def find(self, keys: Iterable[ObjectKey]) -> Sequence[Json]:
        return await self._life.read(lambda: self._inner.find(keys))

    @override
    async def made_by(self, workload: Json) -> Sequence[Json]:
        return await self._life.read(lambda: self._inner.made_by(workload))

    @override
    async def within(self, namespace: str) -> Sequence[ObjectKey]:
        return await self._life.read(lambda: self._inner.within(namespace))
