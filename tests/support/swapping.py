"""Replicas that take each other's place while requests come: as in a rollout, in its order.

New one answers, is published, the propagation passes; only then the old one is drained, and ends.
"""

import asyncio

from tests.contracts.router_world import WEB, RouterWorld
from tests.support.backends import Backend
from tests.support.load import Load


async def swap(world: RouterWorld, old: Backend, name: str) -> Backend:
    """Put a new replica in the place of `old`, which is gone afterwards."""
    new = Backend(name)
    await new.start()
    await world.publish({WEB: [new.endpoint()]})
    await old.drain()
    return new


async def swap_often(world: RouterWorld, first: Backend, load: "asyncio.Task[Load]") -> int:
    """Swap until the load ends; how often."""
    current, times = first, 0
    try:
        while not load.done():
            current = await swap(world, current, f"replica-{times}")
            times += 1
    finally:
        await current.stop()
    return times
