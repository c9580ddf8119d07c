"""HAProxy asks who a user is: answers that go to clients, what it takes to ask, a whole sign-in."""

from collections.abc import AsyncIterator
from dataclasses import replace
from os import environ
from pathlib import Path
from shutil import which

import pytest

from adapters.haproxy.router import HAProxyRouter
from adapters.haproxy.settings import ASKING
from domain.routing import Entries, Routing
from domain.target import TargetSpec
from gateway.api import build
from gateway.server import serve
from projections.route_table import Auth
from stateward.routers import Routers
from tests.contracts.router_world import USER, WEB, row, table
from tests.support.backends import Asked, Backend, Said, backends
from tests.support.gateway import House as Gateway
from tests.support.haproxy import House
from tests.support.intents import NOON, Desk
from tests.support.sign_in import sign_in

pytestmark = pytest.mark.needs("haproxy")

LONG = b"x" * 40_000
HARD = table(row("a.test", "/admin", auth="hard"), row("a.test"))


def answer(asked: Asked) -> Said:
    """The cookie says how: `STATUS`, or `long`; everybody else is alice."""
    said = asked.headers.get("cookie", "")
    if said == "long":
        return Said(403, {"content-type": "text/plain"}, LONG)
    if said:
        headers = {"www-authenticate": "Basic", "set-cookie": "a=1", USER: "root"}
        return Said(int(said), headers, b"who?")
    return Said(204, {USER: "alice"})


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def router(house: House) -> AsyncIterator[HAProxyRouter]:
    """With one app, `web`, and somebody who knows users."""
    verify = Backend("verify", answer)
    await verify.start(house.verify)
    async with house.serving() as router, backends("web") as (web,):
        await router.publish({WEB: (web.endpoint(),)})
        yield router
    await verify.stop()


async def test_a_refusal_goes_to_the_client_as_it_is(house: House, router: HAProxyRouter) -> None:
    await router.apply(HARD)
    refused = await house.get("a.test/admin", Cookie="401")
    assert (refused.status, refused.body) == (401, "who?")
    assert (refused.headers["www-authenticate"], refused.headers["set-cookie"]) == ("basic", "a=1")
    long = await house.get("a.test/admin", Cookie="long")
    assert (long.status, long.body) == (403, "")
    failed = await house.get("a.test/admin", Cookie="500")
    assert (failed.status, "nobody answers who you are" in failed.body) == (503, True)
    assert (await house.get("a.test/admin")).server == "web"


async def test_auth_of_a_route_comes_and_goes_without_a_reload(
    house: House, router: HAProxyRouter
) -> None:
    await router.apply(table(row("a.test")))
    worker = await router.runtime.worker()
    ways: tuple[Auth, ...] = ("hard", "soft", "off")
    for auth in ways:
        await router.apply(table(row("a.test", auth=auth)))
        asked = await house.get("a.test/", Cookie="401")
        assert asked.status == (401 if auth == "hard" else 200)
        assert USER.lower() not in asked.body
    assert await router.runtime.worker() == worker


async def test_a_guarded_path_is_found_however_it_is_written(
    house: House, router: HAProxyRouter
) -> None:
    guarded = row("a.test", "/admin", auth="hard", strip_prefix=True)
    await router.apply(table(guarded, row("a.test")))
    for path in ("x%2F..%2Fadmin/y", "x/y/../../admin/y", "x//../admin/y", "%2e/%61dmin/y"):
        assert (await house.get(f"a.test/{path}", Cookie="401")).status == 401
        known = await house.get(f"a.test/{path}")
        assert '"target": "/y"' in known.body
    assert (await house.get("a.test/x/../b", Cookie="401")).server == "web"


async def test_a_foreign_program_is_put_right_and_named(
    house: House, router: HAProxyRouter
) -> None:
    await router.apply(HARD)
    (house.directory / ASKING).write_text("-- nothing\n")
    assert f"file {ASKING}" in (await router.apply(HARD)).drift
    assert (await router.apply(HARD)).drift == ()
    assert (await house.get("a.test/admin", Cookie="401")).status == 401


async def test_a_program_that_breaks_lets_nobody_in(house: House, router: HAProxyRouter) -> None:
    """HAProxy goes on after an error in a program: that must not be to the app."""
    await router.apply(HARD)
    program = house.directory / ASKING
    program.write_text(program.read_text().replace("question(txn)", "no_such_function()"))
    await router.running.renew("admin-0.sock", "admin-0.sock")
    assert (await house.get("a.test/admin")).status == 503
    assert (await house.get("a.test/")).server == "web"


async def test_a_haproxy_without_lua_serves_no_row_that_asks(
    house: House, router: HAProxyRouter, tmp_path: Path
) -> None:
    program = tmp_path / "haproxy"
    real = which("haproxy", path=f"{environ['PATH']}:/usr/sbin")
    program.write_text(
        f'#!/bin/sh\n[ "$1" = -vv ] && {{ {real} -vv | sed s/+LUA/-LUA/; exit; }}\n'
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    without = house.router(replace(house.settings, program=str(program)))
    applied = await without.apply(table(row("a.test", auth="soft"), row("b.test")))
    assert ["built without Lua" in one.reason for one in applied.unserved] == [True]
    assert (await house.get("a.test/")).status == 501
    assert (await house.get("b.test/")).server == "web"
    await without.close()


async def test_who_signs_in_is_known_to_the_app(house: House, tmp_path: Path) -> None:
    """As assembled: the router of a target, told where the API is that knows users."""
    services = replace(Gateway(tmp_path).services, login_key=b"k" * 32)
    desk = Desk()
    routers = Routers(tmp_path, desk.log, desk.secrets, now=lambda: NOON, login=True)
    entries = Entries(http=house.settings.http[0], https=house.settings.https[0])
    spec = TargetSpec(engine="process", routing=Routing(router="haproxy", entries=entries))
    async with (
        serve(build(services), "127.0.0.1", 0, closing=services.closing) as serving,
        backends("web") as (web,),
    ):
        routers.listening(serving)
        router = (await routers("local", spec)).router
        assert isinstance(router, HAProxyRouter)
        try:
            assert (await router.apply(table(row("a.test", auth="hard")))).unserved == ()
            await router.publish({WEB: (web.endpoint(),)})
            await sign_in(house.settings.http[0])
        finally:
            await router.stop()
