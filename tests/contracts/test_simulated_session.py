"""A session with the simulated broker keeps the contract."""

from collections.abc import AsyncIterator
from typing import final, override

import pytest

from bus.nats.session import Session
from simulation.broker import Broker
from tests.contracts.session import Place, SessionContract


@final
class SimulatedPlace(Place):
    def __init__(self) -> None:
        self.broker = Broker()

    @override
    async def open(self, name: str = "stateward") -> Session:
        return await self.broker.open(name)

    @override
    async def restart(self) -> None:
        self.broker.restart()


class TestSimulatedSession(SessionContract):
    @pytest.fixture
    async def place(self) -> AsyncIterator[SimulatedPlace]:
        place = SimulatedPlace()
        yield place
        await place.broker.close()
