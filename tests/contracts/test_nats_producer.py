"""The client of producers over nats-py keeps the contract, with a server's own permissions."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import final, override

import pytest

from bus.client import Credentials, Producer, Unanswered
from bus.nats.config import ServerFiles
from bus.nats.credentials import PRODUCER
from bus.nats.server import EmbeddedServer
from bus.nats.settings import NatsSettings
from tests.contracts.producer import WEB, ProducerContract, World
from tests.support.intents import Desk
from tests.support.nats_server import Place

pytestmark = pytest.mark.needs("nats")


@final
class RealWorld(World):
    """The server is not the bus's own, so that it stays when the control plane goes."""

    def __init__(self, directory: Path) -> None:
        self.server = EmbeddedServer(directory)
        self.files = ServerFiles(directory, lambda: "unused")
        self.desk = Desk()

    async def start(self) -> None:
        await self.server.start()
        await self.desk.furnish()
        settings = NatsSettings(servers=(self.server.url,), credentials=self.server.credentials)
        self.bus = Place(settings, self.desk).bus
        await self.bus.start()
        await self.ready()

    async def stop(self) -> None:
        await self.bus.stop()
        await self.server.stop()

    @override
    def producer(self, actor: str = PRODUCER) -> Producer:
        own = Credentials(user=PRODUCER, password=self.files.credentials().producer)
        return self.connecting(actor, own if actor == PRODUCER else self.server.credentials)

    def connecting(self, actor: str, login: Credentials) -> Producer:
        return Producer([self.server.url], actor, random=Random(1), credentials=login)

    @override
    async def restart(self) -> None:
        await self.server.stop()
        await self.server.start()


class TestNatsProducer(ProducerContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[RealWorld]:
        world = RealWorld(tmp_path / "nats")
        await world.start()
        yield world
        await world.stop()

    async def test_why_nobody_answers_is_told_with_what_to_do(self, world: RealWorld) -> None:
        login = Credentials(user=PRODUCER, password="wrong")
        async with world.connecting(PRODUCER, login) as producer:
            with pytest.raises(Unanswered, match="no user 'producer' with this password"):
                await producer.ask("restart", WEB, key="k1", patience=2)
