"""Under load nothing is lost while replicas, routes of others and our own programs change.

The programs that load are strangers, count for themselves, and repeat nothing.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from projections.route_table import Tls
from tests.contracts.router_world import WEB, row
from tests.support import load
from tests.support.backends import Backend
from tests.support.caddies import CaddyPlace, CaddyWorld, caddy_place
from tests.support.load import Load
from tests.support.requirements import require
from tests.support.swapping import swap_often

pytestmark = pytest.mark.needs("caddy", "load")

HOST = "a.test"
SECONDS = 6.0
ROWS = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaddyPlace]:
    require("caddy", "load")
    with caddy_place(tmp_path_factory.mktemp("caddy")) as made:
        yield made


@pytest.fixture
async def world(place: CaddyPlace) -> AsyncIterator[CaddyWorld]:
    async with place.opened() as world:
        yield world


async def first_replica(world: CaddyWorld) -> Backend:
    """A replica that serves over HTTP and HTTPS."""
    first = Backend("first")
    await first.start()
    await world.serve(ROWS, {WEB: [first.endpoint()]})
    await world.certified(HOST)
    return first


def http1(world: CaddyWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http1(world.http, HOST, seconds)


def http2(world: CaddyWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http2(world.https, HOST, seconds)


@pytest.mark.parametrize("way", [http1, http2])
async def test_no_request_is_lost_while_replicas_take_each_others_place(
    world: CaddyWorld, way: Callable[[CaddyWorld, float], Awaitable[Load]]
) -> None:
    first = await first_replica(world)
    loading = asyncio.ensure_future(way(world, SECONDS))
    times = await swap_often(world, first, loading)
    found = await loading
    assert found.lost == 0, found.said
    assert found.requests > 100
    assert times > 2


async def test_the_death_of_a_resolver_and_of_us_stops_no_traffic(world: CaddyWorld) -> None:
    first = await first_replica(world)
    loading = asyncio.ensure_future(load.over_http1(world.http, HOST, SECONDS))
    await asyncio.sleep(0.5)
    await world.caddy.close()  # Nobody begins anything again any more.
    pid = world.caddy.programs.resolvers[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    found = await loading
    assert found.lost == 0, found.said
    assert found.requests > 100

    router = await world.reopened()
    await router.publish({WEB: (first.endpoint(),)})
    assert all(one.runs for one in world.routers[-1].programs.resolvers)
    await first.stop()
