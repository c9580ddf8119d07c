"""What every `LeaseStore` must do. Subclass it, provide `store` and `other`, inherit the tests."""

import asyncio

import pytest

from bus.leases import Entry, LeaseRaced, LeaseStore

PATIENCE = 60.0


class LeaseStoreContract:
    @pytest.fixture
    async def store(self) -> LeaseStore:
        raise NotImplementedError

    @pytest.fixture
    async def other(self) -> LeaseStore:
        """Another way to the same records."""
        raise NotImplementedError

    async def test_what_is_written_is_seen_with_its_revision_by_all(
        self, store: LeaseStore, other: LeaseStore
    ) -> None:
        assert (await store.look()).entries == []
        first = await store.write("session.a", b"1", after=0)
        second = await other.write("lease.local.0", b"2", after=0)
        assert second > first
        third = await other.write("session.a", b"3", after=first)
        assert third > second
        expected = {Entry("session.a", b"3", third), Entry("lease.local.0", b"2", second)}
        assert set((await store.look()).entries) == set((await other.look()).entries) == expected

    async def test_of_two_who_write_on_top_of_the_same_revision_one_fails_and_changes_nothing(
        self, store: LeaseStore, other: LeaseStore
    ) -> None:
        for after in (0, await store.write("lease.local.1", b"old", after=0)):
            key = f"lease.local.{after and 1}"
            outcomes = await asyncio.gather(
                store.write(key, b"mine", after=after),
                other.write(key, b"theirs", after=after),
                return_exceptions=True,
            )
            (revision,) = [one for one in outcomes if isinstance(one, int)]
            (failure,) = [one for one in outcomes if not isinstance(one, int)]
            assert isinstance(failure, LeaseRaced)
            won = b"mine" if outcomes[0] == revision else b"theirs"
            assert Entry(key, won, revision) in (await store.look()).entries

    async def test_a_record_that_is_not_there_any_more_cannot_be_written_on_top_of(
        self, store: LeaseStore, other: LeaseStore
    ) -> None:
        revision = await store.write("session.a", b"1", after=0)
        await other.forget(Entry("session.a", b"1", revision))
        assert (await store.look()).entries == []
        with pytest.raises(LeaseRaced):
            await store.write("session.a", b"2", after=revision)

    async def test_a_record_that_was_written_again_is_not_forgotten(
        self, store: LeaseStore, other: LeaseStore
    ) -> None:
        first = await store.write("session.a", b"1", after=0)
        second = await store.write("session.a", b"2", after=first)
        await other.forget(Entry("session.a", b"1", first))
        assert (await store.look()).entries == [Entry("session.a", b"2", second)]

    async def test_thousands_of_records_are_seen_in_one_look(self, store: LeaseStore) -> None:
        for target in range(33):
            await asyncio.gather(
                *(store.write(f"lease.t{target}.{n}", b"x", after=0) for n in range(64))
            )
        assert len((await store.look()).entries) == 33 * 64

    async def test_others_hear_that_there_is_something_to_see(
        self, store: LeaseStore, other: LeaseStore
    ) -> None:
        await other.look()
        async with asyncio.timeout(PATIENCE):
            while True:  # what was told before this may be heard first
                revision = await store.write("session.a", b"1", after=0)
                await other.news()
                if (await other.look()).entries:
                    break
        assert (await other.look()).entries == [Entry("session.a", b"1", revision)]

    async def test_how_old_the_place_is_can_be_told(self, store: LeaseStore) -> None:
        first = await store.look()
        await asyncio.sleep(0.01)
        second = await store.look()
        assert second.born == first.born > 1_577_836_800
        assert 0 <= first.age_seconds < second.age_seconds
