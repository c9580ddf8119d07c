"""A user who signs in at our own login, in front of an app behind a router."""

from urllib.parse import parse_qs, urlsplit

import httpx

from gateway.login import LOGIN
from tests.contracts.router_world import USER, name_of


async def sign_in(address: str) -> None:
    """Sign in as `alice` at the route `a.test` with auth `hard` of the router at an address."""
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
