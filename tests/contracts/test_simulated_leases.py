"""The simulated bucket keeps the contract of leases."""

import asyncio

import pytest

from simulation.leases import Bucket, SimulatedLeases
from tests.contracts.leases import LeaseStoreContract
from tests.support.intents import NOON


class TestSimulatedLeases(LeaseStoreContract):
    @pytest.fixture
    async def bucket(self) -> Bucket:
        clock = asyncio.get_running_loop().time
        return Bucket(lambda: NOON.timestamp() + clock())

    @pytest.fixture
    async def store(self, bucket: Bucket) -> SimulatedLeases:
        return bucket.way()

    @pytest.fixture
    async def other(self, bucket: Bucket) -> SimulatedLeases:
        return bucket.way()
