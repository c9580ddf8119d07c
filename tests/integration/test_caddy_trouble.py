"""Trouble that only Caddy has: its socket, its first configuration, its versions, its helpers."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from adapters.caddy import programs
from adapters.caddy.router import CaddyRouter, CaddySettings
from adapters.caddy.site import Acme
from projections.route_table import RouteTable, Tls
from reconcilers.router_ports import RouterRefused, RouterUnavailable
from tests.contracts.router_world import PATIENCE, USER, WEB, name_of, row, table
from tests.support.backends import backends
from tests.support.caddies import TARGET, CaddyPlace, CaddyWorld

pytestmark = pytest.mark.needs("caddy")

ROWS = (row("a.test"),)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[CaddyPlace]:
    place = CaddyPlace(tmp_path)
    yield place
    await place.close()


@pytest.fixture
async def world(place: CaddyPlace) -> AsyncIterator[CaddyWorld]:
    async with place.opened() as world:
        yield world


async def test_without_caddy_the_error_says_how_to_get_it(tmp_path: Path) -> None:
    router = CaddyRouter(tmp_path, TARGET, CaddySettings(program="no-caddy-here"))
    with pytest.raises(RouterUnavailable, match="apt-get install caddy"):
        await router.apply(RouteTable())
    await router.close()


async def test_resolvers_that_died_begin_anew(world: CaddyWorld) -> None:
    async with backends("web", "new") as (web, new):
        await world.serve(ROWS, {WEB: [web.endpoint()]})
        before = [one.pid for one in world.caddy.programs.resolvers]
        for pid in before:
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await anext(aiter(world.router.watch()))
            while not all(one.runs for one in world.caddy.programs.resolvers):
                await asyncio.sleep(0.02)
        assert not {one.pid for one in world.caddy.programs.resolvers} & set(before)
        await world.publish({WEB: [new.endpoint()]})
        async with world.client("a.test") as client:
            assert name_of(await client.get("/")) == "new"


async def test_without_its_socket_caddy_serves_on_and_the_error_says_what_to_do(
    world: CaddyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "START_SECONDS", 0.5)
    async with backends("web", "new") as (web, new):
        await world.serve(ROWS, {WEB: [web.endpoint()]})
        (world.place.files / "admin.sock").unlink()
        with pytest.raises(RouterUnavailable, match=f"process {world.pid}.*end the process"):
            await world.apply(*ROWS, row("b.test"))
        await world.publish({WEB: [new.endpoint()]})
        async with world.client("a.test") as client:
            assert name_of(await client.get("/")) == "new"
            monkeypatch.setattr(programs, "START_SECONDS", PATIENCE)
            await world.kill()
            await world.apply(*ROWS, row("b.test"))
            assert name_of(await client.get("/", headers={"Host": "b.test"})) == "new"


async def test_a_configuration_that_caddy_cannot_begin_with_is_left_behind(
    world: CaddyWorld,
) -> None:
    async with backends("web") as (web,):
        await world.serve(ROWS, {WEB: [web.endpoint()]})
        await world.caddy.stop()
        (world.place.files / "config.json").write_text('{"apps": {"http": {"nonsense": 1}}}')
        router = await world.reopened()
        assert (await router.apply(table(*ROWS))).changed
        async with world.client("a.test") as client:
            assert name_of(await client.get("/")) == "web"


async def test_an_entry_that_is_taken_is_named(place: CaddyPlace) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = replace(place.settings, http=(address,))
        router = CaddyRouter(place.root, TARGET, settings)
        with pytest.raises(RouterUnavailable, match="address already in use"):
            await router.apply(RouteTable())
        await router.close()
    await CaddyRouter(place.root, TARGET, place.settings).close()


async def test_an_entry_that_cannot_be_moved_to_leaves_the_one_before(world: CaddyWorld) -> None:
    async with backends("web") as (web,):
        await world.serve(ROWS, {WEB: [web.endpoint()]})
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            other = CaddyRouter(world.place.root, TARGET, replace(world.settings, http=(address,)))
            with pytest.raises(RouterRefused, match="address already in use"):
                await other.apply(table(*ROWS))
            await other.close()
        async with world.client("a.test") as client:
            assert name_of(await client.get("/")) == "web"


async def test_the_inner_port_is_chosen_anew_when_another_program_took_it(
    world: CaddyWorld,
) -> None:
    async with backends("web") as (web,):
        await world.serve(ROWS, {WEB: [web.endpoint()]})
        await world.caddy.stop()
        port = int((world.place.files / "port").read_text())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", port))
            router = await world.reopened()
            await router.apply(table(*ROWS))
            await router.publish({WEB: (web.endpoint(),)})
            await asyncio.sleep(router.propagation)
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"
        assert int((world.place.files / "port").read_text()) != port


async def test_what_somebody_adds_is_named_and_goes(world: CaddyWorld) -> None:
    await world.apply(*ROWS)
    server = b'{"listen": ["127.0.0.1:0"]}'
    await world.ask("PUT", "/config/apps/http/servers/strange", server)
    applied = await world.apply(*ROWS)
    assert applied.drift == ("/apps/http/servers/strange was added",)
    assert b"strange" not in (await world.ask("GET", "/config/apps")).content


async def test_an_authority_that_does_not_answer_harms_no_other_host(world: CaddyWorld) -> None:
    acme = Acme(directory="http://127.0.0.1:1/directory")
    router = CaddyRouter(world.place.root, TARGET, replace(world.settings, acme=acme))
    async with backends("web") as (web,):
        auto = row("auto.test", scheme="https", tls=Tls(mode="auto"))
        secure = row("a.test", scheme="https", tls=Tls(mode="internal"))
        await router.apply(table(auto, secure, *ROWS))
        await router.publish({WEB: (web.endpoint(),)})
        await asyncio.sleep(router.propagation)
        await world.certified("a.test")
        async with world.client("a.test") as client:
            assert name_of(await client.get("/")) == "web"
    await router.close()


async def test_what_runs_says_which_version_it_is(world: CaddyWorld) -> None:
    """Not what is installed by now: a field that only the next one knows would be refused."""
    await world.apply(*ROWS)
    installed = await world.caddy.programs.version()
    other = CaddyRouter(
        world.place.root, TARGET, replace(world.settings, program="gone-since-then")
    )
    assert await other.programs.version() == installed
    await other.close()


async def test_a_caddy_that_is_asked_for_in_a_deep_directory_has_a_socket_all_the_same(
    tmp_path: Path,
) -> None:
    place = CaddyPlace(tmp_path / ("deep" * 20) / ("deeper" * 10))
    async with place.opened() as world:
        await world.apply(*ROWS)
    await place.close()


async def test_where_nobody_knows_users_what_is_for_them_says_so(place: CaddyPlace) -> None:
    router = CaddyRouter(place.root, TARGET, place.settings)
    hard, soft = row("hard.test", auth="hard"), row("soft.test", auth="soft")
    async with backends("web") as (web,):
        await router.publish({WEB: (web.endpoint(),)})
        applied = await router.apply(table(hard, soft))
        assert [one.row for one in applied.unserved] == [hard.id]
        host, port = place.settings.http[0].split(":")
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            refused = await client.get("/", headers={"Host": "hard.test", USER: "root"})
            assert (refused.status_code, "no sign-in is set up" in refused.text) == (503, True)
            let_in = await client.get("/", headers={"Host": "soft.test", USER: "root"})
            assert USER.lower() not in let_in.json()["headers"]
    await router.close()
