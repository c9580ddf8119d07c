"""All that a soak lives in: three processes over a NATS cluster and PostgreSQL, and who kills them.

Every server writes to its disk as its defaults say, and NATS has TLS and the users of the shipped
example: what is soaked is what is run.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, final

import docker
import httpx

from bus.client import Credentials, Producer
from tests.support import nats_cluster, postgres_server
from tests.support.docker_daemon import DockerDaemon, NoDocker, erase_installation, running_daemon
from tests.support.fleet import Fleet, fleet
from tests.support.images import python_image
from tests.support.nats_tls import Authority
from tests.support.serving import ControlPlane

WORKERS: Final = ("a", "b", "c")
POSTGRES: Final = "postgres"
NATS_USER: Final = "ci"
COPIES: Final = 3  # of each stream: on every server


class Door(NamedTuple):
    """Where a process answers, and as whom it lets us in. It may be down."""

    url: str
    authorization: str


class Dock(NamedTuple):
    """A Docker daemon that takes apps of `image`."""

    daemon: DockerDaemon
    client: docker.APIClient
    image: str


@final
class Town:
    """What lives, what was killed how often, and the doors of the gateways."""

    def __init__(
        self,
        planes: Fleet,
        postgres: postgres_server.Cluster,
        nats: nats_cluster.Cluster,
        authority: Authority,
        dock: Dock | None,
    ) -> None:
        self.fleet, self.postgres, self.nats, self.dock = planes, postgres, nats, dock
        self._authority = authority
        self.doors: dict[str, Door] = {}
        self.killed: Counter[str] = Counter()

    async def start(self) -> None:
        for name in WORKERS:
            await asyncio.to_thread(self.fleet.add, name)
            self._open(name)
        plane = self.plane
        await asyncio.to_thread(self.fleet.furnish, plane)
        if self.dock is not None:
            spec = {"engine": "docker", "docker": {"host": self.dock.daemon.host}}
            manifest = {"apiVersion": "stateward/v1", "kind": "Target", "spec": spec}
            put = await asyncio.to_thread(plane.http.put, "/api/v1/targets/dock", json=manifest)
            assert put.status_code in (200, 201), put.text

    @property
    def plane(self) -> ControlPlane:
        """The first process; while nothing is killed, any is as good."""
        return self.fleet.planes[WORKERS[0]]

    @property
    def installation(self) -> str:
        return str(self.plane.get("/api/v1/version")["installation"])

    def producer(self, random: Random) -> Producer:
        return Producer(
            self.nats.urls,
            NATS_USER,
            random=random,
            credentials=Credentials(user=NATS_USER, password=NATS_USER),
            tls=self._authority.tls("producer"),
        )

    async def trouble(self, chance: Random, every: float) -> None:
        """Kill something whenever so many seconds have passed, and start it again; for ever.

        Cancelled, it still starts again what it has killed.
        """
        clock = asyncio.get_running_loop().time
        at = clock() + every
        while True:
            await asyncio.sleep(max(at - clock(), 0.0))
            at = max(at + every, clock())
            what = chance.choice([*WORKERS, *map(str, self.nats.running), POSTGRES])
            pause = chance.uniform(1.0, 5.0)
            await _to_the_end(self._fell(what, pause))

    async def _fell(self, what: str, pause: float) -> None:
        self.killed["nats" if what.isdigit() else what] += 1
        if what.isdigit():
            await self.nats.kill(int(what))
            await asyncio.sleep(pause)
            await self.nats.start(int(what))
        elif what == POSTGRES:
            await asyncio.to_thread(self.postgres.kill)
            await asyncio.sleep(pause)
            await asyncio.to_thread(self.postgres.start)
        else:
            await asyncio.to_thread(self.fleet.planes[what].kill)
            await asyncio.sleep(pause)
            await asyncio.to_thread(self.fleet.planes[what].start)
            self._open(what)

    def _open(self, name: str) -> None:
        http = self.fleet.planes[name].http
        self.doors[name] = Door(str(http.base_url), http.headers["Authorization"])


async def _to_the_end(work: Any) -> None:
    """Do it whole, also when cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


@contextmanager
def _docked(installation: list[str], *, wanted: bool) -> Iterator[Dock | None]:
    """A daemon, or None where none can be had; nothing of the installation is left on it."""
    if not wanted:
        yield None
        return
    try:
        with running_daemon() as daemon:
            client = docker.APIClient(daemon.host, version="auto")
            try:
                yield Dock(daemon, client, python_image(client))
            finally:
                for one in installation:
                    erase_installation(client, one)
                client.close()
    except NoDocker as reason:
        print(f"Docker is left out: {reason}", flush=True)
        yield None


@asynccontextmanager
async def town(home: Path, *, with_docker: bool) -> AsyncIterator[Town]:
    """Everything started, and ended afterwards."""
    installation: list[str] = []
    async with AsyncExitStack() as stack:
        dock = stack.enter_context(_docked(installation, wanted=with_docker))
        postgres = stack.enter_context(postgres_server.cluster({}))
        authority = Authority(home / "tls")
        (home / "nats").mkdir()
        nats = await stack.enter_async_context(nats_cluster.cluster(home / "nats", authority))
        own = authority.tls("control-plane")
        bus = [f"--nats={url}" for url in nats.urls]
        bus += ["--set=nats.user=stateward", "--set=nats.password=stateward"]
        bus += [f"--set=nats.replicas={COPIES}", f"--set=nats.tls_ca={own.ca}"]
        bus += [f"--set=nats.tls_certificate={own.certificate}", f"--set=nats.tls_key={own.key}"]
        planes = stack.enter_context(fleet(home, postgres.migrated(), bus=bus))
        made = Town(planes, postgres, nats, authority, dock)
        await made.start()
        installation.append(made.installation)
        yield made


async def ask_door(
    client: httpx.AsyncClient, door: Door, path: str, **how: Any
) -> httpx.Response | None:
    """What a gateway answers; None: nothing, or that it cannot now."""
    headers = {"Authorization": door.authorization, **how.pop("headers", {})}
    try:
        answer = await client.request(
            how.pop("method", "GET"), f"{door.url}{path}", headers=headers, **how
        )
    except httpx.TransportError:
        return None
    is_later = answer.status_code >= 500 or "Retry-After" in answer.headers
    return None if is_later else answer


def shown(found: object) -> str:
    """A part of what was found, as a line."""
    text = json.dumps(found, default=str)
    return text if len(text) < 400 else f"{text[:400]}…"
