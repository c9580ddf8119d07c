"""What an engine's own test file provides: the engine, a program it can run, and mischief.

`World` is one place where replicas run, seen by two installations. Its mischief happens behind the
engines' backs, with the technology's own means.
"""

import asyncio
import http.client
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from domain.app import Port, Volume
from domain.secret import SecretText
from reconcilers.ports import (
    Address,
    Engine,
    EngineEvent,
    LogLine,
    Replica,
    ReplicaName,
    ReplicaState,
    StartReplica,
)
from tests.support.program import READY

PATIENCE = 60.0  # seconds until a test gives up on what should happen at once
HTTP = Port(name="http", port=8080)
DATA = Volume(name="data", path="/data")


class World(ABC):
    """One place where replicas run.

    engine: the one under test.
    other: the same place as another installation sees it.
    program: an argv that behaves as `tests.support.program` when words are appended to it.
    image: the image the program is in; None where the engine has no images.
    """

    engine: Engine
    other: Engine
    program: tuple[str, ...]
    image: str | None = None
    reports_edits = False

    @abstractmethod
    async def kill(self, replica: Replica) -> None:
        """End its process by force."""

    @abstractmethod
    async def lose(self, replica: Replica) -> None:
        """Take it away, process, logs and all."""

    @abstractmethod
    async def squat(self, order: StartReplica) -> Callable[[], Awaitable[bool]]:
        """Give the order's name to something foreign; return how to ask whether that is intact."""

    @abstractmethod
    async def create_only(self, order: StartReplica) -> None:
        """Leave what `start` leaves when the control plane dies before the program runs."""

    async def edit(self, replica: Replica) -> None:
        """Change a limit of a running replica. Only where `reports_edits`."""
        raise NotImplementedError

    async def fetch(self, address: Address, path: str) -> tuple[int, str]:
        """GET `path`; raise OSError while nobody answers."""
        return await asyncio.to_thread(_get, address, path)

    def order(
        self,
        *words: str,
        name: ReplicaName | None = None,
        command: tuple[str, ...] | None = None,
        digest: str = "5eed5eed5eed5eed",
        env: Mapping[str, str | SecretText] | None = None,
        ports: tuple[Port, ...] = (HTTP,),
        volumes: tuple[Volume, ...] = (),
        cpu_millis: int | None = None,
        memory_bytes: int | None = None,
    ) -> StartReplica:
        """An order to run the program with some words, `serve` by default."""
        return StartReplica(
            name=name or ReplicaName("shop", "web", revision=7, slot=2, attempt=1),
            uid=41,
            digest=digest,
            position=43,
            image=self.image,
            command=self.program if command is None else command,
            args=words or ("serve",),
            workdir=None,
            env=env or {},
            ports=ports,
            volumes=volumes,
            cpu_millis=cpu_millis,
            memory_bytes=memory_bytes,
            stop_signal="SIGTERM",
            stop_grace=5.0,
        )

    async def start(self, order: StartReplica) -> Replica:
        """Prepare the project, start, and return the replica as it is listed."""
        await self.engine.grounds.prepare(order.name.project)
        await self.engine.replicas.start(order)
        return await self.seen(order)

    async def serve(self, order: StartReplica) -> Replica:
        """Start, and wait until every port answers."""
        replica = await self.start(order)
        for address in replica.addresses:
            await self.answers(address)
        return replica

    async def answers(self, address: Address) -> None:
        async def asked() -> bool:
            try:
                return await self.fetch(address, "/") == (200, "ok")
            except OSError:
                return False

        await eventually(asked)

    async def seen(self, order: StartReplica) -> Replica:
        app = (order.name.project, order.name.app)
        [replica] = [r for r in await self.engine.replicas.list(app) if r.name == order.name]
        return replica

    async def exited(self, order: StartReplica) -> Replica:
        """Wait until it has exited."""

        async def has_exited() -> bool:
            return (await self.seen(order)).state is ReplicaState.EXITED

        await eventually(has_exited)
        return await self.seen(order)

    async def log(self, replica: Replica, **choice: object) -> list[LogLine]:
        asked = {"tail": None, "since": None, "follow": False} | choice
        async with asyncio.timeout(PATIENCE):
            return [line async for line in self.engine.io.logs(replica, **asked)]  # type: ignore[arg-type]

    async def logged(self, replica: Replica, text: bytes) -> list[LogLine]:
        """Wait until a line is in the log, and return the whole log."""

        async def has_line() -> bool:
            return any(line.text == text for line in await self.log(replica))

        await eventually(has_line)
        return await self.log(replica)


async def eventually(ask: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes. For what a technology tells nobody when it happens."""
    async with asyncio.timeout(PATIENCE):
        while not await ask():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def news(engine: Engine) -> AsyncIterator[AsyncIterator[EngineEvent]]:
    """Watch an engine; what came before is past."""
    events = engine.events.watch()
    try:
        async with asyncio.timeout(PATIENCE):
            assert await anext(events) == EngineEvent(None)
        yield events
    finally:
        if close := getattr(events, "aclose", None):
            await close()


def _get(address: Address, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address.host, address.number, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as error:
        raise OSError(f"{address} did not speak HTTP: {error!r}") from error
    finally:
        connection.close()


__all__ = ["DATA", "HTTP", "PATIENCE", "READY", "World", "eventually", "news"]
