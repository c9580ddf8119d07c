"""The simulated engine does what every engine must."""

import time
from collections.abc import Awaitable, Callable
from typing import final, override

import pytest

from reconcilers.ports import Address, Replica, StartReplica
from simulation.engine import simulated_engine
from simulation.looking import answer
from simulation.machine import Machine
from simulation.mischief import Mischief
from tests.contracts.engine import EngineContract
from tests.contracts.engine_world import World

INSTALLATION = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
IMAGE = "example/program:1"


@final
class SimulatedWorld(World):
    reports_edits = True

    def __init__(self) -> None:
        self.program = ("program",)
        self.image = IMAGE
        self.machine = Machine(now=time.time)
        self.machine.missing_images.add("localhost:1/no-such-image:1")
        self.machine.present_images |= {IMAGE: "sim@1", "sim@1": "sim@1"}
        self.engine = simulated_engine(self.machine, INSTALLATION)
        self.other = simulated_engine(self.machine, OTHER)
        self.mischief = Mischief(self.machine, INSTALLATION)

    @override
    async def kill(self, replica: Replica) -> None:
        self.mischief.kill(replica.name)

    @override
    async def lose(self, replica: Replica) -> None:
        self.mischief.lose(replica.name)

    @override
    async def edit(self, replica: Replica) -> None:
        self.mischief.edit(replica.name, "memory")

    @override
    async def squat(self, order: StartReplica) -> Callable[[], Awaitable[bool]]:
        self.mischief.squat(order.name)

        async def is_intact() -> bool:
            return self.machine.named[order.name.of(INSTALLATION)] is None

        return is_intact

    @override
    async def create_only(self, order: StartReplica) -> None:
        self.machine.create(INSTALLATION, order)

    @override
    async def fetch(self, address: Address, path: str) -> tuple[int, str]:
        return answer(self.machine, address, path)


class TestSimulatedEngine(EngineContract):
    @pytest.fixture
    def world(self) -> World:
        return SimulatedWorld()
