"""Whatever is altered behind the log's back is found, with the first position that is wrong."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.files.headfile import HEAD_FILE
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from adapters.sqlite.verify import verify
from bus.log import LogUnavailable, NewEvent
from bus.verifying import TOMBSTONE

CANARY = b"canary-4711"


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """A log of 12 events in 6 groups of 2, over 3 streams."""
    log = await SqliteLog.open(tmp_path, now=lambda: 0.0)
    for number in range(6):
        stream = f"App/shop/a{number % 3}"
        pair = [NewEvent(stream, "app.scaled", b'{"replicas": 1}'), NewEvent(stream, "x", CANARY)]
        await log.append(pair, expect={stream: 2 * (number // 3)})
    await log.close()
    return tmp_path


def tamper(directory: Path, *statements: str) -> None:
    connection = sqlite3.connect(directory / LOG_FILE, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def flip_a_bit(directory: Path, position: int) -> None:
    connection = sqlite3.connect(directory / LOG_FILE, isolation_level=None)
    with connection.blobopen("stored_events", "state", position) as blob:
        blob[0] = blob[0] ^ 1
    connection.close()


def test_an_untouched_log_is_sound(directory: Path) -> None:
    report = verify(directory)
    assert report.sound, report.problem
    assert (report.events, report.head.position, report.redacted) == (12, 12, 0)


def test_a_flipped_bit_in_a_payload_is_named_by_its_position(directory: Path) -> None:
    flip_a_bit(directory, 7)
    report = verify(directory)
    assert report.altered == 7
    assert report.problem == "position 7 was altered: its digest differs"


@pytest.mark.parametrize(
    ("statement", "altered"),
    [
        ("UPDATE stored_events SET topic = 'y' WHERE notification_id = 4", 4),
        ("UPDATE stored_events SET originator_version = 9 WHERE notification_id = 8", 8),
        ("UPDATE stored_events SET originator_id = 'App/x/y' WHERE notification_id = 11", 11),
        ("UPDATE stored_events SET state = 'text' WHERE notification_id = 6", 6),
        ("DELETE FROM stored_events WHERE notification_id = 5", 5),
        ("DELETE FROM stored_events WHERE notification_id >= 12", 12),
        ("INSERT INTO stored_events VALUES (13, 'App/shop/a9', 1, 't', x'00')", 13),
        ("UPDATE seals SET seal = zeroblob(32) WHERE position = 6", 5),
        ("DELETE FROM seals WHERE position = 6", 5),
        ("DELETE FROM seals WHERE position = 12", 11),
        ("UPDATE seals SET digests = x'00' WHERE position = 2", 1),
        ("UPDATE seals SET position = 13 WHERE position = 12", 11),
    ],
)
def test_an_altered_table_is_named_by_its_first_wrong_position(
    directory: Path, statement: str, altered: int
) -> None:
    (directory / HEAD_FILE).unlink()
    tamper(directory, statement)
    report = verify(directory)
    assert not report.sound
    assert report.altered == altered
    assert str(report.altered) in str(report.problem)


def test_a_tail_that_was_cut_off_together_with_its_seals_is_known_by_the_head_file(
    directory: Path,
) -> None:
    tamper(
        directory,
        "DELETE FROM stored_events WHERE notification_id > 10",
        "DELETE FROM seals WHERE position > 10",
    )
    report = verify(directory)
    assert report.altered == 11
    assert "has seen position 12" in str(report.problem)


def test_damage_to_the_file_itself_is_a_finding_and_no_crash(directory: Path) -> None:
    path = directory / LOG_FILE
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4096):
        content[page * 4096 : page * 4096 + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert "damaged" in str(verify(directory).problem)


def test_there_is_nothing_to_verify_where_no_log_is(tmp_path: Path) -> None:
    with pytest.raises(LogUnavailable, match="does not exist"):
        verify(tmp_path)


async def redact(directory: Path, *positions: int) -> tuple[int, ...]:
    log = await SqliteLog.open(directory, now=lambda: 5.0)
    try:
        return await log.redact(positions, "ada")
    finally:
        await log.close()


async def test_an_erased_payload_is_gone_from_all_files_and_the_seals_still_hold(
    directory: Path,
) -> None:
    log = await SqliteLog.open(directory, now=lambda: 5.0)
    assert await log.redact(range(2, 13, 2), "ada") == (2, 4, 6, 8, 10, 12)
    for file in directory.glob(f"{LOG_FILE}*"):  # while the log is still in use
        assert CANARY not in file.read_bytes(), file
    assert [e.data for e in await log.read(1, 1)] == [TOMBSTONE]
    await log.close()
    report = verify(directory)
    assert report.sound, report.problem
    assert report.redacted == 6


async def test_erasing_twice_or_nothing_changes_nothing(directory: Path) -> None:
    assert await redact(directory, 2) == (2,)
    assert await redact(directory, 2, 99) == (2,)
    assert verify(directory).sound


@pytest.mark.parametrize(
    "cheat",
    [
        lambda d: tamper(d, "UPDATE stored_events SET state = x'00' WHERE notification_id = 2"),
        lambda d: tamper(d, "DELETE FROM tombstones"),
        lambda d: tamper(d, "UPDATE tombstones SET digest = zeroblob(32)"),
    ],
    ids=["filled again", "tombstone removed", "digest altered"],
)
async def test_a_tombstone_cannot_hide_an_alteration(
    directory: Path, cheat: Callable[[Path], None]
) -> None:
    await redact(directory, 2)
    cheat(directory)
    assert verify(directory).altered == 2
