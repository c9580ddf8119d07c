"""A session over nats-py keeps the contract, on a server of its own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import final, override

import pytest

from bus.nats.client import NatsSession
from bus.nats.server import EmbeddedServer
from bus.nats.session import Message, NatsUnavailable, Server, Session
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


async def test_a_session_whose_end_finds_something_unsent_leaves_no_task_behind(
    tmp_path: Path,
) -> None:
    async def ignore(_message: Message) -> None:
        return

    place = RealPlace(tmp_path / "nats")
    await place.server.start()
    try:
        session = await place.open()
        before = waiting_for_messages()
        await session.subscribe_ready("stateward.v1.event.>", ignore)
        pid = int((tmp_path / "nats" / "server.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        with suppress(NatsUnavailable):
            while session.is_open:  # so there is always something that was not written yet
                await session.publish("stateward.v1.event.a.App.b.c", bytes(100))
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await session.ended.wait()
        await asyncio.sleep(0)
        assert waiting_for_messages() <= before
    finally:
        await place.close()


def waiting_for_messages() -> set[asyncio.Task[object]]:
    return {one for one in asyncio.all_tasks() if "_wait_for_msgs" in repr(one.get_coro())}
