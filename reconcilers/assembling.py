"""Assembling: one worker from what the world offers. Nothing is decided here."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bus.intents import IntentService
from bus.log import Log
from bus.secrets import SecretStore
from projections.desired import DesiredState
from reconcilers.adopting import Adopter
from reconcilers.app_pass import AppReconciler
from reconcilers.images import ImageResolver
from reconcilers.journal import Journal
from reconcilers.metrics import ReconcileMetrics
from reconcilers.orders import Revisions
from reconcilers.ports import Prober
from reconcilers.probing import Probing
from reconcilers.queue import KeyQueue, Priority
from reconcilers.reading import Reader
from reconcilers.removal import Remover
from reconcilers.status import StatusStore
from reconcilers.surroundings import Gate, Surroundings
from reconcilers.targets import EngineOpener, Targets
from reconcilers.worker import Worker, WorkerSettings


class World(NamedTuple):
    """What a worker works with.

    `clock` is the event loop's, `now` seconds since the epoch. `halted` is why nothing may be
    written to an engine (the log went backwards), or None; `report_seen` tells of a position found
    on a replica; `appended` is told of each commit, as the intent service's.
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


class Assembled(NamedTuple):
    """A worker, and the parts of it that others ask."""

    worker: Worker
    queue: KeyQueue
    targets: Targets
    probing: Probing
    journal: Journal
    apps: AppReconciler


def assemble(world: World, settings: WorkerSettings) -> Assembled:
    """Put a worker together; `Assembled.worker.run()` starts it."""
    queue = KeyQueue(clock=world.clock, rng=world.rng)

    def again(stream: str) -> None:
        queue.add(stream, Priority.ENGINE)

    async def seen(position: int) -> None:
        await worker.seen(position)

    def check(position: int, witness: str) -> None:
        if position > world.desired.position:
            world.report_seen(position, witness)

    targets = Targets(world.open_engine, status=world.status, now=world.now, check=check)
    probing = Probing(world.prober, changed=again, clock=world.clock, now=world.now)
    journal = Journal(world.log, actor="system:replicas", now=world.now, appended=world.appended)
    images = ImageResolver(world.intents, world.secrets, changed=again, seen=seen, rng=world.rng)
    reader = Reader(world.log, world.desired)
    gate = Gate(
        halted=world.halted,
        log_answers=lambda: reader.answers,
        position=lambda: world.desired.position,
    )
    apps = AppReconciler(
        Surroundings(
            desired=world.desired,
            revisions=Revisions(world.log),
            secrets=world.secrets,
            intents=world.intents,
            images=images,
            probing=probing,
            journal=journal,
            status=world.status,
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

    remover = Remover(world.desired, journal, world.status, may_write=may_write)
    adopter = Adopter(world.desired, journal, world.status, may_write=may_write, again=again)
    worker = Worker(
        reader=reader,
        desired=world.desired,
        targets=targets,
        queue=queue,
        apps=apps,
        remover=remover,
        adopter=adopter,
        probing=probing,
        journal=journal,
        metrics=world.metrics,
        settings=settings,
        clock=world.clock,
        rng=world.rng,
    )
    return Assembled(worker, queue, targets, probing, journal, apps)
