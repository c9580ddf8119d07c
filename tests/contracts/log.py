"""What every `Log` must do. Subclass it, provide `log`, and inherit the tests."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from bus.log import (
    Head,
    IdempotencyKey,
    KeyReused,
    Log,
    LogRewound,
    NewEvent,
    StoredEvent,
    VersionConflict,
    WatchedLog,
)

WEB = "App/shop/web"
API = "App/shop/api"
MEMBERS = "Project/shop#members"


def event(stream: str = WEB, data: bytes = b"{}", type_: str = "app.scaled") -> NewEvent:
    return NewEvent(stream, type_, data)


def key(name: str = "k1", digest: bytes = b"digest", actor: str = "ada") -> IdempotencyKey:
    return IdempotencyKey(actor, name, digest)


async def everything(log: Log) -> Sequence[StoredEvent]:
    return await log.read(0, 1_000_000)


async def follow(log: Log, after: int, count: int) -> list[StoredEvent]:
    """Collect `count` events from a tail."""
    seen: list[StoredEvent] = []
    tail = log.tail(after)
    async with asyncio.timeout(30), aclosing(tail):  # type: ignore[type-var]
        while len(seen) < count:
            seen.extend(await anext(tail))
    return seen


class LogContract:
    @pytest.fixture
    def log(self) -> WatchedLog:
        raise NotImplementedError

    async def test_an_empty_log_has_no_events_and_its_head_at_0(self, log: Log) -> None:
        assert await everything(log) == []
        assert await log.stream(WEB) == []
        assert (await log.head()).position == 0

    async def test_what_was_appended_is_read_back_byte_for_byte(self, log: Log) -> None:
        data = '{"name": "größe\\u0000"}'.encode() + bytes(range(256))
        done = await log.append([event(data=data)], expect={WEB: 0})
        (position,) = done.positions
        expected = StoredEvent(position, WEB, 1, "app.scaled", data)
        assert await everything(log) == [expected]
        assert await log.stream(WEB) == [expected]
        assert isinstance((await everything(log))[0], StoredEvent)

    async def test_versions_count_from_1_in_each_stream(self, log: Log) -> None:
        await log.append([event(), event(API), event()], expect={WEB: 0, API: 0})
        await log.append([event()], expect={WEB: 2})
        assert [(e.stream, e.version) for e in await everything(log)] == [
            (WEB, 1),
            (API, 1),
            (WEB, 2),
            (WEB, 3),
        ]

    async def test_positions_grow_and_are_those_that_readers_see(self, log: Log) -> None:
        first = await log.append([event(), event()], expect={WEB: 0})
        second = await log.append([event(API)], expect={API: 0})
        positions = first.positions + second.positions
        assert [e.position for e in await everything(log)] == list(positions)
        assert list(positions) == sorted(set(positions))
        assert positions[0] > 0

    async def test_a_stream_is_read_from_a_version_on(self, log: Log) -> None:
        await log.append([event(), event(), event(), event(API)], expect={WEB: 0, API: 0})
        assert [e.version for e in await log.stream(WEB, 1)] == [2, 3]
        assert await log.stream(WEB, 3) == []

    async def test_pages_follow_one_another_without_gap_or_repeat(self, log: Log) -> None:
        await log.append([event() for _ in range(10)], expect={WEB: 0})
        pages: list[StoredEvent] = []
        while page := await log.read(pages[-1].position if pages else 0, 3):
            assert len(page) <= 3
            pages.extend(page)
        assert pages == await everything(log)

    async def test_the_head_moves_with_each_append_and_its_seal_with_it(self, log: Log) -> None:
        heads: list[Head] = [await log.head()]
        for version in range(3):
            done = await log.append([event()], expect={WEB: version})
            heads.append(await log.head())
            assert heads[-1].position == done.positions[-1]
        assert len({head.seal for head in heads}) == len(heads)

    async def test_an_append_at_another_version_is_refused_and_leaves_nothing(
        self, log: Log
    ) -> None:
        await log.append([event()], expect={WEB: 0})
        for wrong in (0, 2, 7):
            with pytest.raises(VersionConflict) as refused:
                await log.append([event(API), event()], expect={API: 0, WEB: wrong})
            assert (refused.value.stream, refused.value.expected) == (WEB, wrong)
            assert refused.value.actual == 1
        assert [e.stream for e in await everything(log)] == [WEB]

    async def test_a_stream_that_is_only_relied_on_is_checked_too(self, log: Log) -> None:
        await log.append([event(MEMBERS)], expect={MEMBERS: 0})
        with pytest.raises(VersionConflict):
            await log.append([event()], expect={WEB: 0, MEMBERS: 0})
        await log.append([event()], expect={WEB: 0, MEMBERS: 1})
        assert len(await log.stream(MEMBERS)) == 1

    async def test_a_repeated_key_writes_nothing_and_answers_the_same(self, log: Log) -> None:
        first = await log.append(
            [event(), event()], expect={WEB: 0}, key=key(), outcome=b"accepted"
        )
        again = await log.append([event()], expect={WEB: 99}, key=key(), outcome=b"other")
        assert (again.positions, again.outcome) == (first.positions, b"accepted")
        assert (first.repeated, again.repeated) == (False, True)
        assert len(await everything(log)) == 2

    async def test_a_key_used_for_another_intent_is_refused(self, log: Log) -> None:
        await log.append([event()], expect={WEB: 0}, key=key(digest=b"one"))
        with pytest.raises(KeyReused):
            await log.append([event()], expect={WEB: 1}, key=key(digest=b"two"))
        assert len(await everything(log)) == 1

    async def test_keys_of_two_actors_have_nothing_to_do_with_each_other(self, log: Log) -> None:
        await log.append([event()], expect={WEB: 0}, key=key(actor="ada"))
        done = await log.append([event()], expect={WEB: 1}, key=key(actor="bob"))
        assert not done.repeated

    async def test_an_outcome_without_events_is_remembered_under_its_key(self, log: Log) -> None:
        await log.append([], expect={WEB: 0}, key=key(), outcome=b"refused")
        again = await log.append([event()], expect={WEB: 0}, key=key())
        assert again == ((), b"refused", True)
        assert await everything(log) == []

    async def test_a_version_conflict_is_not_remembered_under_the_key(self, log: Log) -> None:
        with pytest.raises(VersionConflict):
            await log.append([event()], expect={WEB: 5}, key=key())
        done = await log.append([event()], expect={WEB: 0}, key=key())
        assert not done.repeated

    async def test_one_key_sent_many_times_at_once_has_one_effect(self, log: Log) -> None:
        done = await asyncio.gather(
            *(log.append([event()], expect={WEB: 0}, key=key(), outcome=b"x") for _ in range(20))
        )
        assert len({(d.positions, d.outcome) for d in done}) == 1
        assert sorted(d.repeated for d in done) == [False] + [True] * 19
        assert len(await everything(log)) == 1

    async def test_of_many_at_one_version_exactly_one_wins(self, log: Log) -> None:
        async def race(runner: int) -> int:
            won = 0
            for version in range(10):
                try:
                    mine = [event(data=b"%d" % runner), event(API, b"%d" % runner)]
                    await log.append(mine, expect={WEB: version, API: version})
                except VersionConflict:
                    continue
                won += 1
            return won

        wins = await asyncio.gather(*(race(runner) for runner in range(8)))
        web, api = await log.stream(WEB), await log.stream(API)
        assert [e.version for e in web] == list(range(1, len(web) + 1))
        assert sum(wins) == len(web)
        assert [e.data for e in web] == [e.data for e in api]

    async def test_a_caller_that_gives_up_harms_nobody(self, log: Log) -> None:
        streams = [f"App/shop/a{number}" for number in range(20)]
        tasks = [
            asyncio.create_task(log.append([event(name)], expect={name: 0})) for name in streams
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(not isinstance(answer, BaseException) for answer in done[1::2])
        seen = {e.stream for e in await everything(log)}
        assert seen.issuperset(streams[1::2])

    async def test_a_tail_yields_what_is_there_and_then_what_comes(self, log: Log) -> None:
        first = await log.append([event(), event()], expect={WEB: 0})
        following = asyncio.create_task(follow(log, first.positions[0], 3))
        await asyncio.sleep(0)
        await log.append([event()], expect={WEB: 2})
        await log.append([event()], expect={WEB: 3})
        assert [e.version for e in await following] == [2, 3, 4]

    async def test_every_tail_sees_everything_once_and_in_order_under_concurrent_appends(
        self, log: Log
    ) -> None:
        appends, appenders = 25, 16

        async def appender(number: int) -> None:
            stream = f"App/shop/a{number}"
            for version in range(appends):
                await log.append([event(stream)], expect={stream: version})

        tails = [asyncio.create_task(follow(log, 0, appends * appenders)) for _ in range(3)]
        await asyncio.gather(*(appender(number) for number in range(appenders)))
        for tail in tails:
            assert await tail == await everything(log)

    async def test_a_stream_of_which_nothing_is_expected_takes_its_next_version(
        self, log: Log
    ) -> None:
        await log.append([event()], expect={})
        await log.append([event(API), event()], expect={API: 0})
        assert [stored.version for stored in await log.stream(WEB)] == [1, 2]

    async def test_a_log_in_order_knows_its_position_and_refuses_nothing(
        self, log: WatchedLog
    ) -> None:
        done = await log.append([event(), event()], expect={WEB: 0})
        assert log.position == done.positions[-1]
        assert (log.read_only, log.rewound) == (None, None)

    async def test_a_witness_of_a_position_that_is_not_here_stops_appends_alone(
        self, log: WatchedLog
    ) -> None:
        done = await log.append([event()], expect={WEB: 0})
        log.report_seen(done.positions[-1], "container web")
        await log.append([event()], expect={WEB: 1})
        log.report_seen(done.positions[-1] + 50, "container web")
        with pytest.raises(LogRewound, match="container web"):
            await log.append([event()], expect={WEB: 2})
        assert len(await everything(log)) == 2
