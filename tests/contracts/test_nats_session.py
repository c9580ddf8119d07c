"""A session over nats-py keeps the contract, on a server of its own."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import final, override

import pytest

from bus.nats.client import NatsSession
from bus.nats.server import EmbeddedServer
from bus.nats.session import Server, Session
from tests.contracts.session import Place, SessionContract

pytestmark = pytest.mark.needs("nats")


@final
class RealPlace(Place):
    def __init__(self, directory: Path) -> None:
        self.server = EmbeddedServer(directory)
        self.sessions: list[Session] = []

    @override
    async def open(self, name: str = "stateward") -> Session:
        login = self.server.credentials
        where = Server(url=self.server.url, name=name, credentials=login)
        self.sessions.append(await NatsSession.open(where))
        return self.sessions[-1]

    @override
    async def restart(self) -> None:
        await self.server.stop()
        await self.server.start()

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()
        await self.server.stop()


class TestNatsSession(SessionContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[RealPlace]:
        place = RealPlace(tmp_path / "nats")
        await place.server.start()
        yield place
        await place.close()
