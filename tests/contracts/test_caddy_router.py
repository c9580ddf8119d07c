"""Caddy keeps the contract of routers, by real requests through a real Caddy."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contracts.router import RouterContract
from tests.support.caddies import CaddyPlace, CaddyWorld, caddy_place
from tests.support.requirements import require

pytestmark = pytest.mark.needs("caddy")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaddyPlace]:
    """One Caddy for all: starting it takes longer than most tests."""
    require("caddy")
    with caddy_place(tmp_path_factory.mktemp("caddy")) as made:
        yield made


class TestCaddyRouter(RouterContract):
    @pytest.fixture
    async def world(self, place: CaddyPlace) -> AsyncIterator[CaddyWorld]:
        async with place.opened() as world:
            yield world
