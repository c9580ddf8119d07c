"""Seeds: one world each, from its furniture through chaos to rest, and what came of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bus.intents import Asked
from bus.nats.subjects import REFUSED_STREAM, SUBMIT_STREAM
from domain.intents import Scale
from domain.names import app
from reconcilers.passing import WorkerSettings
from reconcilers.status import AppStatus
from simulation import loop, releases
from simulation.asking import HOSTS, PROJECTS, People, Routes
from simulation.chaos import Chaos
from simulation.invariants.rest import Broken, RestInvariants
from simulation.invariants.violations import Invariant, Violation
from simulation.knobs import Fault, swarm
from simulation.sinks import heard
from simulation.world import INSTALLATION, NEIGHBOUR, PROGRAM, World

__all__ = ["INSTALLATION", "NEIGHBOUR", "Outcome", "run"]

SETTLE_SECONDS: Final = 1500.0
"""The bound of liveness: a backoff at its cap (300 s and a quarter) twice, a rollout's deadline,
its drain, and some replay intervals."""
CALM_SECONDS: Final = 25.0
"""Without a write, before all is taken to be at rest: two replay ticks repair what was undone."""
QUIET_SECONDS: Final = 120.0
PROMPT_SECONDS: Final = 5.0  # until a fresh intent is done: the tail, if there are no hints
TARGETS: Final = ("local", "spare")
CLUSTERS: Final = ("cloud",)
CLUSTERED: Final = 0.4  # of all worlds
ROUTED: Final = 0.5  # of the others
BOTH: Final = 0.4  # of those with a cluster have routers, too
GAP_SECONDS: Final = 0.2  # between two calls of one start, in which others have their turn
KEEPING: Final = 0.3  # of all
SEVERAL: Final = 0.3  # of worlds with neither a cluster nor routers
FEW_HOSTS: Final = 5  # so that URLs of one host meet on one cluster
PROPAGATIONS: Final = (0.25, 1.0, 3.0)  # seconds


class Outcome(NamedTuple):
    """What came of one world. Equal for equal seeds, rates and code."""

    seed: int
    digest: str
    violations: tuple[Violation, ...]
    fired: Mapping[str, int]
    events: int
    seconds: float
    last: tuple[str, ...]


class _Shape(NamedTuple):
    """What there is in a world, by the names of `run`."""

    clusters: bool
    routes: bool
    keeps: bool
    workers: int


def run(  # noqa: PLR0913 -- each decides something of its own
    seed: int,
    rates: Mapping[Fault, float] | None = None,
    *,
    minutes: float = 20.0,
    apps: int | None = None,
    clusters: bool | None = None,
    routes: bool | None = None,
    keeps: bool | None = None,
    workers: int | None = None,
    told: Callable[[str], None] | None = None,
) -> Outcome:
    """Live through one world.

    Args:
        seed: decides everything.
        rates: the faults; by default those that the seed gives itself.
        minutes: how long chaos lasts, in virtual time.
        apps: how many there are at most; by default as many as the seed gives itself.
        clusters: whether one of the targets is a cluster; by default the seed says.
        routes: whether the machines have routers, and apps routes, also those on a cluster; by
            default the seed says.
        keeps: whether apps keep replicas of former revisions; by default the seed says.
        workers: how many control planes share the work; by default the seed says, and one where
            there is a cluster or a router.
        told: gets every line of the trace.
    """

    async def live() -> Outcome:
        there = has_clusters(seed) if clusters is None else clusters
        routed = has_routes(seed, clusters=there) if routes is None else routes
        chosen = rates_of(seed, rates)
        kept = has_kept(seed) if keeps is None else keeps
        several = workers or (1 if there or routed else drawn_workers(seed))
        shape = _Shape(clusters=there, routes=routed, keeps=kept, workers=several)
        return await _live(seed, chosen, minutes, apps, told, shape)

    return alone(live)


def has_clusters(seed: int) -> bool:
    """Whether a seed gives its world a cluster."""
    return random.Random(f"{seed}:clusters").random() < CLUSTERED


def has_routes(seed: int, *, clusters: bool) -> bool:
    """Whether a seed gives its world routers, one with `clusters` or without."""
    if clusters:
        return random.Random(f"{seed}:both").random() < BOTH
    return random.Random(f"{seed}:routes").random() < ROUTED


def workers_of(seed: int) -> int:
    """How many control planes a seed gives its world."""
    clusters = has_clusters(seed)
    is_bare = not clusters and not has_routes(seed, clusters=clusters)
    return drawn_workers(seed) if is_bare else 1


def drawn_workers(seed: int) -> int:
    """The same, if it has neither a cluster nor routers."""
    rng = random.Random(f"{seed}:workers")
    return rng.choice([2, 2, 3]) if rng.random() < SEVERAL else 1


def has_kept(seed: int) -> bool:
    """Whether a seed has apps keep replicas of former revisions."""
    return random.Random(f"{seed}:keeping").random() < KEEPING


def rates_of(seed: int, rates: Mapping[Fault, float] | None) -> dict[Fault, float]:
    """The faults of a world: those that were chosen, else those that its seed gives itself."""
    return dict(swarm(random.Random(f"{seed}:swarm")) if rates is None else rates)


def alone(live: Callable[[], Coroutine[Any, Any, Outcome]]) -> Outcome:
    """Live through a world on a loop of its own, with nothing left of those before it."""
    try:
        return loop.run(live())
    finally:
        releases.become_ours()


async def _live(
    seed: int,
    rates: dict[Fault, float],
    minutes: float,
    most: int | None,
    told: Callable[[str], None] | None,
    shape: _Shape,
) -> Outcome:
    rng = random.Random(f"{seed}:shape")
    settings = settings_of(rng)
    there = CLUSTERS if shape.clusters else ()
    direct = rng.random() < 0.7
    world = World(
        seed,
        targets=TARGETS,
        clusters=there,
        workers=shape.workers,
        propagation=random.Random(f"{seed}:router").choice(PROPAGATIONS) if shape.routes else None,
        settings=settings,
        direct=direct,
        told=told,
    )
    if world.rng("requests").random() < 0.5:
        for router in world.routers.values():
            router.in_hand = None  # it tells nobody, so a drain lasts as long as it may
    apps = [app(project, f"a{n}") for project in PROJECTS for n in range(rng.randrange(1, 5))]
    people = People(world.rng("people"), apps[:most], TARGETS, clusters=there)
    if shape.routes:
        hosts = FEW_HOSTS if there else HOSTS
        people.routes = Routes(world.rng("routes"), (*TARGETS, *there), hosts)
        if there:
            people.wander(world.rng("moves"))
    if shape.workers > 1:
        people.come_and_go(world.rng("projects"))
        people.daemons = TARGETS[:1]
        for machine in world.machines.values():
            machine.gap_seconds = GAP_SECONDS
    if there and Fault.INTENT_ADOPTS in rates:
        people.sharing = world.rng("sharing")
    if shape.keeps:
        people.keeping = world.rng("keeping")
    return await lived(world, people, rates, minutes=minutes, furniture=people.furniture())


def settings_of(rng: random.Random) -> WorkerSettings:
    return WorkerSettings(passes=rng.choice([2, 8]), hints=rng.random() < 0.9)


async def lived(
    world: World,
    people: People,
    rates: dict[Fault, float],
    *,
    minutes: float,
    furniture: Sequence[Asked] = (),
    asks: bool = True,
) -> Outcome:
    """Live through a world that is made: furniture, chaos, rest; say what came of it.

    Args:
        world: as it begins.
        people: who asks, in chaos and beside it.
        rates: the faults; empty in the end.
        minutes: how long chaos lasts.
        furniture: what is asked for first.
        asks: whether people go on asking meanwhile.
    """

    def leaked(text: str) -> None:
        world.report(Invariant.SECRET, f"a log line holds a value: {text[:200]}")

    def unhandled(_loop: object, told: Mapping[str, Any]) -> None:
        world.broke(f"{told['message']}: {told.get('exception')!r}")

    asyncio.get_running_loop().set_exception_handler(unhandled)
    with heard(world.broke, leaked):
        world.settle_neighbour(people.apps)
        async with world.living():
            if furniture:
                await world.client.ask(furniture, "furniture")
            chaos = Chaos(world, rates, people)
            chaos.troubles.wire()
            deeds = asyncio.create_task(chaos.run(), name="chaos")
            await (_people(world, people, minutes * 60) if asks else _pass(world, minutes * 60))
            deeds.cancel()
            await asyncio.gather(deeds, return_exceptions=True)
            await chaos.calm()
            await _rest(world)
    return Outcome(
        seed=world.seed,
        digest=world.trace.digest,
        violations=tuple(world.violations),
        fired=Counter(world.trace.fired),
        events=len(world.disk.events),
        seconds=world.clock(),
        last=tuple(world.trace.last),
    )


async def _people(world: World, people: People, seconds: float) -> None:
    """Ask for things until the time is over or something broke."""
    rng, number = world.rng("pace"), 0
    until = world.clock() + seconds
    while world.clock() < until and not world.violations:
        number += 1
        work = asyncio.create_task(_ask(world, people, rng.random(), number))
        await asyncio.wait([work], timeout=rng.uniform(0.0, 30.0))
        await asyncio.sleep(rng.uniform(0.0, 30.0))
        world.asking[work] = None
        work.add_done_callback(world.asking.pop)


async def _pass(world: World, seconds: float) -> None:
    """Let time pass until it is over or something broke."""
    until = world.clock() + seconds
    while world.clock() < until and not world.violations:  # noqa: ASYNC110 -- virtual
        await asyncio.sleep(1.0)


async def _ask(world: World, people: People, way: float, number: int) -> None:
    """Ask for one thing: over the API, by a request on the bus, or by the submit stream."""
    key = f"people-{number}"
    if way < 0.6:
        await world.client.ask([people.draw()], key)
        return
    verb, ref, data = people.letter()
    hand_in = world.producer.request if way < 0.8 else world.producer.submit
    await hand_in(verb, ref, key, data)


def _undecided(world: World) -> list[Broken]:
    """What programs submitted and nobody has decided."""
    waiting = len(world.broker.stored(SUBMIT_STREAM))
    broken = [(Invariant.SETTLED, f"{waiting} submissions wait in the stream")] if waiting else []
    refused = b"".join(one.data for one in world.broker.stored(REFUSED_STREAM))
    for key in world.producer.submitted:
        decided = (PROGRAM.name, key) in world.disk.keys or f'"{key}"'.encode() in refused
        if not decided and not world.is_forgetful:
            broken.append((Invariant.DURABLE, f"submission {key} is gone, and was never decided"))
    return broken


async def _settled(world: World, rest: RestInvariants) -> bool:
    """Wait until all is as it should be and nothing is done any more; report what never is."""
    until = world.clock() + SETTLE_SECONDS
    before, calm_since = world.written(), world.clock()

    def status_of(stream: str) -> AppStatus | None:
        controller = world.acting()
        return controller.status.get(stream) if controller else None

    while not world.violations:
        broken = rest.broken(status_of) + _undecided(world)
        broken += rest.quiet(world.written() - before)
        if broken or world.asking or world.site.sent:
            before, calm_since = world.written(), world.clock()
        elif world.clock() >= calm_since + CALM_SECONDS:
            return True
        if world.clock() > until:
            for invariant, what in broken or [(Invariant.SETTLED, "clients still wait")]:
                world.report(invariant, what)
            return False
        await asyncio.sleep(5.0)
    return False


async def _rest(world: World) -> None:
    """Wait until all is as it should be, and see that it stays so."""
    rest = RestInvariants(world.truth, world.objects, world.routing, world.serving)
    if not await _settled(world, rest):
        return
    before, routed = world.written(), world.routing.counts()
    await asyncio.sleep(QUIET_SECONDS)
    for invariant, what in rest.quiet(world.written() - before):
        world.report(invariant, what)
    for invariant, what in world.routing.quiet(routed, QUIET_SECONDS):
        world.report(invariant, what)
    world.compare()
    if not world.violations:
        await _compare(world, rest.summary())
    if not world.violations:
        await _ask_for_one_more(world, rest.summary())


async def _compare(world: World, summary: Mapping[str, object]) -> None:
    """The same history, in a world without faults, ends in the same state."""
    other = World(
        world.seed,
        targets=[name for name in world.machines if name not in world.clusters],
        clusters=list(world.clusters),
        propagation=min((one.propagation for one in world.routers.values()), default=None),
        settings=world.site.settings,
        disk=world.disk.copy(),
        secrets=world.site.secrets,
        epoch=world.epoch,
    )
    for name, machine in other.machines.items():
        machine.present_images |= world.machines[name].present_images
    rest = RestInvariants(other.truth, other.objects, other.routing, other.serving)
    async with other.living():
        until = other.clock() + SETTLE_SECONDS
        while other.clock() < until and rest.summary() != summary:  # noqa: ASYNC110 -- virtual
            await asyncio.sleep(5.0)
    for violation in other.violations:
        world.report(violation.invariant, f"without faults, {violation.what}")
    calm = rest.summary()
    for stream in sorted({*summary, *calm}):
        if summary.get(stream) != calm.get(stream):
            ends = f"{summary.get(stream)}, and without faults {calm.get(stream)}"
            world.report(Invariant.SAME, f"{stream} ends as {ends}")


async def _ask_for_one_more(world: World, serving: Mapping[str, Sequence[object]]) -> None:
    """A fresh intent is done at once, whatever else is tried again and again meanwhile."""
    app = min(
        (one for one in world.truth.apps() if serving.get(one.ref.stream) and not one.paused),
        key=lambda one: (one.wanted, one.ref),
        default=None,
    )
    if app is None:
        return
    before, project, name = len(serving[app.ref.stream]), app.ref.project, app.ref.name
    if await world.client.ask([Scale(ref=app.ref, replicas=before + 1)], "one more") is None:
        return
    until = world.clock() + PROMPT_SECONDS
    while len(world.truth.running(project, name)) <= before:
        if world.clock() > until:
            late = f"{app.ref} was asked for {before + 1} replicas, and has {before}"
            world.report(Invariant.PROMPT, f"{late} after {PROMPT_SECONDS:.0f} s")
            return
        await asyncio.sleep(0.25)
