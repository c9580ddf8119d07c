"""A router of the tests: the port, the program behind it, and what a stranger may do to it.

Routers outlive whoever opened them, so one program may serve many tests; each applies a table of
its own.
"""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from projections.route_table import Backend, Endpoint, Endpoints, RouteTable, Row, Share
from reconcilers.router_ports import Applied, Router
from tests.support.backends import Asked, Said
from tests.support.backends import Backend as Server

PATIENCE: Final = 60.0  # seconds: of a test that waits for something that must happen
USER: Final = "X-Forwarded-User"
LOGIN: Final = "https://login.test/"
SECRET: Final = "Secret/shop/certificate"


class Pem(NamedTuple):
    """A certificate with its chain, and its key."""

    chain: bytes
    key: bytes


def who_is_it(asked: Asked) -> Said:
    """The verify endpoint of the tests: the cookie `user=NAME` says who it is."""
    for cookie in asked.headers.get("cookie", "").split("; "):
        if cookie.startswith("user="):
            return Said(200, {USER: cookie.removeprefix("user=")})
    if asked.target.endswith("auth=hard"):
        return Said(302, {"location": LOGIN})
    return Said(200)


@dataclass
class RouterWorld(ABC):
    """One router and what is around it.

    Attributes:
        router: as a control plane has it.
        http: where it listens without TLS, `HOST:PORT`.
        https: where it listens with TLS.
        verify: who it asks about users; started, and told to it when it was made.
        certificates: what it finds when a row names a Secret, by stream.
        asks_by_domain: whether it asks whom a row names.
    """

    router: Router
    http: str
    https: str
    verify: Server
    certificates: dict[str, Pem] = field(default_factory=dict)
    asks_by_domain: bool = False

    @abstractmethod
    async def reopened(self) -> Router:
        """The router as a control plane has it that begins anew, the one before having died."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill the program that takes requests, without a warning."""

    @abstractmethod
    async def tamper(self) -> str:
        """Change by hand what it serves; return a word that must be in what `apply` tells."""

    @abstractmethod
    async def unacceptable(self) -> tuple[Router, RouteTable]:
        """The router, set up so that its program refuses this table."""

    @abstractmethod
    def trust(self) -> ssl.SSLContext:
        """What clients need to believe the internal certificates."""

    async def certified(self, host: str) -> None:
        """Wait until the host has its internal certificate."""
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(httpx.ConnectError, FileNotFoundError):
                    async with self.secure(host, self.trust()) as client:
                        await client.get("/")
                        return
                await asyncio.sleep(0.1)

    # -- what tests do with it --------------------------------------------------------------

    async def apply(self, *rows: Row) -> Applied:
        return await self.router.apply(table(*rows))

    async def publish(self, endpoints: Mapping[Backend, Sequence[Endpoint]]) -> None:
        """Publish, and wait until no request meets what was before."""
        await self.router.publish(published(endpoints))
        await asyncio.sleep(self.router.propagation)

    async def serve(
        self, rows: Sequence[Row], endpoints: Mapping[Backend, Sequence[Endpoint]]
    ) -> None:
        await self.apply(*rows)
        await self.publish(endpoints)

    def client(self, host: str, **how: Any) -> httpx.AsyncClient:
        """Asks without TLS, and follows and repeats nothing."""
        return httpx.AsyncClient(
            base_url=f"http://{self.http}", headers={"Host": host}, timeout=PATIENCE, **how
        )

    @asynccontextmanager
    async def secure(
        self, host: str, trust: ssl.SSLContext, *, http2: bool = False
    ) -> AsyncIterator[httpx.AsyncClient]:
        """Asks with TLS, for and as `host`, wherever that is."""

        async def name(request: httpx.Request) -> None:
            request.extensions["sni_hostname"] = host

        async with httpx.AsyncClient(
            base_url=f"https://{self.https}",
            headers={"Host": host},
            timeout=PATIENCE,
            verify=trust,
            http2=http2,
            event_hooks={"request": [name]},
        ) as client:
            yield client

    @asynccontextmanager
    async def connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """One connection without TLS, for who looks closely."""
        host, port = self.http.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield reader, writer
        finally:
            writer.close()


def backend(app: str, port: str = "http", uid: int = 1) -> Backend:
    return Backend(f"App/shop/{app}", uid, port)


WEB: Final = backend("web")


def row(host: str, path: str = "/", to: Backend | Sequence[Share] = WEB, **more: Any) -> Row:
    """A row without TLS to one backend or several; `table` gives it its precedence."""
    shares = (Share(to, 1),) if isinstance(to, Backend) else tuple(to)
    told = {"scheme": "http", "context": None} | more
    return Row(
        id=f"{told['scheme']}:{host}{path}:{told['context'] and told['context'].value}",
        target="local",
        host=host,
        path=path,
        precedence=0,
        shares=() if told.get("redirect") else shares,
        **told,
    )


def table(*rows: Row) -> RouteTable:
    """The first row is asked first."""
    ordered = [
        msgspec.structs.replace(one, precedence=len(rows) - number)
        for number, one in enumerate(rows)
    ]
    return RouteTable(rows=tuple(ordered))


def published(endpoints: Mapping[Backend, Sequence[Endpoint]]) -> Endpoints:
    return {one: tuple(found) for one, found in endpoints.items()}


def name_of(answer: httpx.Response) -> str:
    """Which backend answered."""
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
    name: str = answer.json()["name"]
    return name
