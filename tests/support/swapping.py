"""Replicas that take each other's place while requests come: as in a rollout, in its order.

New one answers, is published, the propagation passes; only then the old one is drained, and ends.
Contexts come and go the same way, and nothing is asked twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from projections.route_table import Header, Share, Tls
from tests.contracts.router_world import WEB, RouterWorld, backend, row
from tests.support import load
from tests.support.backends import Backend
from tests.support.load import Load

HOST: Final = "a.test"
SECONDS: Final = 6.0  # of load
ROWS: Final = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))

FEATURE: Final = backend("feature")
CONTEXT: Final = Header("x-context", "feature-1")
CONTEXT_SECONDS: Final = 4.0
_SCHEMES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"scheme": "https", "tls": Tls(mode="internal")},
)

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
    assert times > 1


async def contexts_lose_nothing(world: RouterWorld) -> None:
    """Let contexts come and go under load with and without their header, of both protocols."""
    first, feature = await first_replica(world), Backend("feature")
    await feature.start()
    await world.publish({WEB: [first.endpoint()], FEATURE: [feature.endpoint()]})
    carried = f"{CONTEXT.name}: {CONTEXT.value}"
    loading = asyncio.gather(
        load.over_http1(world.http, HOST, CONTEXT_SECONDS),
        load.over_http1(world.http, HOST, CONTEXT_SECONDS, carried),
        load.over_http2(world.https, HOST, CONTEXT_SECONDS),
    )
    contexts = [
        row(HOST, to=FEATURE, context=CONTEXT, fallback=(Share(WEB, 1),), **said)
        for said in _SCHEMES
    ]
    times = 0
    try:
        while not loading.done():
            times += 1
            await world.apply(*contexts, *ROWS)
            await asyncio.sleep(0.05)
            await world.apply(*ROWS)
    finally:
        found = await loading
        await feature.stop()
        await first.stop()
    assert [one.lost for one in found] == [0, 0, 0], [one.said for one in found]
    assert all(one.requests for one in found)
    assert times > 2
    assert feature.asked, "no request ever met the context"
