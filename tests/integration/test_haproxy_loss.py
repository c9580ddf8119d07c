"""Under load nothing is lost while replicas and routes of others change, a reload included."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from projections.route_table import Header, Tls
from tests.contracts.router_world import WEB, RouterWorld, backend, row
from tests.support import load
from tests.support.backends import Backend
from tests.support.haproxy import HAProxyWorld, House
from tests.support.load import Load
from tests.support.requirements import require
from tests.support.swapping import swap_often

pytestmark = pytest.mark.needs("haproxy", "load")

HOST = "a.test"
SECONDS = 6.0
ROWS = (row(HOST), row(HOST, scheme="https", tls=Tls(mode="internal")))

type Way = Callable[[RouterWorld, float], Awaitable[Load]]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    require("haproxy", "load")
    made = House(tmp_path_factory.mktemp("haproxy"))
    try:
        yield made
    finally:
        asyncio.run(made.router().stop())


@pytest.fixture
async def world(house: House) -> AsyncIterator[HAProxyWorld]:
    async with house.opened() as world:
        yield world


async def first_replica(world: RouterWorld) -> Backend:
    """A replica that serves over HTTP and HTTPS."""
    first = Backend("first")
    await first.start()
    await world.serve(ROWS, {WEB: [first.endpoint()]})
    await world.certified(HOST)
    return first


def http1(world: RouterWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http1(world.http, HOST, seconds)


def http2(world: RouterWorld, seconds: float) -> Awaitable[Load]:
    return load.over_http2(world.https, HOST, seconds)


@pytest.mark.parametrize("way", [http1, http2])
async def test_no_request_is_lost_while_replicas_take_each_others_place(
    world: HAProxyWorld, way: Way
) -> None:
    first = await first_replica(world)
    loading = asyncio.ensure_future(way(world, SECONDS))
    times = await swap_often(world, first, loading)
    found = await loading
    assert found.lost == 0, found.said
    assert found.requests > 100
    assert times > 2
    assert world.haproxy.running.reloads == 0


@pytest.mark.parametrize("way", [http1, http2])
async def test_no_request_is_lost_while_workers_take_each_others_place(
    world: HAProxyWorld, way: Way
) -> None:
    """A header that no route named before takes a reload."""
    first = await first_replica(world)
    loading = asyncio.ensure_future(way(world, SECONDS))
    for number in range(3):
        await asyncio.sleep(0.5)
        context = Header(f"x-{way.__name__}-{number}", "1")
        await world.apply(row(HOST, to=backend("other"), context=context), *ROWS)
    found = await loading
    await first.stop()
    assert found.lost == 0, found.said
    assert found.requests > 100
    assert world.haproxy.running.reloads == 3
