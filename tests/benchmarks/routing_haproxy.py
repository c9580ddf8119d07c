"""HAProxy under load: what is lost while replicas change, and how soon a change shows."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.places import on_disk
from tests.benchmarks.routing import CHANGES, HOST, SWAPS, lost, over_http1, over_http2
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.contracts.router_world import WEB, row
from tests.support import load
from tests.support.backends import backends
from tests.support.haproxy import HAProxyWorld, House
from tests.support.requirements import absence_of

LOST_1 = Promise(f"HAProxy: lost in {SWAPS} swaps, HTTP/1.1", "-", at_most=0, unit="lost")
LOST_2 = Promise(f"HAProxy: lost in {SWAPS} swaps, HTTP/2", "-", at_most=0, unit="lost")
VISIBLE = Promise("HAProxy: a change of endpoints shows", "one command", at_most=50, unit="ms")
PROMISES: Final = (LOST_1, LOST_2, VISIBLE)
HOW: Final = (
    f"As `routing`: {load.CONNECTIONS} connections that stay open, {SWAPS} swaps and more, by"
    " `wrk` and `h2load`. A change shows when the new endpoint answers a client that asks all"
    " the while, from the call; the floor is one command that sets a server's weight, and one"
    f" request. Of both it is the 95th percentile of {CHANGES}, taken in turn."
)


def measure() -> Sequence[Row]:
    missing = absence_of("haproxy", "load")
    if missing is not None:
        return [promise.unmeasured(missing) for promise in PROMISES]
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with on_disk() as directory:
        house = House(Path(directory))
        try:
            async with house.opened() as world:
                return [
                    await lost(world, LOST_1, over_http1),
                    await lost(world, LOST_2, over_http2),
                    await _visible(world),
                ]
        finally:
            await house.router().stop()


async def _visible(world: HAProxyWorld) -> Row:
    """How long after the call the new endpoint answers, asked all the while."""
    commands, changes = Times(), Times()
    async with backends("one", "two") as servers:
        await world.serve([row(HOST)], {WEB: [servers[0].endpoint()]})
        [name] = world.haproxy.backends
        async with world.house.connection() as client:
            for number in range(CHANGES):
                with commands.taken():
                    await world.haproxy.runtime.do([f"set server {name}/s1 weight 1"])
                    await client.get(HOST)
                new = {WEB: (servers[1 - number % 2].endpoint(),)}
                with changes.taken():
                    publishing = asyncio.ensure_future(world.router.publish(new))
                    while (await client.get(HOST)).server != servers[1 - number % 2].name:
                        pass
                await publishing
    late, floor = changes.percentile(0.95), commands.percentile(0.95)
    ours = f"{millis(late)} (median {millis(changes.median)}, worst {millis(max(changes))})"
    of_one = f"{millis(floor)} (median {millis(commands.median)})"
    return VISIBLE.kept(1000 * (late - floor), ours=ours, floor=of_one)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
