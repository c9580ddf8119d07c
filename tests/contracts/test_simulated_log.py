"""The simulated log keeps the contract of `bus.log`, also slowly and beside another process's."""

from collections.abc import AsyncIterator

import pytest

from bus.log import WatchedLog
from simulation.disk import Disk
from simulation.log import LogFaults, SimulatedLog
from stateward.storing import ControlLog
from tests.contracts.log import WEB, LogContract, event


class TestSimulatedLog(LogContract):
    @pytest.fixture
    def log(self) -> WatchedLog:
        return SimulatedLog()


class TestSimulatedLogWithASlowDisk(LogContract):
    @pytest.fixture
    async def log(self) -> AsyncIterator[WatchedLog]:
        log = SimulatedLog(faults=LogFaults(sync_seconds=lambda: 0.001))
        yield log
        await log.close()


class TestSimulatedLogOfASecondProcess(LogContract):
    @pytest.fixture
    async def log(self) -> AsyncIterator[WatchedLog]:
        disk = Disk()
        first, second = SimulatedLog(disk), SimulatedLog(disk)
        yield second
        await second.close()
        await first.close()


async def test_the_simulated_log_can_stand_for_any_log_of_a_control_plane() -> None:
    log: ControlLog = SimulatedLog()
    done = await log.append([event()], expect={WEB: 0})
    assert await log.seal_at(done.positions[0]) == (await log.head()).seal
    assert [row[0] async for page in log.scan(0) for row in page] == list(done.positions)
    await log.close()
