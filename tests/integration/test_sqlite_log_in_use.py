"""What the SQLite log offers beyond the port, and what it keeps in memory."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from adapters.files.headfile import HEAD_FILE
from adapters.sqlite.ledger import KEY_LIFETIME
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.pages import Pages
from adapters.sqlite.schema import LOG_FILE
from adapters.sqlite.versions import Versions
from adapters.sqlite.writer import SWEEP_SECONDS
from bus.log import EMPTY, IdempotencyKey, KeyReused, NewEvent, VersionConflict

WEB = "App/shop/web"


class Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def events(count: int, stream: str = WEB) -> list[NewEvent]:
    return [NewEvent(stream, "app.scaled", b"%d" % number) for number in range(count)]


async def test_a_scan_yields_every_row_in_pages_and_stops_at_the_end(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    await log.append(events(10), expect={WEB: 0})
    pages = [page async for page in log.scan(2, size=4)]
    assert [len(page) for page in pages] == [4, 4]
    rows: list[Any] = [row for page in pages for row in page]
    assert rows == [tuple(event) for event in await log.read(2, 100)]
    assert [page async for page in log.scan(10)] == []
    await log.close()


async def test_pages_outline_every_event_across_holes_and_tell_payloads_as_they_are(
    tmp_path: Path,
) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    odd = [b"", b"\x00\xff{", '{"ü":1}'.encode(), b"{}"]
    await log.append([NewEvent('App/shop/"w', "app.scaled", data) for data in odd], expect={})
    with closing(sqlite3.connect(tmp_path / LOG_FILE)) as other, other:
        other.execute("UPDATE stored_events SET notification_id = 5000000 WHERE state = x'7b7d'")
        other.execute("UPDATE stored_events SET notification_id = 3000 WHERE state = x''")
    seen: list[tuple[int, str, str]] = []
    payloads: list[bytes] = []

    def take(pages: Pages) -> None:
        for positions, streams, types in pages.outlines(2):
            seen.extend(zip(positions, streams, types, strict=True))
        payloads.extend(pages.payloads([at for at, *_ in seen]))
        payloads.extend(pages.payloads([5000000, 2, 3000]))

    await log.replay(take)
    rows = await log.read(2, 100)
    assert seen == [(row.position, row.stream, row.type) for row in rows]
    assert payloads == [*(row.data for row in rows), b"{}", odd[1], b""]
    await log.close()


async def test_one_append_may_be_larger_than_a_group(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    done = await log.append(events(5000), expect={WEB: 0})
    assert done.positions == tuple(range(1, 5001))
    await log.close()


async def test_the_seal_of_a_position_is_that_of_the_commit_before_or_at_it(
    tmp_path: Path,
) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    assert await log.seal_at(0) == EMPTY.seal
    await log.append(events(3), expect={WEB: 0})
    first = (await log.head()).seal
    await log.append(events(1), expect={WEB: 3})
    assert [await log.seal_at(position) for position in (2, 3, 4)] == [
        EMPTY.seal,
        first,
        (await log.head()).seal,
    ]
    await log.close()


async def test_a_key_is_forgotten_after_a_week_and_not_before(tmp_path: Path) -> None:
    clock = Clock()
    log = await SqliteLog.open(tmp_path, now=clock)

    async def use(digest: bytes) -> bool:
        key = IdempotencyKey("ada", "k", digest)
        return (await log.append([], expect={}, key=key)).repeated

    assert not await use(b"one")
    clock.time = KEY_LIFETIME - 1
    assert await use(b"one")
    with pytest.raises(KeyReused):
        await use(b"two")
    clock.time = KEY_LIFETIME + SWEEP_SECONDS + 1
    await log.append(events(1), expect={WEB: 0})  # the sweep comes after a commit
    assert not await use(b"two")
    await log.close()


async def test_a_reopened_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    await log.append(events(2), expect={WEB: 0}, key=IdempotencyKey("ada", "k", b"d"))
    head = await log.head()
    await log.close()
    log = await SqliteLog.open(tmp_path, now=Clock())
    assert await log.head() == head
    with pytest.raises(VersionConflict):
        await log.append(events(1), expect={WEB: 0})
    again = await log.append([], expect={}, key=IdempotencyKey("ada", "k", b"d"))
    assert (again.positions, again.repeated) == ((1, 2), True)
    await log.close()


@pytest.mark.parametrize(("flag", "level"), [("FULL", 2), ("NORMAL", 1)])
async def test_the_durability_asked_for_is_the_one_sqlite_has(
    tmp_path: Path, flag: Any, level: int
) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock(), synchronous=flag)
    await log.append(events(1), expect={WEB: 0})
    connection = log._writer._ledger.connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await log.close()


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    log = await SqliteLog.open(tmp_path, now=Clock())
    await log.append(events(1), expect={WEB: 0})
    for end in ("", "-wal", "-shm"):
        assert (tmp_path / f"{LOG_FILE}{end}").stat().st_mode & 0o777 == 0o600
    await log.close()
    assert (tmp_path / HEAD_FILE).stat().st_mode & 0o777 == 0o600


def test_versions_lately_used_are_kept_and_old_ones_forgotten() -> None:
    versions = Versions(size=2)
    versions.put({"kept": 1})
    for number in range(20):
        versions.put({f"a{number}": number})
        assert versions.get("kept") == 1
    assert versions.get("a0") is None
    versions.clear()
    assert versions.get("kept") is None
