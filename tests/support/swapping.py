"""Replicas that take each other's place while requests come: as in a rollout, in its order.

New one answers, is published, the propagation passes; only then the old one is drained, and ends.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from projections.route_table import Tls
from tests.contracts.router_world import WEB, RouterWorld, row
from tests.support import load
from tests.support.backends import Backend
from tests.support.load import Load

HOST: Final = "a.test"
SECONDS: Final = 6.0  # of load
ROWS: Final = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))

type Way = Callable[[RouterWorld, float], Awaitable[Load]]


def http1(world: RouterWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http1(world.http, HOST, seconds)


def http2(world: RouterWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http2(world.https, HOST, seconds)


async def first_replica(world: RouterWorld) -> Backend:
    """A replica that serves over HTTP and HTTPS."""
    first = Backend("first")
    await first.start()
    await world.serve(ROWS, {WEB: [first.endpoint()]})
    await world.certified(HOST)
    return first


async def swap(world: RouterWorld, old: Backend, name: str) -> Backend:
    """Put a new replica in the place of `old`, which is gone afterwards."""
    new = Backend(name)
    await new.start()
    await world.publish({WEB: [new.endpoint()]})
    await old.drain()
    return new


async def swap_often(world: RouterWorld, first: Backend, loading: "asyncio.Future[Load]") -> int:
    """Swap until the load ends; how often."""
    current, times = first, 0
    try:
        while not loading.done():
            current = await swap(world, current, f"replica-{times}")
            times += 1
    finally:
        await current.stop()
    return times


async def loses_nothing(world: RouterWorld, way: Way) -> None:
    """Swap replicas under load, and see that every request was answered."""
    first = await first_replica(world)
    loading = asyncio.ensure_future(way(world, SECONDS))
    times = await swap_often(world, first, loading)
    found = await loading
    assert found.lost == 0, found.said
    assert found.requests > 100
    assert times > 2
