"""Under load nothing is lost while replicas, routes of others and our own programs change.

The programs that load are strangers, count for themselves, and repeat nothing.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contracts.router_world import WEB
from tests.support import load
from tests.support.caddies import CaddyPlace, CaddyWorld, caddy_place
from tests.support.requirements import require
from tests.support.swapping import (
    HOST,
    ROWS,
    SECONDS,
    Way,
    contexts_lose_nothing,
    first_replica,
    http1,
    http2,
    loses_nothing,
)

pytestmark = pytest.mark.needs("caddy", "load")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaddyPlace]:
    require("caddy", "load")
    with caddy_place(tmp_path_factory.mktemp("caddy")) as made:
        yield made


@pytest.fixture
async def world(place: CaddyPlace) -> AsyncIterator[CaddyWorld]:
    async with place.opened() as world:
        yield world


@pytest.mark.parametrize("way", [http1, http2])
async def test_no_request_is_lost_while_replicas_take_each_others_place(
    world: CaddyWorld, way: Way
) -> None:
    await loses_nothing(world, way)


async def test_no_request_is_lost_while_contexts_come_and_go(world: CaddyWorld) -> None:
    await world.apply(*ROWS)
    before = (await world.ask("GET", "/config/")).content
    await contexts_lose_nothing(world)
    assert (await world.ask("GET", "/config/")).content == before


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
