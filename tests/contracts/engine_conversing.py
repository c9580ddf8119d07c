"""Conversations with commands beside a replica of an engine."""

import pytest

from tests.contracts.conversing import Beside, ConversingContract
from tests.contracts.engine_world import World


class EngineConversingContract(ConversingContract):
    @pytest.fixture
    async def beside(self, world: World) -> Beside:
        return Beside(world.engine.io, await world.serve(world.order()), world.program)
