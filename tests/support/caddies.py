"""A Caddy for tests: one program for many of them, and what a stranger may do to it."""

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final, override

import httpx

from adapters.caddy.certificates import Certificates
from adapters.caddy.files import Certificate
from adapters.caddy.router import CaddyRouter, CaddySettings
from adapters.caddy.site import Acme, Verify
from adapters.keeping.standing import Standing
from projections.route_table import RouteTable, Tls
from reconcilers.router_ports import Router
from tests.contracts.router_world import Pem, RouterWorld, row, table, who_is_it
from tests.support.backends import Backend

TARGET = "local"


@final
class CaddyPlace:
    """Where one Caddy has its files and its ports; it runs from the first `opened` to `close`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = CaddySettings(
            http=(f"127.0.0.1:{free_port()}",), https=(f"127.0.0.1:{free_port()}",)
        )

    @property
    def files(self) -> Path:
        return self.root / TARGET / "files"

    @asynccontextmanager
    async def opened(self) -> "AsyncIterator[CaddyWorld]":
        """A router for one test."""
        verify = Backend("verify", who_is_it)
        await verify.start()
        certificates: dict[str, Pem] = {}
        settings = replace(self.settings, verify=Verify(f"127.0.0.1:{verify.port}"))
        world = CaddyWorld(
            place=self,
            settings=settings,
            router=CaddyRouter(self.root, TARGET, settings, _source(certificates)),
            http=settings.http[0],
            https=settings.https[0],
            verify=verify,
            certificates=certificates,
            asks_by_domain=True,
        )
        try:
            yield world
        finally:
            for router in world.routers:
                await router.close()
            await verify.stop()

    async def close(self) -> None:
        router = CaddyRouter(self.root, TARGET, self.settings)
        await router.apply(RouteTable())
        await router.stop()


@contextmanager
def caddy_place(root: Path) -> Iterator[CaddyPlace]:
    """For fixtures that serve many tests, each with an event loop of its own."""
    place = CaddyPlace(root)
    try:
        yield place
    finally:
        asyncio.run(place.close())


@dataclass(kw_only=True)
class CaddyWorld(RouterWorld):
    place: CaddyPlace
    settings: CaddySettings

    def __post_init__(self) -> None:
        assert isinstance(self.router, CaddyRouter)
        self.caddy = self.router
        self.routers = [self.router]

    @property
    def pid(self) -> int:
        caddy = self.caddy.programs.caddy
        assert isinstance(caddy, Standing)
        pid = caddy.pid
        assert pid is not None
        return pid

    @override
    async def reopened(self) -> Router:
        await self.caddy.close()
        return self._another(self.settings)

    @override
    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    @override
    async def tamper(self) -> str:
        await self.ask("DELETE", "/config/apps/http/servers/http/routes/2/handle/0/routes/1")
        return "http:a.test/:None"

    @override
    async def unacceptable(self) -> tuple[Router, RouteTable]:
        acme = Acme(roots=("/nowhere/root.pem",))
        rows = table(row("b.test", scheme="https", tls=Tls(mode="auto")))
        return self._another(replace(self.settings, acme=acme)), rows

    @override
    def trust(self) -> ssl.SSLContext:
        root = self.place.files / "storage" / "pki" / "authorities" / "local" / "root.crt"
        return ssl.create_default_context(cafile=root)

    async def ask(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        """Ask the admin socket, as anybody on this host who may."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.place.files / "admin.sock"))
        headers = {"Content-Type": "application/json"}
        async with httpx.AsyncClient(transport=transport, base_url="http://stateward") as client:
            answer = await client.request(method, path, content=content, headers=headers)
        assert answer.is_success, answer.text
        return answer

    def _another(self, settings: CaddySettings) -> CaddyRouter:
        source = _source(self.certificates)
        self.routers.append(CaddyRouter(self.place.root, TARGET, settings, source))
        return self.routers[-1]


def _source(certificates: dict[str, Pem]) -> Certificates:
    async def find(secret: str) -> Certificate | None:
        found = certificates.get(secret)
        return Certificate(*found) if found else None

    return find


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        number: int = trial.getsockname()[1]
        return number
