"""The question of routers who a user is, and the login for developers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from gateway.api import build
from gateway.login import COOKIE, LOGIN, TICKET, USER, VERIFY
from gateway.signing import SECONDS, Purpose, Signing
from tests.support.gateway import House, problem

HOST = "shop.localhost:8080"
KEY = b"k" * 32


@pytest.fixture
async def open_house(house: House) -> House:
    """The gateway with the login for developers."""
    house.services = replace(house.services, login_key=KEY)
    house.app = build(house.services)
    return house


@pytest.fixture
async def router(open_house: House) -> AsyncIterator[httpx.AsyncClient]:
    """What a router asks, about a request of a browser that keeps no cookie here."""
    async with open_house.client(Authorization="") as client:
        client.headers["X-Forwarded-Host"] = HOST
        client.headers["X-Forwarded-Proto"] = "http"
        yield client


async def asked(
    router: httpx.AsyncClient, auth: str, uri: str = "/x?a=1", cookie: str = ""
) -> httpx.Response:
    headers = {"X-Forwarded-Uri": uri} | ({"Cookie": f"{COOKIE}={cookie}"} if cookie else {})
    return await router.get(VERIFY, params={"auth": auth}, headers=headers)


async def signed_in(router: httpx.AsyncClient, name: str = "alice") -> tuple[str, str]:
    """Go the whole way; the cookie, and where the browser is then."""
    to = (await asked(router, "hard")).headers["location"]
    page = await router.get(to)
    assert page.status_code == 200
    form = {"to": parse_qs(urlsplit(to).query)["to"][0], "user": name}
    back = await router.post(LOGIN, data=form)
    assert back.status_code == 303
    where = urlsplit(back.headers["location"])
    assert (where.scheme, where.netloc, where.path) == ("http", HOST, "/x")
    welcome = await asked(router, "hard", f"{where.path}?{where.query}")
    assert welcome.status_code == 302
    return welcome.cookies[COOKIE], welcome.headers["location"]


async def test_it_is_not_there_unless_it_was_switched_on(house: House) -> None:
    async with house.client(Authorization="") as stranger:
        for path in (VERIFY, LOGIN):
            problem(await stranger.get(path), 401, "Unauthenticated")
    async with house.client() as known:
        problem(await known.get(VERIFY), 404, "NoSuchPath")


async def test_it_is_open_only_while_bound_to_loopback(open_house: House) -> None:
    open_house.services = replace(open_house.services, loopback=False)
    open_house.app = build(open_house.services)
    async with open_house.client(Authorization="") as stranger:
        for path in (VERIFY, LOGIN):
            problem(await stranger.get(path), 401, "Unauthenticated")


async def test_who_signs_in_is_known_on_this_host_from_then_on(router: httpx.AsyncClient) -> None:
    cookie, where = await signed_in(router)
    assert where == f"http://{HOST}/x?a=1"
    for auth in ("soft", "hard"):
        known = await asked(router, auth, cookie=cookie)
        assert (known.status_code, known.headers[USER]) == (200, "alice")


async def test_a_cookie_of_one_host_is_nothing_to_another(router: httpx.AsyncClient) -> None:
    cookie, _ = await signed_in(router)
    router.headers["X-Forwarded-Host"] = "evil.localhost:8080"
    assert (await asked(router, "hard", cookie=cookie)).status_code == 302
    assert USER not in (await asked(router, "soft", cookie=cookie)).headers


async def test_who_is_unknown_passes_soft_and_is_sent_to_the_login_by_hard(
    router: httpx.AsyncClient,
) -> None:
    soft = await asked(router, "soft", cookie="made-up")
    assert (soft.status_code, USER in soft.headers) == (200, False)
    hard = await asked(router, "hard")
    assert hard.status_code == 302
    assert hard.headers["location"].startswith(f"http://127.0.0.1:7440{LOGIN}?to=")


async def test_what_was_signed_is_good_for_a_while(
    router: httpx.AsyncClient, open_house: House
) -> None:
    cookie, _ = await signed_in(router)
    open_house.time += SECONDS["cookie"] - 1
    assert (await asked(router, "hard", cookie=cookie)).status_code == 200
    open_house.time += 2
    assert (await asked(router, "hard", cookie=cookie)).status_code == 302


async def test_a_ticket_cannot_be_kept(router: httpx.AsyncClient, open_house: House) -> None:
    signing = Signing(KEY, lambda: open_house.time)
    ticket = signing.sign("ticket", HOST, "alice")
    open_house.time += SECONDS["ticket"] + 1
    late = await asked(router, "hard", f"/x?{TICKET}={ticket}")
    assert late.headers["location"].startswith(f"http://127.0.0.1:7440{LOGIN}")


@pytest.mark.parametrize("purpose", ["cookie", "return"])
async def test_what_was_signed_for_one_purpose_is_for_no_other(
    router: httpx.AsyncClient, open_house: House, purpose: Purpose
) -> None:
    other = Signing(KEY, lambda: open_house.time).sign(purpose, HOST, "alice")
    assert USER not in (await asked(router, "soft", f"/x?{TICKET}={other}")).headers
    assert Signing(b"x" * 32, lambda: open_house.time).read(purpose, HOST, other) is None


async def test_over_https_the_cookie_stays_there(router: httpx.AsyncClient) -> None:
    router.headers["X-Forwarded-Proto"] = "https"
    to = (await asked(router, "hard")).headers["location"]
    form = {"to": parse_qs(urlsplit(to).query)["to"][0], "user": "alice"}
    where = urlsplit((await router.post(LOGIN, data=form)).headers["location"])
    assert where.scheme == "https"
    welcome = await asked(router, "hard", f"/x?{where.query}")
    kept = welcome.headers["set-cookie"].lower()
    assert all(word in kept for word in ("; secure", "; httponly", "; samesite=lax"))


@pytest.mark.parametrize("to", ["", "made-up", "http://evil.example/"])
async def test_nobody_is_sent_where_no_router_asked_from(
    router: httpx.AsyncClient, to: str
) -> None:
    problem(await router.get(LOGIN, params={"to": to}), 400, "Malformed")
    problem(await router.post(LOGIN, data={"to": to, "user": "alice"}), 400, "Malformed")


async def test_a_form_of_another_site_is_refused(router: httpx.AsyncClient) -> None:
    form = {"to": "", "user": "alice"}
    origin = {"Origin": "http://evil.example"}
    problem(await router.post(LOGIN, data=form, headers=origin), 403, "Forbidden")


@pytest.mark.parametrize("name", ["", " ", "-a", "a b", "a\nb", "ä", "x" * 65, '"><script>'])
async def test_a_name_that_is_none_is_asked_for_again(router: httpx.AsyncClient, name: str) -> None:
    to = (await asked(router, "hard")).headers["location"]
    form = {"to": parse_qs(urlsplit(to).query)["to"][0], "user": name}
    again = await router.post(LOGIN, data=form)
    assert again.status_code == 422
    assert "<script>" not in again.text


async def test_a_question_that_is_none_says_why(router: httpx.AsyncClient) -> None:
    problem(await asked(router, "perhaps"), 400, "Malformed")
    del router.headers["X-Forwarded-Host"]
    problem(await asked(router, "hard"), 400, "Malformed")


async def test_a_form_that_is_too_long_is_refused(router: httpx.AsyncClient) -> None:
    problem(await router.post(LOGIN, data={"user": "x" * 9000}), 400, "Malformed")
