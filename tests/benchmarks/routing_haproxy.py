"""HAProxy under load: what is lost while replicas change, and how soon a change shows."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.places import on_disk
from tests.benchmarks.routing import CHANGES, HOST, ROWS, SWAPS, lost, over_http1, over_http2
from tests.benchmarks.rows import Promise, Row, Times, millis, show
from tests.contracts.router_world import WEB, name_of, row
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
    " `wrk` and `h2load`. The floor of a change is the median time of one command that sets a"
    f" server's weight; a change shows when the new endpoint answers a client that asks all the"
    f" while: the 95th percentile of {CHANGES}, from the call."
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
    floor = await _command(world)
    times = Times()
    async with backends("one", "two") as servers, world.client(HOST) as client:
        await world.serve(ROWS, {WEB: [servers[0].endpoint()]})
        for number in range(CHANGES):
            new = servers[1 - number % 2]
            began = time.perf_counter()
            publishing = asyncio.ensure_future(world.router.publish({WEB: (new.endpoint(),)}))
            while name_of(await client.get("/")) != new.name:
                pass
            times.append(time.perf_counter() - began)
            await publishing
    late = times.percentile(0.95)
    ours = f"{millis(late)} (median {millis(times.median)}, worst {millis(max(times))})"
    return VISIBLE.kept(1000 * (late - floor), ours=ours, floor=millis(floor))


async def _command(world: HAProxyWorld) -> float:
    """Seconds that one command takes."""
    times = Times()
    async with backends("web") as (web,):
        await world.serve([row("a.test")], {WEB: [web.endpoint()]})
        [name] = world.haproxy.backends
        for _ in range(CHANGES):
            with times.taken():
                await world.haproxy.runtime.do([f"set server {name}/s1 weight 1"])
    return times.median


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
