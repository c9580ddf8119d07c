"""A user signs in at our own login, and Caddy tells the app who it is."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from adapters.caddy.router import CaddyRouter
from adapters.caddy.site import Verify
from gateway.api import build
from gateway.login import LOGIN
from gateway.server import serve
from tests.contracts.router_world import USER, WEB, name_of, row, table
from tests.support.backends import backends
from tests.support.caddies import TARGET, CaddyPlace
from tests.support.gateway import House

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


async def sign_in(address: str) -> None:
    async with httpx.AsyncClient(timeout=30) as browser:

        async def app(target: str, **headers: str) -> httpx.Response:
            return await browser.get(
                f"http://{address}{target}", headers={"Host": "a.test"} | headers
            )

        sent = await app("/x?a=1")
        assert sent.status_code == 302
        login = urlsplit(sent.headers["location"])
        assert login.path == LOGIN
        assert (await browser.get(sent.headers["location"])).status_code == 200
        form = {"to": parse_qs(login.query)["to"][0], "user": "alice"}
        back = await browser.post(f"http://{login.netloc}{LOGIN}", data=form)
        where = urlsplit(back.headers["location"])
        assert where.netloc == "a.test"
        welcome = await app(f"{where.path}?{where.query}")
        assert (welcome.status_code, welcome.headers["location"]) == (302, "http://a.test/x?a=1")
        cookie = welcome.headers["set-cookie"].partition(";")[0]
        known = await app("/x?a=1", Cookie=cookie, **{USER: "root"})
        assert name_of(known) == "web"
        assert known.json()["headers"][USER.lower()] == "alice"
