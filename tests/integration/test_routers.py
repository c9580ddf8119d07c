"""From what an operator says of routing to the program that serves it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import httpx
import pytest

from domain.routing import Entries, Routing
from domain.target import DockerSettings, TargetSpec
from projections.route_table import Tls
from reconcilers.router_ports import OpenedRouter, RouterMissing, RouterUnavailable, RouterUnwanted
from stateward import caged
from stateward.routers import FOLDER, Routers
from tests.contracts.router_world import WEB, row, table
from tests.support.backends import Backend, backends
from tests.support.caddies import free_port
from tests.support.intents import NOON, Desk, manifest
from tests.support.nats_tls import Authority


class Place:
    """One target, and the routers that were opened for it."""

    def __init__(self, directory: Path) -> None:
        self.entries = Entries(http=f"127.0.0.1:{free_port()}", https=f"127.0.0.1:{free_port()}")
        self.desk = Desk()
        self.routers = Routers(directory, self.desk.log, self.desk.secrets, now=lambda: NOON)
        self.opened: list[OpenedRouter] = []

    async def open(self, router: Literal["caddy", "haproxy", "gateway"]) -> OpenedRouter:
        routing = Routing(router=router, entries=self.entries)
        opened = await self.routers("local", TargetSpec(engine="process", routing=routing))
        self.opened.append(opened)
        return opened

    async def serve(self, opened: OpenedRouter, server: Backend) -> None:
        await opened.router.publish({WEB: (server.endpoint(),)})
        await opened.router.apply(table(row("a.test")))
        await asyncio.sleep(opened.router.propagation)

    async def served_by(self) -> str:
        """The program that answers; each says who it is, or nothing."""
        async with httpx.AsyncClient(timeout=30) as client:
            answer = await client.get(f"http://{self.entries.http}/", headers={"Host": "a.test"})
        assert answer.json()["name"] == "web"
        program: str = answer.headers.get("server", "HAProxy")
        return program


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path)
    yield place
    for opened in place.opened:
        await opened.router.stop()  # type: ignore[attr-defined]  # as both have it


@pytest.mark.needs("caddy", "haproxy")
async def test_who_takes_the_place_of_another_router_has_its_entries(place: Place) -> None:
    async with backends("web") as (web,):
        for router, program in (("caddy", "Caddy"), ("haproxy", "HAProxy"), ("caddy", "Caddy")):
            opened = await place.open(router)  # type: ignore[arg-type]  # one of two
            await place.serve(opened, web)
            assert await place.served_by() == program
            await opened.close()


@pytest.mark.needs("caddy", "haproxy")
@pytest.mark.parametrize("router", ["caddy", "haproxy"])
async def test_a_router_whose_target_is_gone_is_found_and_ended_by_who_comes_next(
    place: Place, tmp_path: Path, router: Literal["caddy", "haproxy"]
) -> None:
    async with backends("web") as (web,):
        opened = await place.open(router)
        await place.serve(opened, web)
        await opened.close()
        assert await place.served_by()
        later = Routers(tmp_path, place.desk.log, place.desk.secrets, now=lambda: NOON)
        assert later.begun() == ["local"]
        nothing = TargetSpec(engine="process", routing=Routing(router="none"))
        with pytest.raises(RouterUnwanted):
            await later("local", nothing)
        with pytest.raises(httpx.ConnectError):
            await place.served_by()


async def test_a_container_whose_daemon_is_away_is_not_ended_yet_and_that_is_said(
    place: Place, tmp_path: Path
) -> None:
    away = TargetSpec(engine="docker", docker=DockerSettings(host=f"unix://{tmp_path}/no.sock"))
    caged.remember(tmp_path / FOLDER, "local", away, "caddy:2")
    nothing = TargetSpec(engine="process", routing=Routing(router="none"))
    with pytest.raises(RouterUnavailable, match=r"Caddy cannot be ended: .*no\.sock"):
        await place.routers("local", nothing)
    assert caged.remembered(tmp_path / FOLDER, "local") == "caddy:2"


async def test_a_router_that_nobody_drives_is_missing(place: Place) -> None:
    with pytest.raises(RouterMissing, match=r"routing\.router of target local be caddy"):
        await place.open("gateway")


@pytest.mark.needs("caddy")
async def test_a_certificate_comes_from_its_secret(place: Place, tmp_path: Path) -> None:
    """What was set last, and named when it cannot be had."""
    await place.desk.furnish()
    tls = Tls(mode="secret", secret="Secret/shop/certificate")
    secure = row("own.test", scheme="https", tls=tls)
    opened = await place.open("caddy")
    assert [one.row for one in (await opened.router.apply(table(secure))).unserved] == [secure.id]
    made = Authority(tmp_path / "authority").certify("own", "own.test")
    values = {"tls.crt": made.certificate.read_text(), "tls.key": made.key.read_text()}
    await place.desk.send(manifest("Secret", "certificate", {"data": values}))
    applied = await opened.router.apply(table(secure))
    assert (applied.changed, applied.unserved) == (True, ())
    chain = next((tmp_path / "routers" / "local" / "files" / "certificates").glob("*.pem"))
    assert chain.read_bytes() == made.certificate.read_bytes()
