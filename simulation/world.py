"""A world: machines, a disk, one control plane after the other, and whoever asks it for things.

Everything in it is decided by its seed. All that happens is traced and watched; what breaks an
invariant is kept in `violations`, for no task of the control plane may swallow it.
"""

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final, final

from bus.intents import Answer, IntentService
from bus.log import LogError, StoredEvent
from bus.nats.bus import NatsBus
from bus.nats.hints import Hinted
from bus.nats.settings import NatsSettings
from domain.access import Actor
from domain.names import Ref
from reconcilers.passing import WorkerSettings
from reconcilers.ports import ReplicaName, StartReplica
from simulation.broker import Broker
from simulation.clients import Client
from simulation.cluster.cluster import Cluster
from simulation.controller import Controller, Site
from simulation.disk import Disk
from simulation.invariants.clusters import ClusterInvariants
from simulation.invariants.engines import EngineInvariants
from simulation.invariants.history import HistoryInvariants, app_of
from simulation.invariants.routers import RouterInvariants
from simulation.invariants.serving import ServingInvariants
from simulation.invariants.truth import Truth
from simulation.invariants.violations import Invariant, Violation
from simulation.knobs import Fault
from simulation.leases import Bucket
from simulation.lives import Effects, Life
from simulation.machine import Deed, Machine
from simulation.mischief import Mischief
from simulation.producers import ACTOR, Producer
from simulation.router import SimulatedRouter
from simulation.secrets import SimulatedSecrets
from simulation.sinks import ReadStatuses, Sinks
from simulation.tracing import Trace

EPOCH: Final = 1_900_000_000.0  # seconds: when every world begins, as wall clocks there say
INSTALLATION: Final = "11111111-aaaa"
NEIGHBOUR: Final = "22222222-bbbb"
PROGRAM: Final = Actor(name=f"program:{ACTOR}", role="editor")
RESTART_SECONDS: Final = 3.0
BURY_SECONDS: Final = 0.25  # from the end of a life until all that is left of it is gone
MOST_VIOLATIONS: Final = 20
PROPAGATION: Final = 1.0  # seconds, of clusters in worlds without routers
HOT_SECONDS: Final = 10.0
MOST_WRITES: Final = 100  # of one control plane on one app within them, whatever befalls it


@final
class World:
    """Make it inside a running `simulation.loop`.

    Args:
        seed: decides everything that is not decided by who uses the world.
        targets: the names of the machines.
        clusters: the names of the targets that are clusters; each has a machine, its nodes.
        workers: how many control planes share the work, at any time.
        propagation: of the routers that the machines have, in seconds; none have one without it.
            Clusters always have one.
        settings: how its control planes run.
        direct: whether a control plane hints itself; else hints come over the bus alone.
        told: gets every line of the trace.
        disk: a history to go on with.
        secrets: the values that it speaks of.
        epoch: seconds since 1970 when it begins.
    """

    def __init__(  # noqa: PLR0913 -- each decides something of its own
        self,
        seed: int,
        *,
        targets: Sequence[str] = ("local",),
        clusters: Sequence[str] = (),
        workers: int = 1,
        propagation: float | None = None,
        settings: WorkerSettings | None = None,
        direct: bool = True,
        told: Callable[[str], None] | None = None,
        disk: Disk | None = None,
        secrets: SimulatedSecrets | None = None,
        epoch: float = EPOCH,
    ) -> None:
        self.seed, self.epoch = seed, epoch
        self.clock = asyncio.get_running_loop().time
        self.skew = 0.0
        self.trace = Trace(self.clock, told)
        self.effects = Effects(spun=self._stop_spinning)
        self.violations: list[Violation] = []
        self.machines: Mapping[str, Machine] = {
            name: Machine(self.now, name=name, steady=self.clock) for name in (*targets, *clusters)
        }
        delay = PROPAGATION if propagation is None else propagation
        self.clusters = {name: Cluster(name, self.machines[name], delay) for name in clusters}
        self.routers: Mapping[str, SimulatedRouter] = {
            name: SimulatedRouter(propagation=propagation)
            for name in targets
            if propagation is not None
        }
        self.disk = disk or Disk()
        self.sinks = Sinks(self.report)
        self.site = Site(
            installation=INSTALLATION,
            machines=self.machines,
            clusters=self.clusters,
            now=self.now,
            disk=self.disk,
            secrets=secrets or SimulatedSecrets(),
            settings=settings or WorkerSettings(passes=8),
            direct=direct,
            read=self.sinks.read,
            routers=self.routers,
        )
        self.workers = workers
        if workers > 1:
            self.site.leases = Bucket(self.clock)
            self.site.statuses = ReadStatuses(self.sinks.read)
        self.broker = Broker(
            heard=lambda line: self.trace.note("broker", line), read=self.sinks.read
        )
        self.site.bus_of = self._bus_of
        self.truth = Truth(self.disk, self.machines, INSTALLATION, self.clusters)
        self.history = HistoryInvariants(self.disk, self.report, self.rng("history"))
        self.engines = EngineInvariants(self.truth, self.report, self.clock)
        self.objects = ClusterInvariants(self.truth, self.report)
        self.routing = RouterInvariants(
            self.truth, self.routers, self.engines, self.report, self.clock, lambda: self._born
        )
        self.serving = ServingInvariants(
            self.truth, self.routing, self.engines, self.report, self.clock, self.routers
        )
        self.mischief = {
            name: Mischief(machine, INSTALLATION) for name, machine in self.machines.items()
        }
        self.controllers: list[Controller] = []
        self.client = Client(self.acting, self.answered)
        self.producer = Producer(self.broker, self.answered)
        self.restart_seconds = RESTART_SECONDS
        self.keeps: Callable[[], bool] = lambda: True
        self.is_forgetful = False  # whether the disk ever lost what was acknowledged
        self.asking: dict[asyncio.Task[object], None] = {}
        self._lives, self._born = 0, 0.0
        self._gone = asyncio.Event()  # a life has ended
        self._rewound_at: float | None = None
        self.engines.rewound_since = self._rewound_since
        self._tasks: list[asyncio.Task[None]] = []
        self.truth.reread()
        self.disk.told = self._committed
        self.site.mismatched = lambda: self.report(Invariant.PURE, "a snapshot told another story")
        for name, machine in self.machines.items():
            machine.witness = self._witness(name)
        for name, router in self.routers.items():
            router.told = partial(self.routing.published, name)

    def settle_neighbour(self, apps: Sequence[Ref]) -> None:
        """Let another installation run one replica of each of these apps on every machine.

        It has a network for each of their projects there, and a volume for each of them.
        """
        for cluster in self.clusters.values():
            for ref in apps:
                cluster.settle(NEIGHBOUR, ref.project, ref.name)
        for name, machine in self.machines.items():
            for ref in apps if name not in self.clusters else ():
                order = StartReplica(
                    name=ReplicaName(ref.project, ref.name, 1, 0, 1),
                    uid=1,
                    digest="of another",
                    position=0,
                    image=None,
                    command=("serve",),
                    args=(),
                    workdir=None,
                    env={},
                    ports=(),
                    volumes=(),
                    cpu_millis=None,
                    memory_bytes=None,
                    stop_signal="SIGTERM",
                    stop_grace=10.0,
                )
                machine.begin(machine.create(NEIGHBOUR, order))
                ground = machine.ground(NEIGHBOUR, ref.project)
                ground.is_prepared, ground.volumes[ref.name, "data", 0] = True, {}
        self.engines.foreign()
        self.objects.foreign()

    def rng(self, name: str) -> random.Random:
        """A source of luck of one's own: the same for the same seed and name."""
        return random.Random(f"{self.seed}:{name}")

    def now(self) -> float:
        """What wall clocks say: seconds since the epoch."""
        return self.epoch + self.clock() + self.skew

    def report(self, invariant: Invariant, what: str) -> None:
        self.trace.note("VIOLATION", f"{invariant.value}: {what}")
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(Violation(invariant, what, self.clock()))
        if invariant in (Invariant.SURGE, Invariant.BOUNDED):  # it would go on without end
            self.restart_seconds = math.inf
            for controller in self.controllers:
                controller.life.end("it does too much")

    def broke(self, text: str) -> None:
        """A loop died or a pass broke; perhaps over something that no engine can do."""
        self.report(Invariant.POSSIBLE if "ImpossibleWorld" in text else Invariant.ALIVE, text)

    def written(self) -> Counter[str]:
        """How many calls that may change a machine were made, by what they are about."""
        return sum((machine.written for machine in self.machines.values()), Counter())

    def compare(self) -> None:
        """Every live state is what the log says, in whatever way it is read."""
        for controller in self.controllers:
            self.history.prefix(controller.desired)

    def check(self) -> None:
        """Raises the first `Violation` that was found, if there is one."""
        if self.violations:
            raise self.violations[0]

    def _stop_spinning(self) -> None:
        """A control plane works for ever and gets nowhere: it would never let time pass again."""
        self.report(Invariant.BOUNDED, "calls without end, in no time")

    # -- lives --------------------------------------------------------------------------------

    def acting(self) -> Controller | None:
        """A control plane that answers now."""
        return next((one for one in self.controllers if one.life.is_alive), None)

    async def boot(self) -> Controller | None:
        """Start one more control plane; None if it finds no log."""
        self._lives, self._born = self._lives + 1, self.clock()
        life = Life(f"life-{self._lives}", self.effects, self.trace, self._gone.set)
        if not self.controllers:
            self.recover()
        self.trace.note(life.name, f"begins at position {self.disk.head.position}")
        try:
            controller = await Controller.begin(self.site, life, self.rng(life.name))
        except LogError as error:
            life.end(f"it cannot start: {error}")
            return None
        self.controllers.append(controller)
        self.history.prefix(controller.desired)
        return controller

    async def kill(self, controller: Controller, cause: str) -> None:
        """End a life and take away what is left of it."""
        controller.life.end(cause)
        self.controllers.remove(controller)
        self.broker.disconnect(controller.life.name)
        keeps = not controller.life.loses_unsynced and self.keeps()
        lost = await controller.bury(keeps=keeps)
        self.trace.note(controller.life.name, f"is gone, with {lost} events that were not synced")
        self.history.crashed()

    def recover(self) -> int:
        """Have what is not whole dropped, while nobody has the disk open; how many events go."""
        found, lost = self.disk.recover(), 0
        if found.torn:
            self.trace.fire(Fault.LOG_TORN_RECORD, f"its {found.torn} bytes are dropped")
        if found.sound is not None:
            self.is_forgetful, self.engines.lost_at = True, self.clock()
            lost = self.disk.lose_after(found.sound)
            self.history.lost(found.sound)
            self.reread()
            self.trace.fire(Fault.LOG_FLIPPED_BIT, f"{lost} events behind {found.sound} are lost")
        return lost

    def reread(self) -> None:
        """The history is another, or is read by another release."""
        self.truth.reread()
        since = self.engines.frozen_since
        frozen = self.truth.frozen
        self.engines.frozen_since = {s: since.get(s, self.clock()) for s in frozen}

    @asynccontextmanager
    async def living(self) -> AsyncIterator[None]:
        """A control plane runs inside, started anew whenever it ends; the world is watched."""
        for _ in range(self.workers):
            await self.boot()
        self._tasks = [
            asyncio.create_task(self._keep_alive(), name="keep alive"),
            asyncio.create_task(self._watch(), name="watch"),
            *(asyncio.create_task(self._run(one)) for one in self.clusters.values()),
        ]
        try:
            yield
        finally:
            await self.end()

    async def end(self) -> None:
        """Take everything away."""
        tasks = [*self._tasks, *self.asking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for controller in list(self.controllers):
            controller.life.end("the world ends")
            self.controllers.remove(controller)
            await controller.bury(keeps=True)
        await self.broker.close()
        sent = [*self.site.sent]
        for router in self.routers.values():
            sent += router.working
        for task in sent:
            task.cancel()
        await asyncio.gather(*sent, return_exceptions=True)
        self.search()

    def search(self) -> None:
        """Look for secrets in all that is kept, and in what clients were refused."""
        self.sinks.search(self.disk)
        for cluster in self.clusters.values():
            self.sinks.search_objects(cluster.store.all())
        for who in (self.client.requests, self.producer):
            for key, why in who.refused.items():
                self.sinks.read(f"the refusal of {key}", why)

    def _bus_of(self, life: Life, intents: IntentService, hinted: Hinted) -> NatsBus:
        return NatsBus(
            NatsSettings(servers=("nats://simulated",), instance=life.name),
            intents,
            actor_of=lambda name: PROGRAM if name == ACTOR else None,
            hinted=hinted,
            installation=INSTALLATION,
            now=lambda: datetime.fromtimestamp(self.now(), UTC),
            random=self.rng(f"{life.name} bus"),
            opening=self.broker.opening(life.name),
        )

    async def _keep_alive(self) -> None:
        while True:
            await self._gone.wait()
            self._gone.clear()
            await asyncio.sleep(BURY_SECONDS)
            for controller in list(self.controllers):
                if not controller.life.is_alive:
                    await self.kill(controller, controller.life.cause)
            while len(self.controllers) < self.workers and self.restart_seconds < math.inf:
                await asyncio.sleep(self.restart_seconds)
                await self.boot()

    # -- watching -----------------------------------------------------------------------------

    def answered(self, actor: str, key: str, answer: Answer) -> None:
        """A client was told that its intent is on disk."""
        self.trace.note("client", f"{key} is at {answer.position}")
        self.sinks.read(f"the answer to {key}", repr(answer))
        self.history.answered(actor, key, answer)

    def _committed(self, events: Sequence[StoredEvent]) -> None:
        for event in events:
            self.trace.note("log", f"{event.position} {event.type} in {event.stream}")
            self.sinks.read(f"the event at {event.position}", event.data)
            if (ref := app_of(event)) is not None:
                self.engines.spoken(ref.stream)
        self.truth.follow(events)
        self.objects.committed(events)
        self.history.committed(events)

    def _witness(self, target: str) -> Callable[[Deed], None]:
        also = self.serving.deed if target in self.clusters else self.routing.deed

        def witness(deed: Deed) -> None:
            self.engines.deed(deed)
            also(target, deed)

        is_routed = target in self.routers or target in self.clusters
        return witness if is_routed else self.engines.deed

    async def _run(self, cluster: Cluster) -> None:
        """Let a cluster work; what breaks it is a fault of this world."""
        try:
            await cluster.run()
        except AssertionError as error:
            self.report(Invariant.POSSIBLE, f"cluster {cluster.name}: {error!r}")

    async def _watch(self) -> None:
        written, since = self.written(), self.clock()
        while True:
            await asyncio.sleep(1.0)
            if self.clock() >= since + HOT_SECONDS:
                before, written, since = written, self.written(), self.clock()
                most = MOST_WRITES * max(1, len(self.controllers))
                for about, count in (written - before).items():
                    if count > most:
                        words = f"{count} writes on {about} in {HOT_SECONDS:.0f} s"
                        self.report(Invariant.BOUNDED, words)
            self.engines.foreign()
            self.objects.foreign()
            self.serving.look()
            self._rewound_since()
            if self.history.due:
                self.history.due = False
                self.compare()

    def _rewound_since(self) -> float | None:
        """Since when all who act now know that the log went backwards."""
        alive = [one for one in self.controllers if one.life.is_alive]
        if not alive or any(one.log.rewound is None for one in alive):
            self._rewound_at = None
        elif self._rewound_at is None:
            self._rewound_at = self.clock()
        return self._rewound_at
