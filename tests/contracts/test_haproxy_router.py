"""HAProxy keeps the contract of routers, by real requests through a real HAProxy."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contracts.router import RouterContract
from tests.support.haproxy import HAProxyWorld, House
from tests.support.requirements import require

pytestmark = pytest.mark.needs("haproxy")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One HAProxy for all, with an event loop for each test."""
    require("haproxy")
    made = House(tmp_path_factory.mktemp("haproxy"))
    try:
        yield made
    finally:
        asyncio.run(made.router().stop())


class TestHAProxyRouter(RouterContract):
    @pytest.fixture
    async def world(self, house: House) -> AsyncIterator[HAProxyWorld]:
        async with house.opened() as world:
            yield world
