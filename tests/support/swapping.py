"""Replicas that take each other's place while requests come: as in a rollout, in its order.

New one answers, is published, the propagation passes; only then the old one is drained, and ends.
Contexts come and go the same way, and nothing is asked twice. How long there is load is decided by
how often something was done under it, and not by a clock: what a slow machine does is as much.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from projections.route_table import Header, Share, Tls
from tests.contracts.router_world import WEB, RouterWorld, backend, row
from tests.support import load
from tests.support.backends import Backend
from tests.support.load import Load

HOST: Final = "a.test"
SECONDS: Final = 3.0  # of load, which comes in rounds
TIMES: Final = 3  # that something is done under load, at least
REQUESTS: Final = 100  # of each load, at least
ROWS: Final = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))

FEATURE: Final = backend("feature")
CONTEXT: Final = Header("x-context", "feature-1")
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


async def under_load(
    loads: Sequence[Callable[[float], Awaitable[Load]]],
    do: Callable[[int], Awaitable[None]],
    enough: Callable[[], object] = lambda: True,
) -> list[Load]:
    """Do something again and again, `TIMES` times at least, while there is load of each kind.

    Returns what came of each in all rounds together.
    """
    times, rounds = 0, [Load(0, 0, 0.0, "") for _ in loads]
    while times < TIMES or min(one.requests for one in rounds) < REQUESTS or not enough():
        loading = asyncio.gather(*(one(SECONDS) for one in loads))
        try:
            while not loading.done():
                await do(times)
                times += 1
        finally:
            found = await loading
        rounds = [sum_of(*both) for both in zip(rounds, found, strict=True)]
    return rounds


def sum_of(one: Load, other: Load) -> Load:
    return Load(
        one.requests + other.requests,
        one.lost + other.lost,
        one.seconds + other.seconds,
        one.said + other.said,
    )


async def loses_nothing(world: RouterWorld, way: Way) -> None:
    """Swap replicas under load, and see that every request was answered."""
    current = await first_replica(world)

    async def do(number: int) -> None:
        nonlocal current
        current = await swap(world, current, f"replica-{number}")

    try:
        [found] = await under_load([partial(way, world)], do)
    finally:
        await current.stop()
    assert found.lost == 0, found.said


async def contexts_lose_nothing(world: RouterWorld) -> None:
    """Let contexts come and go under load with and without their header, of both protocols."""
    first, feature = await first_replica(world), Backend("feature")
    await feature.start()
    await world.publish({WEB: [first.endpoint()], FEATURE: [feature.endpoint()]})
    contexts = [
        row(HOST, to=FEATURE, context=CONTEXT, fallback=(Share(WEB, 1),), **said)
        for said in _SCHEMES
    ]

    async def do(_number: int) -> None:
        await world.apply(*contexts, *ROWS)
        await asyncio.sleep(0.05)
        await world.apply(*ROWS)

    def carrying(seconds: float) -> Awaitable[Load]:
        return load.over_http1(world.http, HOST, seconds, f"{CONTEXT.name}: {CONTEXT.value}")

    ways: list[Callable[[float], Awaitable[Load]]] = [
        partial(http1, world),
        carrying,
        partial(http2, world),
    ]
    try:
        found = await under_load(ways, do, enough=lambda: feature.asked)
    finally:
        await feature.stop()
        await first.stop()
    assert [one.lost for one in found] == [0, 0, 0], [one.said for one in found]
