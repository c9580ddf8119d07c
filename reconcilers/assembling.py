"""Assembling: one worker from what the world offers. Nothing is decided here."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from bus.intents import IntentService
from bus.leases import Holding, HoldsAll, Partition
from bus.log import Log
from bus.secrets import SecretStore
from domain.target import TargetSpec
from projections.desired import DesiredState
from projections.routing import RouteTables
from reconcilers.adopting import Adopter
from reconcilers.app_pass import AppReconciler
from reconcilers.fencing import fenced
from reconcilers.following import Following
from reconcilers.images import ImageResolver
from reconcilers.journal import Journal
from reconcilers.metrics import ReconcileMetrics
from reconcilers.orders import Revisions
from reconcilers.passing import Passing, WorkerSettings
from reconcilers.places import Places
from reconcilers.ports import Prober
from reconcilers.probing import Probing
from reconcilers.publishing import OwnStatus
from reconcilers.queue import KeyQueue, Priority
from reconcilers.reading import Reader
from reconcilers.removal import Remover
from reconcilers.router_ports import RouterOpener
from reconcilers.routing import Routing, Surrounding, no_router
from reconcilers.sharing import Sharing
from reconcilers.status import StatusStore
from reconcilers.surroundings import Gate, Surroundings
from reconcilers.targets import EngineOpener, Targets
from reconcilers.worker import Worker

type Offer = Callable[[list[Partition], list[str], list[str]], None]


def _to_nobody(_partitions: list[Partition], _serves: list[str], _reaches: list[str]) -> None:
    return


def _all(_name: str, _spec: TargetSpec) -> bool:
    return True


class World(NamedTuple):
    """What a worker works with.

    `clock` is the event loop's, `now` seconds since the epoch. `halted` is why nothing may be
    written to an engine (the log went backwards), or None; `report_seen` tells of a position found
    on a replica; `appended` is told of each commit, as the intent service's. `holding` is what this
    worker may decide over, `offer` is told what there is and what of it is reached, and `serves`
    says on which targets it may work at all. `name` is that of this worker among several.
    """

    log: Log
    desired: DesiredState
    secrets: SecretStore
    intents: IntentService
    open_engine: EngineOpener
    prober: Prober
    status: StatusStore
    metrics: ReconcileMetrics
    clock: Callable[[], float]
    now: Callable[[], float]
    rng: random.Random
    halted: Callable[[], str | None]
    report_seen: Callable[[int, str], None]
    appended: Callable[[int, Sequence[str]], None]
    holding: Holding = HoldsAll()
    offer: Offer = _to_nobody
    serves: Callable[[str, TargetSpec], bool] = _all
    name: str = ""
    open_router: RouterOpener = no_router
    was_routed: Callable[[str], bool] = lambda _target: False
    left: Callable[[], Iterable[str]] = tuple


class Assembled(NamedTuple):
    """A worker, and the parts of it that others ask."""

    following: Following
    worker: Worker
    passing: Passing
    sharing: Sharing
    queue: KeyQueue
    targets: Targets
    probing: Probing
    journal: Journal
    apps: AppReconciler
    tables: RouteTables
    routing: Routing
    remover: Remover


def assemble(world: World, settings: WorkerSettings) -> Assembled:
    """Put a worker together; `Assembled.worker.run()` starts it."""
    queue = KeyQueue(clock=world.clock, rng=world.rng)

    def again(stream: str) -> None:
        queue.add(stream, Priority.ENGINE)

    async def seen(position: int) -> None:
        await following.seen(position)

    def check(position: int, witness: str) -> None:
        if position > world.desired.position:
            world.report_seen(position, witness)

    status = OwnStatus(world.status, world.desired, lambda: sharing, world.name)
    targets = Targets(
        world.open_engine,
        status=status,
        now=world.now,
        check=check,
        fence=lambda name, opened: fenced(opened, name, sharing),
        serves=world.serves,
    )
    sharing = Sharing(world.holding, world.desired, targets, world.offer)
    probing = Probing(world.prober, changed=again, clock=world.clock, now=world.now)
    journal = Journal(world.log, actor="system:replicas", now=world.now, appended=world.appended)
    images = ImageResolver(world.intents, world.secrets, changed=again, seen=seen, rng=world.rng)
    tables = RouteTables(world.desired)
    reader = Reader(world.log, world.desired, tables)
    following = Following(
        reader,
        world.desired,
        metrics=world.metrics,
        hints=settings.hints,
        tail_interval=settings.tail_interval,
        jitter=settings.replay_jitter,
        clock=world.clock,
        rng=world.rng,
    )
    gate = Gate(
        halted=world.halted,
        log_answers=lambda: reader.answers,
        position=lambda: world.desired.position,
    )
    places = Places(world.desired, reader, targets)
    routing = Routing(
        Surrounding(
            desired=world.desired,
            tables=tables,
            targets=targets,
            sharing=sharing,
            opener=world.open_router,
            was_routed=world.was_routed,
            left=world.left,
            log_answers=lambda: reader.answers,
            journal=journal,
            metrics=world.metrics,
            halted=world.halted,
            clock=world.clock,
            now=world.now,
            again=again,
            wake=lambda stream, at: queue.add_at(stream, at, Priority.ENGINE),
        )
    )
    apps = AppReconciler(
        Surroundings(
            desired=world.desired,
            places=places,
            revisions=Revisions(world.log),
            secrets=world.secrets,
            intents=world.intents,
            images=images,
            probing=probing,
            routing=routing,
            journal=journal,
            status=status,
            metrics=world.metrics,
            gate=gate,
            clock=world.clock,
            now=world.now,
            rng=world.rng,
            again=again,
        )
    )

    def may_write() -> bool:
        return world.halted() is None and gate.log_answers()

    remover = Remover(
        world.desired,
        journal,
        status,
        places=places,
        targets=targets,
        sharing=sharing,
        routing=routing,
        may_write=may_write,
        again=again,
        reach_end=reader.reach_end,
        now=world.now,
    )
    adopter = Adopter(world.desired, journal, status, may_write=may_write, again=again)
    passing = Passing(
        desired=world.desired,
        targets=targets,
        places=places,
        sharing=sharing,
        queue=queue,
        apps=apps,
        remover=remover,
        adopter=adopter,
        metrics=world.metrics,
        settings=settings,
        clock=world.clock,
        progress=following.progress,
    )
    worker = Worker(
        following=following,
        desired=world.desired,
        targets=targets,
        places=places,
        sharing=sharing,
        queue=queue,
        passing=passing,
        apps=apps,
        remover=remover,
        routing=routing,
        probing=probing,
        journal=journal,
        metrics=world.metrics,
        settings=settings,
        clock=world.clock,
    )
    return Assembled(
        following,
        worker,
        passing,
        sharing,
        queue,
        targets,
        probing,
        journal,
        apps,
        tables,
        routing,
        remover,
    )
