"""Leases in a bucket of a real NATS server keep the contract, and find a bucket that went."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.leases import LeasesUnavailable
from bus.nats.lease_records import LEASES_STREAM
from bus.nats.leases import NatsLeases
from bus.nats.streams import ForeignStream
from tests.contracts.leases import PATIENCE, LeaseStoreContract
from tests.contracts.test_nats_session import RealPlace

pytestmark = pytest.mark.needs("nats")


async def attached(place: RealPlace, installation: str = "f00") -> NatsLeases:
    leases = NatsLeases(installation)
    await leases.attach(await place.open())
    return leases


class TestNatsLeases(LeaseStoreContract):
    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncIterator[RealPlace]:
        place = RealPlace(tmp_path / "nats")
        await place.server.start()
        yield place
        await place.close()

    @pytest.fixture
    async def store(self, place: RealPlace) -> NatsLeases:
        return await attached(place)

    @pytest.fixture
    async def other(self, place: RealPlace) -> NatsLeases:
        return await attached(place)

    async def test_a_bucket_that_was_deleted_is_made_again_and_is_young(
        self, place: RealPlace, store: NatsLeases
    ) -> None:
        await store.write("session.a", b"1", after=0)
        session, began = await place.open(), time.monotonic()
        before = await store.look()
        await asyncio.sleep(1.1)  # a bucket's birth is told in whole seconds
        await session.ask_api(f"STREAM.DELETE.{LEASES_STREAM}")
        with pytest.raises(LeasesUnavailable):
            await store.look()
        after = await store.look()
        assert after.entries == []
        assert after.born > before.born
        assert after.age_seconds < before.age_seconds + (time.monotonic() - began)

    async def test_without_a_connection_nothing_is_seen_and_the_next_one_serves(
        self, place: RealPlace, store: NatsLeases
    ) -> None:
        revision = await store.write("session.a", b"1", after=0)
        await place.restart()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await store.look()
                except LeasesUnavailable:
                    break
        await store.attach(await place.open())
        assert await store.write("session.a", b"2", after=revision) > revision

    async def test_the_bucket_of_another_installation_is_not_used(self, place: RealPlace) -> None:
        await attached(place)
        with pytest.raises(ForeignStream):
            await attached(place, "b0b")
