"""The simulated log keeps the contract of `bus.log`, also slowly and beside another process's."""

from collections.abc import AsyncIterator

import pytest

from bus.log import WatchedLog
from simulation.disk import Disk
from simulation.log import LogFaults, SimulatedLog
from tests.contracts.log import LogContract


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
