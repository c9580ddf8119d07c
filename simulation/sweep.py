"""The crash sweep: a scenario is told once without a crash, and again with one at each effect.

Every run must come to rest within its scenario's bound, break no invariant, and end as the run
without a crash did. Runs share nothing, so they may be spread over processes.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from reconcilers.passing import WorkerSettings
from simulation import loop
from simulation.faults import Call, Trouble
from simulation.invariants.violations import Invariant
from simulation.scenarios import SCENARIOS, End, Restless, Scenario, Scene
from simulation.sinks import heard
from simulation.world import World

SEED: Final = 1
RESTART_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 12.0
"""How long a world at rest is watched: longer than from one replay tick to the next."""
SETTINGS: Final = WorkerSettings(passes=2)
DOUBLES: Final = 100  # double crashes of each scenario
COMPARED: Final = 10  # the one in so many runs whose states are compared at its end, too
NEAR: Final = 12  # effects after the first crash, within which the second comes
SLOW_FIRSTS: Final = 12  # single crashes of a slow telling, that double ones are drawn from
TAKES: Final = {"start": 0.2, "stop": 0.1, "resolve": 0.3, "apply": 0.1, "delete": 0.1}
"""Seconds that an engine takes for what takes time, so that crashes leave calls on their way."""
SLOWER: Final = 20


class Crash(NamedTuple):
    """The control plane ends `when` (before or after) an effect, counted from the story's begin."""

    when: str
    effect: int


class Run(NamedTuple):
    """One telling of a scenario. In a `slow` one, calls arrive when the next life has begun."""

    scenario: str
    crashes: tuple[Crash, ...] = ()
    slow: bool = False

    @property
    def words(self) -> str:
        """The command that tells this run again, with its trace."""
        crashes = [f"{crash.when}:{crash.effect}" for crash in self.crashes]
        words = [self.scenario, *crashes, *(["slow"] if self.slow else [])]
        return " ".join(["python -m simulation.sweep", *words])


class Told(NamedTuple):
    """What came of one run. `happened` is how many of its crashes really did."""

    run: Run
    effects: int
    happened: int
    rested: float
    end: End
    violations: tuple[str, ...]


@dataclass(slots=True)
class Swept:
    """What a sweep found. `failures` are sentences, each with the command that replays it."""

    scenario: str
    effects: int = 0
    runs: int = 0
    crashes: int = 0
    doubles: int = 0
    rested: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, told: Told, end: End) -> None:
        """Take in one run, and compare its end with that of the run without a crash."""
        self.runs += 1
        self.crashes += told.happened
        self.rested = max(self.rested, told.rested)
        wrong = list(told.violations)
        if not wrong and told.end != end:
            wrong.append(f"{Invariant.SAME.value}: {_difference(told.end, end)}")
        if told.happened != len(told.run.crashes):
            wrong.append(f"{told.happened} of its {len(told.run.crashes)} crashes happened")
        self.doubles += told.happened == 2
        self.failures += [f"{told.run.words}\n    {sentence}" for sentence in wrong[:3]]


type Spread = Callable[[Sequence[Run]], Iterable[Told]]
"""Tells runs, in any order, anywhere."""


def tell(run: Run, line_told: Callable[[str], None] | None = None) -> Told:
    """Tell a scenario's story in a world of its own."""
    return loop.run(_tell(run, SCENARIOS[run.scenario], line_told))


def singles(name: str, effects: int) -> Iterator[Run]:
    """A crash before and one after each effect."""
    for effect in range(1, effects + 1):
        yield Run(name, (Crash("before", effect),))
        yield Run(name, (Crash("after", effect),))


def slowly(name: str, effects: int, count: int = SLOW_FIRSTS) -> Iterator[Run]:
    """A crash at some of the effects of a slow telling, which has so many."""
    rng = random.Random(f"{name}:slowly")
    for effect in sorted(rng.sample(range(1, effects + 1), min(count, effects))):
        yield Run(name, (Crash(rng.choice(["before", "after"]), effect),), slow=True)


def doubles(once: Sequence[Told], count: int) -> Iterator[Run]:
    """Two crashes: one as in a run that was told, one at an effect that came after it there."""
    rng = random.Random(f"{once[0].run.scenario}:{once[0].run.slow}")
    recovered = [told for told in once if told.effects > told.run.crashes[0].effect]
    for _ in range(count):
        told = rng.choice(recovered)
        [first] = told.run.crashes
        latest = min(told.effects, first.effect + NEAR)
        second = Crash(rng.choice(["before", "after"]), rng.randint(first.effect + 1, latest))
        yield told.run._replace(crashes=(first, second))


def sweep(name: str, spread: Spread = lambda runs: map(tell, runs)) -> Swept:
    """Sweep a scenario: half of its double crashes are told slowly."""
    base, slow = tell(Run(name)), tell(Run(name, slow=True))
    swept = Swept(name, effects=base.effects)

    def told(runs: Iterable[Run]) -> list[Told]:
        all_told = list(spread(list(runs)))
        for one in all_told:
            swept.add(one, base.end)
        return all_told

    swept.add(base, base.end)
    swept.add(slow, base.end)
    once, once_slowly = told(singles(name, base.effects)), told(slowly(name, slow.effects))
    told([*doubles(once, DOUBLES // 2), *doubles(once_slowly, DOUBLES // 2)])
    return swept


async def _tell(run: Run, scenario: Scenario, line_told: Callable[[str], None] | None) -> Told:
    world = World(
        SEED,
        targets=scenario.targets,
        clusters=scenario.clusters,
        propagation=scenario.propagation,
        settings=SETTINGS,
        told=line_told,
    )
    world.restart_seconds = RESTART_SECONDS
    world.site.bus_of = None  # intents and hints take the direct way
    for machine in world.machines.values():
        machine.faults.plan = _slowly if run.slow else _soon
    scene = Scene(world, scenario.bound)
    begin = 0
    end: End = {}

    def leaked(text: str) -> None:
        world.report(Invariant.SECRET, f"a log line holds a value: {text[:200]}")

    with heard(world.broke, leaked):
        async with world.living():
            with suppress(Restless):  # what keeps it from rest is reported
                await world.client.ask(scenario.furniture(), "furniture")
                await scenario.before(scene)
                begin = world.effects.done
                _choose(world, run.crashes, begin)
                scene.longest = 0.0
                await scenario.story(scene)
                await _stays(scene)
                if sum(crash.effect for crash in run.crashes) % COMPARED == 0:
                    world.compare()
                end = scene.end()
    return Told(
        run=run,
        effects=world.effects.done - begin,
        happened=sum(1 for crash in run.crashes if begin + crash.effect <= world.effects.done),
        rested=scene.longest,
        end=end,
        violations=tuple(map(str, world.violations)),
    )


def _difference(one: End, other: End) -> str:
    """What differs between two ends, in words."""
    return "; ".join(
        f"{key} is {one.get(key)}, not {other.get(key)}"
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    )


def _choose(world: World, crashes: Sequence[Crash], begin: int) -> None:
    for crash in crashes:
        chosen = world.effects.before if crash.when == "before" else world.effects.after
        chosen.add(begin + crash.effect)


async def _stays(scene: Scene) -> None:
    """What is at rest stays so, and nothing more is done to it."""
    world = scene.world
    before, routed = world.written(), world.routing.counts()
    await asyncio.sleep(QUIET_SECONDS)
    for invariant, what in world.routing.quiet(routed, QUIET_SECONDS):
        world.report(invariant, what)
    if more := world.written() - before:
        world.report(Invariant.QUIET, f"{dict(more)} written at rest")
    for invariant, what in scene.broken():
        world.report(invariant, f"at rest no more: {what}")


def _soon(call: Call) -> Trouble:
    return _SOON.get(call.verb, _AT_ONCE)


def _slowly(call: Call) -> Trouble:
    return _SLOWLY.get(call.verb, _AT_ONCE)


_AT_ONCE: Final = Trouble()
_SOON: Final = {verb: Trouble(delay_seconds=seconds) for verb, seconds in TAKES.items()}
_SLOWLY: Final = {verb: Trouble(delay_seconds=seconds * SLOWER) for verb, seconds in TAKES.items()}


def read(words: Sequence[str]) -> Run:
    """A run as a command line names it: a scenario, then crashes such as `before:3`, and `slow`."""
    name, *rest = words
    parts = [word.partition(":") for word in rest if word != "slow"]
    crashes = tuple(Crash(when, int(effect)) for when, _, effect in parts)
    return Run(name, crashes, slow="slow" in rest)


def main(words: Sequence[str]) -> int:
    """Tell one run, with its trace."""

    def write(line: str) -> None:
        sys.stdout.write(line + "\n")

    told = tell(read(words), write)
    for line in (*told.violations, f"{told.effects} effects, {told.end}"):
        write(line)
    return 1 if told.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
