"""The process engine does what every engine must."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.engine import EngineContract
from tests.contracts.engine_world import World
from tests.support.processes import ProcessWorld


class TestProcessEngine(EngineContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[World]:
        world = ProcessWorld(tmp_path)
        yield world
        await world.close()
