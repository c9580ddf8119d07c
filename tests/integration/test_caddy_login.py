"""A user signs in at our own login, and Caddy tells the app who it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from adapters.caddy.router import CaddyRouter
from adapters.caddy.site import Verify
from gateway.api import build
from gateway.server import serve
from tests.contracts.router_world import WEB, row, table
from tests.support.backends import backends
from tests.support.caddies import TARGET, CaddyPlace
from tests.support.gateway import House
from tests.support.sign_in import sign_in

pytestmark = pytest.mark.needs("caddy")


async def test_who_signs_in_is_known_to_the_app(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.services = replace(house.services, login_key=b"k" * 32)
    place = CaddyPlace(tmp_path)
    async with (
        serve(build(house.services), "127.0.0.1", 0, closing=house.services.closing) as serving,
        backends("web") as (web,),
    ):
        verify = Verify(f"127.0.0.1:{serving.port}")
        router = CaddyRouter(tmp_path, TARGET, replace(place.settings, verify=verify))
        await router.apply(table(row("a.test", auth="hard")))
        await router.publish({WEB: (web.endpoint(),)})
        try:
            await sign_in(place.settings.http[0])
        finally:
            await router.close()
            await place.close()
