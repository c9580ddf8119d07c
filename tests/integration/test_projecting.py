"""Desired state at the start: from a snapshot that is whole and of this log, else from the log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.files.snapshots import Snapshots
from adapters.sqlite.log import SqliteLog
from bus.log import NewEvent
from reconcilers.projecting import Projecting, name

WEB = "App/shop/web"


def unexpected() -> None:
    raise AssertionError("nothing is doubted here")


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(tmp_path, now=lambda: 0.0)
    yield log
    await log.close()


async def grow(log: SqliteLog, count: int) -> None:
    for number in range(count):
        await log.append([NewEvent(WEB, "app.scaled", b"%d" % number)], expect={})


async def test_it_is_the_same_with_snapshots_without_and_with_damaged_ones(
    log: SqliteLog, tmp_path: Path
) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    projecting = Projecting(log, snapshots, mismatched=unexpected, elsewhere=asyncio.to_thread)
    for _ in range(2):
        await grow(log, 3)
        await projecting.save(await projecting.restore())
    await grow(log, 3)
    without = Projecting(
        log, Snapshots(tmp_path / "none"), mismatched=unexpected, elsewhere=asyncio.to_thread
    )
    whole = (await without.restore()).dump()
    newest, older = (tmp_path / "snapshots" / f"{name()}-{at}.snap" for at in (6, 3))
    for damaged in (None, newest, older):
        if damaged is not None:
            content = bytearray(damaged.read_bytes())
            content[-10:] = b"\xff" * 10
            damaged.write_bytes(content)
        assert (await projecting.restore()).dump() == whole


async def test_a_snapshot_of_another_history_is_not_used(log: SqliteLog, tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    snapshots.save(name(), 2, b"x" * 32, b"whatever it says")
    await grow(log, 2)
    restored = await Projecting(
        log, snapshots, mismatched=unexpected, elsewhere=asyncio.to_thread
    ).restore()
    assert restored.position == 2


async def test_a_whole_snapshot_that_this_version_cannot_read_is_not_used(
    log: SqliteLog, tmp_path: Path
) -> None:
    snapshots = Snapshots(tmp_path / "snapshots")
    await grow(log, 2)
    snapshots.save(name(), 2, await log.seal_at(2), b"\x00")
    restored = await Projecting(
        log, snapshots, mismatched=unexpected, elsewhere=asyncio.to_thread
    ).restore()
    assert restored.position == 2
