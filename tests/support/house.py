"""A whole control plane in one event loop of virtual time: real domain, projections, reconcilers.

Only the log, the secret store, the engine and the clock are simulated.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import count

from bus import codec
from bus.intents import Answer, Asked, IntentService
from bus.leasing import Leasing
from domain.target import TargetSpec
from projections.desired import DesiredState
from reconcilers.assembling import World, assemble
from reconcilers.metrics import ReconcileMetrics, Uncounted
from reconcilers.passing import WorkerSettings
from reconcilers.ports import Replica, ReplicaState
from reconcilers.router_ports import OpenedRouter, RouterUnwanted
from reconcilers.status import AppStatus, StatusMemory
from reconcilers.targets import OpenedEngine
from simulation import loop
from simulation.engine import simulated_engine
from simulation.log import SimulatedLog
from simulation.looking import SimulatedProber
from simulation.machine import Deed, Machine
from simulation.mischief import Mischief
from simulation.router import SimulatedRouter
from simulation.secrets import SimulatedSecrets
from tests.support.intents import ALICE, NOON, manifest

INSTALLATION = "11111111-aaaa"
EPOCH = NOON.timestamp()
_keys = count(1)  # several houses may share a log, and no two intents a key


class House:
    """One installation on one simulated machine. Make it inside a running loop."""

    def __init__(
        self,
        *,
        settings: WorkerSettings | None = None,
        log: SimulatedLog | None = None,
        machine: Machine | None = None,
        secrets: SimulatedSecrets | None = None,
        installation: str = INSTALLATION,
        seed: int = 1,
        metrics: ReconcileMetrics | None = None,
        status: StatusMemory | None = None,
        leasing: Leasing | None = None,
        elsewhere: Mapping[str, Machine] | None = None,
        router: SimulatedRouter | None = None,
    ) -> None:
        self.clock = asyncio.get_running_loop().time
        self.log = log or SimulatedLog()
        self.machine = machine or Machine(self.now)
        self.router = router or SimulatedRouter()
        before = self.machine.witness

        def witness(deed: Deed) -> None:
            before(deed)
            self.router.witness(deed)

        self.machine.witness = witness
        self._elsewhere = elsewhere or {}  # by the targets that lead there
        self.installation = installation
        self.mischief = Mischief(self.machine, installation)
        self.secrets = secrets or SimulatedSecrets()
        self.status = status or StatusMemory()
        self.desired = DesiredState(codec.decode)
        self.rewound: str | None = None
        self.router_trouble: Exception | None = None
        self.unwanted: list[str] = []
        """Targets whose router was to be ended."""
        self.left: list[str] = []
        """Targets whose router may have something of an earlier life."""
        self.intents = IntentService(
            self.log,
            self.secrets,
            now=lambda: datetime.fromtimestamp(self.now(), UTC),
            installation=installation,
            appended=self._appended,
        )
        world = World(
            log=self.log,
            desired=self.desired,
            secrets=self.secrets,
            intents=self.intents,
            open_engine=self._open,
            prober=SimulatedProber(self.machine),
            status=self.status,
            metrics=metrics or Uncounted(),
            clock=self.clock,
            now=self.now,
            rng=random.Random(seed),
            halted=lambda: self.rewound,
            report_seen=self._seen,
            appended=self._appended,
            open_router=self._open_router,
            was_routed=lambda _target: self.router.was_told,
            left=lambda: self.left,
        )
        if leasing is not None:
            world = world._replace(
                holding=leasing,
                offer=lambda all_, serves, reaches: leasing.offer(
                    all_, serves=serves, reaches=reaches
                ),
            )
        self.parts = assemble(world, settings or WorkerSettings(passes=4))
        self.worker = self.parts.worker

    def now(self) -> float:
        return EPOCH + self.clock()

    def _appended(self, position: int, _streams: Sequence[str]) -> None:
        self.parts.following.hint(position)

    def _seen(self, position: int, witness: str) -> None:
        self.rewound = f"{witness} has seen position {position}"

    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        async def close() -> None:
            return

        machine = self._elsewhere.get(name, self.machine)
        return OpenedEngine(simulated_engine(machine, self.installation), close)

    async def _open_router(self, name: str, spec: TargetSpec) -> OpenedRouter:
        if self.router_trouble is not None:
            raise self.router_trouble
        if spec.routing is not None and spec.routing.router == "none":
            self.unwanted.append(name)
            raise RouterUnwanted(f"target {name} is to have none")

        async def close() -> None:
            return

        return OpenedRouter(self.router, close)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The worker runs inside, and is cancelled (as by a crash) at the end."""
        task = asyncio.create_task(self.worker.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def send(self, *asked: Asked, key: str | None = None) -> Answer:
        return await self.intents.submit(asked, actor=ALICE, key=key or f"k{next(_keys)}")

    async def furnish(self) -> None:
        await self.send(
            manifest("Target", "local", {"engine": "simulated"}), manifest("Project", "shop", {})
        )

    async def until(self, holds: Callable[[], object], within: float = 60.0) -> float:
        """Wait until something holds, and return how many seconds that took.

        Raises:
            TimeoutError: it did not within so many seconds of virtual time.
        """
        began = self.clock()
        async with asyncio.timeout(within):
            while not holds():
                await asyncio.sleep(0.05)
        return self.clock() - began

    async def ready(self, app: str = "web", within: float = 60.0) -> float:
        """Wait until an app's present spec is fully rolled out."""

        def holds() -> bool:
            status, wanted = self.of(app), self.desired.app(f"App/shop/{app}")
            return (
                status is not None
                and wanted is not None
                and status.observed_generation == wanted.generation
                and wanted.position <= self.desired.position
                and self.desired.position == len(self.log.events)
                and status.is_true("Synced")
                and wanted.stable == wanted.revision
            )

        return await self.until(holds, within)

    def of(self, app: str = "web") -> AppStatus | None:
        return self.status.get(f"App/shop/{app}")

    def replicas(self, app: str = "web") -> list[Replica]:
        found = self.machine.owned(self.installation, ("shop", app))
        return sorted((one.seen for one in found), key=lambda seen: seen.name)

    def running(self, app: str = "web") -> list[tuple[int, int, int]]:
        """(revision, slot, attempt) of what runs."""
        return [
            (r.name.revision, r.name.slot, r.name.attempt)
            for r in self.replicas(app)
            if r.state is ReplicaState.RUNNING
        ]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.log.events]

    def writes(self) -> int:
        return sum(self.machine.writes.values())


def play(story: Callable[[House], Awaitable[None]], **house: object) -> None:
    """Tell a story in a furnished house whose worker runs."""

    async def main() -> None:
        built = House(**house)  # type: ignore[arg-type]
        async with built.working():
            await built.furnish()
            await story(built)

    loop.run(main())
