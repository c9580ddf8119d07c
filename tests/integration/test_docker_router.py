"""Caddy as a container of a Docker target, on a host that has no such program."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from docker.errors import NotFound

from domain.routing import Entries, Routing
from domain.target import DockerSettings, TargetSpec
from reconcilers.router_ports import OpenedRouter, RouterMissing, RouterUnwanted
from stateward import routers
from stateward.routers import Routers
from tests.contracts.router_world import PATIENCE, WEB, row, table
from tests.support.backends import backends
from tests.support.caddies import free_port
from tests.support.docker_daemon import DockerDaemon
from tests.support.docker_world import client, daemon
from tests.support.images import program_image
from tests.support.intents import NOON, Desk

__all__ = ["client", "daemon"]

pytestmark = pytest.mark.needs("docker", "caddy")

MISSING = "there is no program 'caddy' on this host"


class Host:
    """A Docker target of a host without Caddy, whose operator named an image of it."""

    def __init__(self, root: Path, daemon: DockerDaemon, image: str | None) -> None:
        desk = Desk()
        self.docker, self.image = DockerSettings(host=daemon.host), image
        self.entries = Entries(http=f"127.0.0.1:{free_port()}", https=f"127.0.0.1:{free_port()}")
        self.routers = Routers(root, desk.log, desk.secrets, now=lambda: NOON)

    async def open(self, router: Any = "caddy") -> OpenedRouter:
        routing = Routing(router=router, entries=self.entries, image=self.image)
        spec = TargetSpec(engine="docker", docker=self.docker, routing=routing)
        return await self.routers("hub", spec)

    async def ask(self) -> str:
        """Who answers, once somebody does."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(httpx.HTTPError, KeyError):
                    async with httpx.AsyncClient() as http:
                        url = f"http://{self.entries.http}/"
                        answer = await http.get(url, headers={"Host": "a.test"})
                    return str(answer.json()["name"])
                await asyncio.sleep(0.05)


@pytest.fixture
async def host(
    tmp_path: Path,
    daemon: DockerDaemon,
    client: docker.APIClient,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Host]:
    monkeypatch.setattr(routers, "caddy_absence", lambda _program: MISSING)
    host = Host(tmp_path, daemon, program_image(client, "caddy"))
    yield host
    with suppress(RouterUnwanted):
        await host.open("none")


def container(client: docker.APIClient) -> Any:
    """What the daemon says of the container."""
    [found] = client.containers(all=True, filters={"name": "stateward-router-"})
    return client.inspect_container(found["Id"])


async def test_it_serves_from_a_container_that_outlives_us_and_comes_back(
    host: Host, client: docker.APIClient
) -> None:
    async with backends("web") as (web,):
        opened = await host.open()
        await opened.router.publish({WEB: (web.endpoint(),)})
        await opened.router.apply(table(row("a.test")))
        assert await host.ask() == "web"
        first = container(client)
        assert first["HostConfig"]["Privileged"] is False
        await opened.close()
        opened = await host.open()
        await opened.router.apply(table(row("a.test")))
        assert container(client)["State"]["StartedAt"] == first["State"]["StartedAt"]
        client.kill(first["Id"])
        async with asyncio.timeout(PATIENCE), aclosing(opened.router.watch()) as news:  # type: ignore[type-var]
            await anext(news)
        assert await host.ask() == "web"
        client.remove_container(first["Id"], force=True)
        assert await host.ask() == "web"
        with pytest.raises(RouterUnwanted):
            await host.open("none")
        await opened.close()
        with pytest.raises((NotFound, ValueError)):
            container(client)


async def test_a_container_whose_target_is_gone_is_found_and_ended_by_who_comes_next(
    host: Host, client: docker.APIClient, tmp_path: Path
) -> None:
    """Nobody ran when the target was deleted, so nobody knows its engine any more, or its image."""
    async with backends("web") as (web,):
        opened = await host.open()
        await opened.router.publish({WEB: (web.endpoint(),)})
        await opened.router.apply(table(row("a.test")))
        assert await host.ask() == "web"
        await opened.close()
        desk = Desk()
        later = Routers(tmp_path, desk.log, desk.secrets, now=lambda: NOON)
        assert later.begun() == ["hub"]
        with pytest.raises(RouterUnwanted):
            await later("hub", TargetSpec(engine="process", routing=Routing(router="none")))
        with pytest.raises((NotFound, ValueError)):
            container(client)
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"http://{host.entries.http}/")


async def test_without_an_image_it_is_said_what_to_do(host: Host) -> None:
    host.image = None
    with pytest.raises(RouterMissing, match="there is no program 'caddy'"):
        await host.open()
