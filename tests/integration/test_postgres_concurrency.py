"""Many writers in several processes, and readers that must miss nothing of them."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from adapters.postgres.log import PostgresLog
from adapters.postgres.verify import verify
from bus.log import IdempotencyKey, NewEvent, StoredEvent, VersionConflict
from tests.support.log_writers import SHARED

pytestmark = pytest.mark.needs("postgres")

PROCESSES, WRITERS, APPENDS = 4, 8, 25
WEB = "App/shop/web"


@asynccontextmanager
async def opened(url: str, directory: Path) -> AsyncIterator[PostgresLog]:
    directory.mkdir(exist_ok=True)
    log = await PostgresLog.open(url, directory, now=lambda: 0.0)
    try:
        yield log
    finally:
        await log.close()


async def start(url: str, directory: Path, name: str, appends: int = APPENDS) -> Process:
    directory.mkdir()
    words = (url, str(directory), name, str(WRITERS), str(appends))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.log_writers", *words, stdout=PIPE
    )


async def acknowledged(process: Process) -> list[int]:
    """The positions that a process was told, as far as it lived to say so."""
    told, _ = await process.communicate()
    return [position for line in told.split(b"\n")[:-1] for position in json.loads(line)]


async def follow(log: PostgresLog, seen: list[StoredEvent]) -> None:
    async with aclosing(log.tail(0)) as pages:  # type: ignore[type-var]
        async for page in pages:
            seen.extend(page)


async def caught_up(log: PostgresLog, seen: list[StoredEvent]) -> None:
    last = await log.last()
    async with asyncio.timeout(60):
        while not seen or seen[-1].position != last:
            await asyncio.wait((log._standing.news,), timeout=0.1)


async def test_a_tail_sees_every_position_of_32_writers_once_and_in_order(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "reader") as log:
        seen: list[StoredEvent] = []
        tail = asyncio.create_task(follow(log, seen))
        names = [f"p{number}" for number in range(PROCESSES)]
        writers = [await start(database, tmp_path / name, name) for name in names]
        told = await asyncio.gather(*map(acknowledged, writers))
        await caught_up(log, seen)
        tail.cancel()
        positions = [event.position for event in seen]
        assert [writer.returncode for writer in writers] == [0] * PROCESSES
        assert positions == sorted(position for each in told for position in each)
        assert len(positions) == len(set(positions))
        assert len(positions) == PROCESSES * WRITERS * (APPENDS + APPENDS // 2)
        assert seen == list(await log.read(0, len(seen) + 1))
        for stream in SHARED:
            versions = [event.version for event in seen if event.stream == stream]
            assert versions == list(range(1, len(versions) + 1))
    report = await asyncio.to_thread(verify, database, tmp_path / "reader")
    assert report.sound, report.problem
    assert report.events == len(positions)


async def test_writers_that_are_killed_leave_whole_appends_and_no_gap(
    database: str, tmp_path: Path
) -> None:
    chance = random.Random(7)
    async with opened(database, tmp_path / "reader") as log:
        seen: list[StoredEvent] = []
        tail = asyncio.create_task(follow(log, seen))
        names = [f"p{number}" for number in range(PROCESSES)]
        writers = [await start(database, tmp_path / name, name, 5000) for name in names]
        for writer in writers:
            count = len(seen) + chance.randrange(50, 200)
            async with asyncio.timeout(60):
                while len(seen) < count:
                    await asyncio.wait((log._standing.news,), timeout=0.1)
            writer.kill()
        told = await asyncio.gather(*map(acknowledged, writers))
        (_,) = await log._reader.rows("SELECT stateward.take_turn()")  # the last group has ended
        await caught_up(log, seen)
        tail.cancel()
        positions = [event.position for event in seen]
        assert positions == [event.position for event in await log.read(0, 10**6)]
        assert set(positions).issuperset(position for each in told for position in each)
        contended = {e.data for e in seen if e.stream in SHARED}
        assert contended <= {e.data for e in seen if e.stream not in SHARED}
    report = await asyncio.to_thread(verify, database, tmp_path / "reader")
    assert report.sound, report.problem


async def test_of_two_processes_at_one_version_one_wins_and_the_other_is_told(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        for version in range(20):
            mine = NewEvent(WEB, "app.scaled", b"1")
            done = await asyncio.gather(
                one.append([mine], expect={WEB: version}),
                other.append([mine], expect={WEB: version}),
                return_exceptions=True,
            )
            lost = [error for error in done if isinstance(error, VersionConflict)]
            assert [(error.expected, error.actual) for error in lost] == [(version, version + 1)]
        assert len(await one.stream(WEB)) == 20


async def test_a_key_used_by_one_process_is_known_to_the_other(
    database: str, tmp_path: Path
) -> None:
    key = IdempotencyKey("ada", "k1", b"digest")
    event = NewEvent(WEB, "app.scaled", b"1")
    async with opened(database, tmp_path / "a") as one, opened(database, tmp_path / "b") as other:
        first = await one.append([event], expect={WEB: 0}, key=key, outcome=b"done")
        again = await other.append([event], expect={WEB: 0}, key=key)
        assert again == (first.positions, b"done", True)


async def test_one_losing_append_of_a_group_never_fails_the_others(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as log:
        await log.append([NewEvent(WEB, "t", b"0")], expect={WEB: 0})
        streams = [f"App/shop/a{number}" for number in range(20)]

        def expect(number: int, stream: str) -> dict[str, int]:
            return {stream: 0, WEB: 7} if number % 5 == 0 else {stream: 0}

        done = await asyncio.gather(
            *(
                log.append([NewEvent(stream, "t", b"1")], expect=expect(number, stream))
                for number, stream in enumerate(streams)
            ),
            return_exceptions=True,
        )
        lost = [number for number, answer in enumerate(done) if isinstance(answer, Exception)]
        assert lost == [0, 5, 10, 15]
        assert len(await log.read(0, 100)) == 1 + 16


async def test_an_append_that_cannot_be_written_at_all_harms_itself_alone(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as log:
        names = ["App/shop/a", "App/shop/\0", "App/shop/b", "App/shop/\ud800", "App/shop/c"]
        done = await asyncio.gather(
            *(log.append([NewEvent(name, "t", b"1")], expect={name: 0}) for name in names),
            return_exceptions=True,
        )
        assert [isinstance(answer, Exception) for answer in done] == [
            False,
            True,
            False,
            True,
            False,
        ]


async def test_appends_of_one_group_that_build_on_each_other_all_succeed(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as log:
        done = await asyncio.gather(
            log.append([NewEvent(WEB, "t", b"0")], expect={}),
            *(log.append([NewEvent(WEB, "t", b"%d" % n)], expect={WEB: n}) for n in range(1, 30)),
            log.append([], expect={WEB: 30}),
        )
        assert [e.data for e in await log.stream(WEB)] == [b"%d" % n for n in range(30)]
        assert [len(answer.positions) for answer in done] == [1] * 30 + [0]


async def test_a_wrong_expectation_behind_an_append_without_one_is_answered(
    database: str, tmp_path: Path
) -> None:
    async with opened(database, tmp_path / "a") as log:
        await log.append([NewEvent(WEB, "t", b"0")] * 7, expect={WEB: 0})
        free, bound = await asyncio.gather(
            log.append([NewEvent(WEB, "t", b"1")], expect={}),
            log.append([NewEvent(WEB, "t", b"2")], expect={WEB: 5}),
            return_exceptions=True,
        )
        assert not isinstance(free, BaseException)
        assert isinstance(bound, VersionConflict)
        assert len(await log.stream(WEB)) == 8
