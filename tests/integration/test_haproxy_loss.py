"""Under load nothing is lost while replicas and routes of others change, a reload included."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from secrets import token_hex

import pytest

from projections.route_table import Header
from tests.contracts.router_world import backend, row
from tests.support.haproxy import HAProxyWorld, House
from tests.support.load import CONNECTIONS, Load
from tests.support.requirements import require
from tests.support.swapping import (
    HOST,
    ROWS,
    TIMES,
    Way,
    contexts_lose_nothing,
    first_replica,
    http1,
    http2,
    loses_nothing,
    under_load,
)

RELOADS = TIMES

pytestmark = pytest.mark.needs("haproxy", "load")


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


@pytest.mark.parametrize("way", [http1, http2])
async def test_no_request_is_lost_while_replicas_take_each_others_place(
    world: HAProxyWorld, way: Way
) -> None:
    await loses_nothing(world, way)
    assert world.haproxy.running.reloads == 0


async def test_no_request_is_lost_while_contexts_come_and_go(world: HAProxyWorld) -> None:
    await contexts_lose_nothing(world)
    assert world.haproxy.running.reloads == 0


async def reloaded_under_load(world: HAProxyWorld, way: Way) -> Load:
    """A header that no route named before takes a reload; three of them."""
    first = await first_replica(world)
    new = token_hex(2)  # also in a second try

    async def do(number: int) -> None:
        if number < RELOADS:
            context = Header(f"x-{new}-{number}", "1")
            await world.apply(row(HOST, to=backend("other"), context=context), *ROWS)
        await asyncio.sleep(0.2)

    [found] = await under_load([partial(way, world)], do)
    await first.stop()
    assert world.haproxy.running.reloads == RELOADS
    return found


async def test_no_request_is_lost_while_workers_take_each_others_place(
    world: HAProxyWorld,
) -> None:
    found = await reloaded_under_load(world, http1)
    assert found.lost == 0, found.said


async def test_a_reload_costs_http2_no_more_than_what_goaway_refuses(world: HAProxyWorld) -> None:
    """The old worker refuses what a connection sent while it said good-bye, unprocessed.

    Clients send that again elsewhere; the load tool does not, and counts it.
    """
    found = await reloaded_under_load(world, http2)
    assert found.lost <= RELOADS * CONNECTIONS, found.said
