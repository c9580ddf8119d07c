"""Full disks, locks, bad appends and errors nobody expects: each hits only whom it must."""

import asyncio
import errno
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from adapters.sqlite import log as log_module
from adapters.sqlite.ledger import Ledger
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from adapters.sqlite.trouble import explain
from adapters.sqlite.verify import verify
from bus.grouping import Answer, Request
from bus.log import Appended, LogFull, LogUnavailable, NewEvent, VersionConflict
from tests.support import requirements

WEB = "App/shop/web"


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(directory, now=lambda: 0.0, busy_seconds=0.05)
    try:
        yield log
    finally:
        await log.close()


async def append(log: SqliteLog, stream: str = WEB, data: bytes = b"{}") -> Appended:
    version = len(await log.stream(stream))
    return await log.append([NewEvent(stream, "app.scaled", data)], expect={stream: version})


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    requirements.require("root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mount, umount = (requirements.find_program(name) for name in ("mount", "umount"))
    if mount is None or umount is None:
        pytest.skip("there is no program to mount a small disk with")
    argv = [str(mount), "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run([umount, directory], check=True)


async def test_a_full_disk_refuses_appends_whole_and_a_freed_one_takes_them_again(
    small_disk: Path,
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    async with opened(small_disk) as log:
        acknowledged: list[int] = []

        async def appender(number: int) -> None:
            stream = f"App/shop/a{number}"
            for version in range(0, 10_000, 2):
                pair = [NewEvent(stream, "app.scaled", b"x" * 2000)] * 2
                acknowledged.extend((await log.append(pair, expect={stream: version})).positions)

        ends = await asyncio.gather(*(appender(n) for n in range(8)), return_exceptions=True)
        assert {type(end) for end in ends} == {LogFull}
        assert log.read_only is not None
        assert "no space" in log.read_only
        stored = [e.position for e in await log.read(0, 10**6)]
        assert stored == sorted(acknowledged)
        with pytest.raises(LogFull):
            await append(log, "App/shop/big", b"x" * 100_000)

        ballast.unlink()
        assert (await append(log)).positions[0] > stored[-1]
        assert log.read_only is None
    report = verify(small_disk)
    assert report.sound, report.problem
    assert report.events == len(stored) + 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_exhausted_quota_is_a_full_disk(number: int, tmp_path: Path) -> None:
    error = explain(OSError(number, "no"), tmp_path / LOG_FILE, "append")
    assert isinstance(error, LogFull)


async def test_a_locked_file_is_unavailable_until_it_is_let_go(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        with closing(sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LogUnavailable, match="another process holds"):
                await append(log)
            other.execute("ROLLBACK")
        await append(log)
        assert log.read_only is None


async def test_an_append_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        bad = NewEvent("App/shop/\ud800", "app.scaled", b"{}")
        appends = [append(log, f"App/shop/a{number}") for number in range(9)]
        appends.insert(4, log.append([bad], expect={bad.stream: 0}))
        done = await asyncio.gather(*appends, return_exceptions=True)
        assert isinstance(done.pop(4), UnicodeEncodeError)
        assert all(isinstance(answer, Appended) for answer in done)
    assert verify(tmp_path).events == 9


async def test_the_writer_survives_a_connection_that_broke(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log)
        await log._run(lambda ledger: ledger.connection.close())
        with pytest.raises(LogUnavailable):
            await append(log)
        assert (await append(log)).positions == (2,)


async def test_the_writer_survives_an_error_nobody_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as log:
        await append(log)
        with monkeypatch.context() as broken:

            def fail(self: Ledger, requests: Sequence[Request]) -> list[Answer]:
                raise RuntimeError("out of luck")

            broken.setattr(Ledger, "_transaction", fail)
            appends = (append(log, f"App/shop/a{number}") for number in range(5))
            done = await asyncio.gather(*appends, return_exceptions=True)
        assert all("out of luck" in str(error) for error in done)
        assert {type(error) for error in done} == {LogUnavailable}
        assert (await append(log)).positions == (2,)


async def test_appends_that_wait_when_the_log_is_closed_are_written_and_answered(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as log:
        streams = [f"App/shop/a{number}" for number in range(200)]
        event = [NewEvent(stream, "app.scaled", b"{}") for stream in streams]
        tasks = [asyncio.create_task(log.append([e], expect={e.stream: 0})) for e in event]
        await asyncio.sleep(0)
        await log.close()
        await asyncio.gather(*tasks)
        for use in (append(log), log.read(0, 1), log.redact([1], "ada"), anext(log.tail(0))):
            with pytest.raises(LogUnavailable, match="closed"):
                await use
    assert verify(tmp_path).events == 200


async def test_callers_wait_while_too_much_is_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "MAX_WAITING", 4)
    most = 0
    async with opened(tmp_path) as log:

        async def watched(number: int) -> None:
            nonlocal most
            await append(log, f"App/shop/a{number}")
            most = max(most, log._waiting)

        await asyncio.gather(*(watched(number) for number in range(60)))
        assert most <= 4
        assert log._waiting == 0
        assert len(await log.read(0, 100)) == 60


async def test_callers_that_give_up_make_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "MAX_WAITING", 3)
    async with opened(tmp_path) as log:
        tasks = [asyncio.create_task(append(log, f"App/shop/a{n}")) for n in range(30)]
        while log._waiting < 3:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await append(log)
        assert log._waiting == 0


async def test_two_writers_on_one_file_never_write_over_each_other(tmp_path: Path) -> None:
    """The directory has one owner; this is what holds should that ever fail."""
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        for log in (one, two, one, two):
            await append(log, "App/shop/a0")

        async def appender(log: SqliteLog, number: int) -> int:
            won = 0
            for _ in range(20):
                try:
                    await append(log, f"App/shop/a{number % 2}")
                except (VersionConflict, LogUnavailable):
                    continue
                won += 1
            return won

        wins = await asyncio.gather(*(appender((one, two)[n % 2], n // 2) for n in range(8)))
        assert len(await one.read(0, 1000)) == sum(wins) + 4
    report = verify(tmp_path)
    assert report.sound, report.problem


async def test_what_another_process_wrote_is_seen_by_a_tail(tmp_path: Path) -> None:
    async with opened(tmp_path) as reader, opened(tmp_path) as other:
        tail = reader.tail(0)
        waiting = asyncio.ensure_future(anext(tail))
        await asyncio.sleep(0)
        await append(other)
        async with asyncio.timeout(30):
            assert [e.stream for e in await waiting] == [WEB]


async def test_a_tail_is_woken_by_a_commit_and_needs_no_timer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "TAIL_SECONDS", 3600)
    async with opened(tmp_path) as log, asyncio.timeout(30):
        tail = log.tail(0)
        waiting = asyncio.ensure_future(anext(tail))
        for version in range(3):
            await asyncio.sleep(0)
            await append(log)
            assert [e.version for e in await waiting] == [version + 1]
            waiting = asyncio.ensure_future(anext(tail))
        waiting.cancel()


async def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / LOG_FILE)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LogUnavailable, match="has format 99"):
        await SqliteLog.open(tmp_path, now=lambda: 0.0)


async def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOG_FILE).write_bytes(b"not a database" * 1000)
    with pytest.raises(LogUnavailable, match="could not open the log"):
        await SqliteLog.open(tmp_path, now=lambda: 0.0)
