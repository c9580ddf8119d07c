"""The client of producers keeps the contract on the simulated broker."""

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import final, override

import pytest

from bus.client import Producer
from bus.nats.bus import NatsBus
from bus.nats.credentials import PRODUCER
from bus.nats.settings import NatsSettings
from simulation.broker import Broker
from tests.contracts.producer import ProducerContract, World
from tests.support.intents import NOON, Desk
from tests.support.nats_server import ACTORS, Heard

SERVERS = ("nats://simulated",)


@final
class SimulatedWorld(World):
    def __init__(self) -> None:
        self.broker = Broker()
        self.desk = Desk()
        self.bus = NatsBus(
            NatsSettings(servers=SERVERS),
            self.desk.service,
            actor_of=ACTORS.get,
            hinted=Heard(),
            installation="f00",
            now=lambda: NOON,
            random=Random(1),
            opening=self.broker.opening(),
        )

    @override
    def producer(self, actor: str = PRODUCER) -> Producer:
        return Producer(SERVERS, actor, random=Random(2), opening=self.broker.opening(actor))

    @override
    async def restart(self) -> None:
        self.broker.restart()
        await asyncio.sleep(0)


class TestSimulatedProducer(ProducerContract):
    @pytest.fixture
    async def world(self) -> AsyncIterator[SimulatedWorld]:
        world = SimulatedWorld()
        await world.desk.furnish()
        await world.bus.start()
        await world.ready()
        yield world
        await world.bus.stop()
        await world.broker.close()
