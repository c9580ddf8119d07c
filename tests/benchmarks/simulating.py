"""The simulator: how many hours of a busy world one minute of the processor lives through.

All of it runs: the control plane over its bus, a probe of every replica every ten seconds, and
everything that the world watches. Nothing goes wrong, so that the work is the same in every run.
"""

import asyncio
import gc
import time
from collections.abc import Iterator, Sequence
from itertools import count

from bus.intents import Asked
from domain import intents as i
from domain.names import Ref, app
from simulation import loop
from simulation.asking import app_spec, manifest
from simulation.sinks import heard
from simulation.world import World
from tests.benchmarks.rows import Promise, Row, show

APPS = 20
REPLICAS = 2
EVERY = 300.0  # seconds between two intents for one app
WARM_UP = 600.0  # seconds
MEASURED = 4 * 3600.0  # seconds

SPEED = Promise(
    f"simulated hours of {APPS} apps in a minute of the processor", "-", at_least=24, unit="h"
)
PROMISES = (SPEED,)
HOW = (
    f"A simulated world of {APPS} apps with {REPLICAS} replicas and a probe every 10 s, each app"
    " asked every 5 minutes for another image, another scale or a restart, without faults, with"
    " bus and all invariants. Counted is the time that the process had of a processor, over 4"
    " simulated hours after the first ten minutes."
)


def _asked(ref: Ref) -> Iterator[Asked]:
    """What is asked of an app, for ever."""
    for number in count(1):
        yield manifest("App", ref.name, app_spec(f"web:{number}", replicas=REPLICAS), ref.project)
        yield i.Scale(ref=ref, replicas=REPLICAS + 1)
        yield i.Restart(ref=ref)
        yield i.Scale(ref=ref, replicas=REPLICAS)


async def _live(world: World, seconds: float, pending: dict[Ref, Iterator[Asked]]) -> None:
    """Let time pass, with intents at an even pace."""
    until = world.clock() + seconds
    while world.clock() < until:
        ref = next(iter(pending))
        asked = pending[ref] = pending.pop(ref)  # the next time it is the last
        await world.client.ask([next(asked)], f"key-{len(world.client.requests.accepted)}")
        await asyncio.sleep(EVERY / len(pending))
    world.check()


async def _timed() -> float:
    """How many seconds of a processor the measured hours took."""
    world = World(1)
    refs = [app(f"p{number % 4}", f"a{number}") for number in range(APPS)]

    def wrong(text: str) -> None:
        raise AssertionError(text)

    with heard(wrong, wrong):
        world.settle_neighbour(refs)
        async with world.living():
            furniture = [manifest("Target", "local", {"engine": "simulated"})]
            furniture += [
                manifest("Project", project, {"target": "local"})
                for project in dict.fromkeys(ref.project for ref in refs)
            ]
            await world.client.ask(furniture, "furniture")
            pending = {ref: _asked(ref) for ref in refs}
            await _live(world, WARM_UP, pending)
            began = time.process_time()
            await _live(world, MEASURED, pending)
            took = time.process_time() - began
    asked = (WARM_UP + MEASURED) / EVERY * APPS
    accepted = len(world.client.requests.accepted) - 1
    assert accepted >= asked - 1, f"{accepted} of {asked:.0f} intents were accepted"
    return took


def measure() -> Sequence[Row]:
    before = gc.get_threshold()
    loop.collect_rarely()  # as processes of `stateward simulate` do
    try:
        took = loop.run(_timed())
    finally:
        gc.set_threshold(*before)
    hours = MEASURED / 3600
    return [SPEED.kept(60 * hours / took, ours=f"{hours:.0f} h in {took:.1f} s")]


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
