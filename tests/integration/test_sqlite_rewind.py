"""A log that went backwards refuses appends until an operator accepts it."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.files.headfile import HEAD_FILE, read_head_file, write_head
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from bus.log import Head, LogRewound, NewEvent

WEB = "App/shop/web"
NOW = 1_700_000_000.0


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(directory, now=lambda: NOW)
    try:
        yield log
    finally:
        await log.close()


async def append(log: SqliteLog, count: int, text: bytes = b"{}") -> int:
    for version in range(start := len(await log.stream(WEB)), start + count):
        await log.append([NewEvent(WEB, "app.scaled", text)], expect={WEB: version})
    return (await log.head()).position


async def test_the_head_file_holds_the_last_position_after_a_close(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
        head = await log.head()
    assert read_head_file(tmp_path) == head
    assert head.position == 3


async def test_a_restored_older_copy_is_read_but_not_appended_to(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
    shutil.copy(tmp_path / LOG_FILE, tmp_path / "copy")
    async with opened(tmp_path) as log:
        await append(log, 2)
    (tmp_path / "copy").replace(tmp_path / LOG_FILE)

    async with opened(tmp_path) as log:
        assert log.rewound is not None
        assert (log.rewound.head, log.rewound.seen) == (3, 5)
        assert len(await log.read(0, 10)) == 3
        for _ in range(2):
            with pytest.raises(LogRewound, match=r"ends at position 3.*has seen position 5"):
                await log.append([], expect={})
    kept = read_head_file(tmp_path)
    assert kept is not None
    assert kept.position == 5  # the witness is not overwritten by closing


async def test_an_accepted_rewind_is_recorded_and_its_positions_are_never_used_again(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
    write_head(tmp_path, Head(90, bytes(32)))
    async with opened(tmp_path) as log:
        await log.accept_rewind("ada")
        assert log.rewound is None
        kept = read_head_file(tmp_path)
        assert kept is not None
        assert kept.position == 3
        log.report_seen(90, "a label")  # it was accepted that this is gone
        assert log.rewound is None
        assert await append(log, 1) == 91
    async with opened(tmp_path) as log:
        assert log.rewound is None
        rows = await log.rows("SELECT actor, witness, seen, head, at FROM rewinds")
        assert rows == [("ada", "its head file", 90, 3, NOW)]


async def test_a_lost_log_beside_its_head_file_is_a_rewound_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
    (tmp_path / LOG_FILE).unlink()
    async with opened(tmp_path) as log:
        assert log.rewound is not None
        await log.accept_rewind("ada")
        assert await append(log, 1) == 4


async def test_another_history_of_the_same_length_is_noticed_by_its_seal(tmp_path: Path) -> None:
    for name, text in (("one", b"1"), ("two", b"2")):
        (tmp_path / name).mkdir()
        async with opened(tmp_path / name) as log:
            await append(log, 3, text)
    shutil.copy(tmp_path / "one" / HEAD_FILE, tmp_path / "two" / HEAD_FILE)
    async with opened(tmp_path / "two") as log:
        assert log.rewound is not None
        assert "another history" in log.rewound.witness


async def test_a_damaged_head_file_stops_appends_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 1)
    (tmp_path / HEAD_FILE).write_bytes(b"\xff\x00")
    async with opened(tmp_path) as log:
        with pytest.raises(LogRewound, match="a damaged head file"):
            await append(log, 1)


async def test_a_label_above_the_head_stops_appends_and_one_below_does_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
        log.report_seen(3, "container web")
        assert log.rewound is None
        log.report_seen(4, "container web")
        log.report_seen(3, "container api")
        with pytest.raises(LogRewound, match="container web has seen position 4"):
            await append(log, 1)


async def test_a_head_file_behind_the_log_is_brought_up_to_date(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 2)
        early = read_head_file(tmp_path)
        await append(log, 2)
    write_head(tmp_path, Head(0, bytes(32)) if early is None else early)
    async with opened(tmp_path) as log:
        assert log.rewound is None
    kept = read_head_file(tmp_path)
    assert kept is not None
    assert kept.position == 4


async def test_positions_are_not_used_again_after_the_newest_rows_are_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await append(log, 3)
    connection = sqlite3.connect(tmp_path / LOG_FILE, isolation_level=None)
    connection.execute("DELETE FROM stored_events WHERE notification_id = 3")
    connection.close()
    async with opened(tmp_path) as log:
        assert await append(log, 1) == 4


async def test_a_rewind_that_only_a_label_showed_is_accepted_by_who_opens_the_log_next(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as log:
        await append(log, 2)
        log.report_seen(9, "container web")
    async with opened(tmp_path) as log:
        assert log.rewound is not None
        await log.accept_rewind("ada")
    async with opened(tmp_path) as log:
        log.report_seen(9, "container web")
        assert log.rewound is None
        assert await append(log, 1) == 10
