"""A simulated engine behind a socket does what every engine must, for several processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconcilers.ports import EngineUnavailable
from simulation.shared import Way, serve, shared_engine
from tests.contracts.engine import EngineContract
from tests.contracts.test_simulated_engine import INSTALLATION, OTHER, SimulatedWorld


class TestSharedEngine(EngineContract):
    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[SimulatedWorld]:
        world = SimulatedWorld()
        path = str(tmp_path / "engine.sock")
        server = await serve(world.machine, path)
        ways = [Way(path, one) for one in (INSTALLATION, OTHER)]
        world.engine, world.other = map(shared_engine, ways)
        yield world
        for way in ways:
            await way.close()
        server.close()


async def test_a_machine_that_is_not_there_yet_is_unavailable_and_each_call_connects_anew(
    tmp_path: Path,
) -> None:
    world, path = SimulatedWorld(), str(tmp_path / "engine.sock")
    way = Way(path, INSTALLATION)
    engine = shared_engine(way)
    with pytest.raises(EngineUnavailable):
        await engine.replicas.list()
    server = await serve(world.machine, path)
    assert await engine.replicas.list() == ()
    await way.close()
    assert await engine.replicas.list() == ()
    await way.close()
    server.close()
