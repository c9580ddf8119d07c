"""A control plane in memory: the real parts, assembled for one life over simulated ports."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, Self, final, override

from bus.announcing import Announcer
from bus.intents import IntentService
from bus.lease_session import LeaseSettings
from bus.leases import Partition
from bus.leasing import Leasing
from bus.log import StoredEvent
from domain.app import Check
from domain.target import K8sSettings, TargetSpec
from projections.desired import DesiredState
from reconcilers.assembling import Assembled, World, assemble
from reconcilers.metrics import ReconcileMetrics, Uncounted
from reconcilers.passing import WorkerSettings
from reconcilers.ports import EngineUnavailable, Prober, ProbeResult, Replica, ReplicaIO
from reconcilers.projecting import Projecting
from reconcilers.router_ports import OpenedRouter, RouterMissing
from reconcilers.targets import OpenedEngine
from simulation.cluster.cluster import Cluster
from simulation.cluster.guarded import guarded_cluster
from simulation.disk import Disk
from simulation.guarded import (
    GuardedIO,
    GuardedLeases,
    GuardedLog,
    GuardedSecrets,
    Road,
    Sent,
    guarded,
)
from simulation.leases import Bucket, SimulatedLeases
from simulation.lives import Life
from simulation.log import LogFaults, SimulatedLog
from simulation.looking import SimulatedProber
from simulation.machine import Machine
from simulation.router import GuardedRouter, SimulatedRouter
from simulation.secrets import SimulatedSecrets
from simulation.sinks import ReadStatuses

SNAPSHOT_EVENTS: Final = 40  # so few that every world has snapshots


class Bus(Protocol):
    """The bus as one life uses it (`bus.nats.bus.NatsBus`)."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def publish(self, events: Sequence[StoredEvent]) -> None: ...


type BusOf = Callable[[Life, IntentService, Callable[[int, Sequence[str] | None], None]], Bus]
"""Makes the bus of a life: from where intents go, and who is told of hints."""


@dataclass(slots=True, kw_only=True)
class Site:
    """What outlives every control plane: disk, secrets, machines, and the way to the bus.

    `machines` are the targets' by name, those of `clusters` among them; `now` is seconds since the
    epoch, which may jump. With `direct`, a life hints its own worker by itself; without, hints come
    over the bus alone.
    `mismatched` is told of a snapshot that differs from its log.
    `routers` are the targets'.
    `read` gets what is put where others read it, and the name of that place.
    With `leases`, several lives share the work, and what they say of it.
    `syncing` is awaited by a life between the writing and the fsync of each group.
    """

    installation: str
    machines: Mapping[str, Machine]
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    now: Callable[[], float]
    disk: Disk = field(default_factory=Disk)
    secrets: SimulatedSecrets = field(default_factory=SimulatedSecrets)
    log_faults: LogFaults = field(default_factory=LogFaults)
    settings: WorkerSettings = field(default_factory=lambda: WorkerSettings(passes=8))
    bus_of: BusOf | None = None
    direct: bool = True
    syncing: Callable[[Life, Sequence[StoredEvent]], Awaitable[None]] | None = None
    mismatched: Callable[[], None] = lambda: None
    read: Callable[[str, bytes], None] = lambda _sink, _words: None
    metrics: ReconcileMetrics = field(default_factory=Uncounted)
    sent: Sent = field(default_factory=dict)
    routers: Mapping[str, SimulatedRouter] = field(default_factory=dict)
    leases: Bucket | None = None
    statuses: ReadStatuses | None = None


@final
class Controller:
    """One life of a control plane, from `begin` until it is stopped or, once dead, buried."""

    def __init__(
        self,
        site: Site,
        life: Life,
        rng: random.Random,
        log: SimulatedLog,
        projecting: Projecting,
        desired: DesiredState,
    ) -> None:
        self.site, self.life, self.log, self.desired = site, life, log, desired
        self._projecting = projecting
        guarded_log = GuardedLog(log, life)
        secrets = GuardedSecrets(site.secrets, life)
        self.status = site.statuses or ReadStatuses(site.read)
        self.way: SimulatedLeases | None = None
        self.leasing = self._leasing(site.leases) if site.leases is not None else None
        self.intents = IntentService(guarded_log, secrets, now=self._utc, appended=self._appended)
        world = World(
            log=guarded_log,
            desired=desired,
            secrets=secrets,
            intents=self.intents,
            open_engine=self._open,
            prober=_SiteProber(life, site.machines.values()),
            status=self.status,
            metrics=site.metrics,
            clock=asyncio.get_running_loop().time,
            now=site.now,
            rng=rng,
            halted=lambda: str(self.log.rewound) if self.log.rewound else None,
            report_seen=self.log.report_seen,
            appended=self._appended,
            open_router=self._open_router,
            was_routed=self._was_routed,
        )
        if self.leasing is not None:
            world = world._replace(holding=self.leasing, offer=self._offer, name=life.name)
        self.parts: Assembled = assemble(world, site.settings)
        self._bus = site.bus_of(life, self.intents, self._hint) if site.bus_of else None
        self._announcer = Announcer(
            guarded_log,
            self._bus.publish if self._bus else lambda _events: None,
            after=desired.position,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._serving: dict[asyncio.Task[Any], None] = {}  # in the order of their beginning

    @classmethod
    async def begin(cls, site: Site, life: Life, rng: random.Random) -> Self:
        """Read the log up to its head, by a snapshot if there is one, and begin to work.

        Raises:
            LogUnavailable: it cannot be read.
        """
        syncing = partial(site.syncing, life) if site.syncing else None
        log = SimulatedLog(site.disk, site.log_faults, syncing)
        projecting = Projecting(
            log,
            site.disk.snapshots,
            mismatched=site.mismatched,
            elsewhere=_here,
            every_events=SNAPSHOT_EVENTS,
        )
        self = cls(site, life, rng, log, projecting, await projecting.restore())
        if (leasing := self.leasing) is not None:
            sharing = leasing.run(self.parts.worker)
            self._tasks.append(asyncio.create_task(sharing, name=f"{life.name} leases"))
        for name, loop in (
            ("worker", self.parts.worker.run),
            ("announcer", self._announcer.run),
            ("snapshots", lambda: projecting.keep(self.desired)),
        ):
            self._tasks.append(asyncio.create_task(loop(), name=f"{life.name} {name}"))
        if self._bus is not None:
            await self._bus.start()
        return self

    def _leasing(self, bucket: Bucket) -> Leasing:
        self.way, numbers = bucket.way(), count(1)
        return Leasing(
            GuardedLeases(self.way, self.life),
            worker=self.life.name,
            new_session=lambda: f"{self.life.name}-{next(numbers)}",
            clock=asyncio.get_running_loop().time,
            settings=LeaseSettings(),
        )

    def _offer(self, all_: list[Partition], serves: list[str], reaches: list[str]) -> None:
        assert self.leasing is not None, "offered to whoever has leases"
        self.leasing.offer(all_, serves=serves, reaches=reaches)

    def serve[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something for a client inside this life; it ends with it."""
        task = asyncio.create_task(work)
        self._serving[task] = None
        task.add_done_callback(self._serving.pop)
        return task

    async def stop(self) -> None:
        """End it as a person would: what was begun is finished or left to the next life."""
        if self._bus is not None:
            await self._bus.stop()
        await self._end_tasks()
        await self.log.close()
        self.life.end("stopped")

    async def bury(self, *, keeps: bool) -> int:
        """After its life has ended: take away its tasks, which do nothing any more.

        Args:
            keeps: whether what its log had written but not synced is on the disk all the same.

        Returns:
            how many events were lost with it.
        """
        lost = self.log.abandon(keeps=keeps, tears=self.life.tears)
        if self._bus is not None:
            with suppress(asyncio.CancelledError):
                await self._bus.stop()
        await self._end_tasks()
        return lost

    async def _end_tasks(self) -> None:
        tasks = [*self._tasks, *self._serving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def _appended(self, position: int, streams: Sequence[str]) -> None:
        if not self.life.is_alive:
            return
        if self.site.direct:
            self._hint(position, streams)
        self._announcer.appended()

    def _hint(self, position: int, _keys: Sequence[str] | None) -> None:
        self.parts.following.hint(position)

    def _utc(self) -> datetime:
        return datetime.fromtimestamp(self.site.now(), UTC)

    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        await self.life.present()
        machine = self.site.machines.get(name)
        if machine is None or machine.faults.unavailable:
            raise EngineUnavailable(f"nothing answers at target {name}")
        there = self.site.clusters.get(name)
        if there is not None and spec.engine == "k8s":
            settings = spec.k8s or K8sSettings()
            kept = guarded_cluster(
                there, self.site.installation, settings, self.life, self.site.sent
            )

            async def close() -> None:
                kept.close()

            return OpenedEngine(kept.ports, close, kept.objects)
        engine = guarded(machine, self.site.installation, self.life, name, self.site.sent)
        return OpenedEngine(engine, _nothing)

    async def _open_router(self, name: str, spec: TargetSpec) -> OpenedRouter:
        await self.life.present()
        router = self.site.routers.get(name)
        is_wanted = spec.routing is None or spec.routing.router != "none"
        if router is None or not is_wanted:
            raise RouterMissing(f"target {name} has no router in this world")
        road = Road(self.life, name, self.site.sent)
        return OpenedRouter(GuardedRouter(router, road), _nothing)

    def _was_routed(self, target: str) -> bool:
        router = self.site.routers.get(target)
        return router is not None and router.was_told


@final
class _SiteProber(Prober):
    """Asks replicas on whatever machine they run, while its life lasts."""

    def __init__(self, life: Life, machines: Iterable[Machine]) -> None:
        self._life = life
        self._probers = {machine: SimulatedProber(machine) for machine in machines}

    @override
    async def probe(self, check: Check, replica: Replica, io: ReplicaIO) -> ProbeResult:
        life = self._life
        if not life.is_present:
            await life.present()
        assert isinstance(io, GuardedIO), "replicas of a site are reached through its guards"
        result = await self._probers[io.machine].probe(check, replica, io)
        if not life.is_present:
            await life.present()
        return result


async def _nothing() -> None:
    return


async def _here[T](work: Callable[[], T]) -> T:
    """Do it at once: there are no threads."""
    return work()
