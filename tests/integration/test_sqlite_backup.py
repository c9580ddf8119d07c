"""Backups are whole, verified, and cannot silently take the log back in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.files.headfile import HEAD_FILE
from adapters.files.keyfile import KEY_FILE
from adapters.sqlite.backup import MANIFEST_FILE, BackupRefused, backup, restore
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from adapters.sqlite.secrets import SECRETS_FILE, SqliteSecrets
from adapters.sqlite.verify import verify
from bus.log import NewEvent
from domain.names import Ref
from domain.secret import SecretText

WEB = "App/shop/web"
DB = Ref("Secret", "shop", "db")
VALUES = {"password": SecretText("canary-4711")}


def now() -> float:
    return 5.0


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteLog]:
    log = await SqliteLog.open(directory, now=now)
    try:
        yield log
    finally:
        await log.close()


async def append(log: SqliteLog, count: int) -> None:
    version = len(await log.stream(WEB))
    await log.append([NewEvent(WEB, "app.scaled", b"{}")] * count, expect={WEB: version})


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with three events and a secret."""
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "installation").write_text("0b1c\n")
    async with opened(directory) as log:
        await append(log, 3)
    store = await SqliteSecrets.open(directory, now=now)
    await store.put(DB, VALUES)
    await store.close()
    return directory


async def test_a_backup_of_a_log_in_use_is_whole_and_restores(data: Path, tmp_path: Path) -> None:
    copy, fresh = tmp_path / "copy", tmp_path / "fresh"
    async with opened(data) as log:

        async def write() -> None:
            for _ in range(100):
                await append(log, 1)

        writing = asyncio.create_task(write())
        manifest = await asyncio.to_thread(backup, data, copy, now=now)
        await writing
    assert (manifest.installation, manifest.taken_at, manifest.has_key) == ("0b1c", 5.0, False)
    assert 3 <= manifest.position <= 103
    assert restore(copy, fresh) == manifest
    async with opened(fresh) as log:
        assert log.rewound is None
        assert (await log.head()).position == manifest.position
        assert (await log.head()).seal.hex() == manifest.seal
        await append(log, 1)
    assert verify(fresh).sound


async def test_secrets_are_in_a_backup_and_their_key_only_on_request(
    data: Path, tmp_path: Path
) -> None:
    backup(data, tmp_path / "without", now=now)
    assert (tmp_path / "without" / SECRETS_FILE).exists()
    assert not (tmp_path / "without" / KEY_FILE).exists()
    assert backup(data, tmp_path / "with", now=now, with_key=True).has_key
    restore(tmp_path / "with", tmp_path / "fresh")
    store = await SqliteSecrets.open(tmp_path / "fresh", now=now)
    assert await store.get(DB, store.token(VALUES)) == VALUES
    await store.close()


@pytest.mark.parametrize("name", [LOG_FILE, SECRETS_FILE, HEAD_FILE, "installation"])
def test_a_backup_with_a_changed_file_is_not_restored(
    data: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "copy"
    backup(data, copy, now=now)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BackupRefused, match=name):
        restore(copy, tmp_path / "fresh")
    assert not (tmp_path / "fresh").exists()


def test_a_backup_that_was_interrupted_is_not_restored(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    backup(data, copy, now=now)
    (copy / MANIFEST_FILE).unlink()
    with pytest.raises(BackupRefused, match="not a whole backup"):
        restore(copy, tmp_path / "fresh")


def test_neither_backup_nor_restore_writes_over_anything(data: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    backup(data, copy, now=now)
    with pytest.raises(BackupRefused, match="is not empty"):
        backup(data, copy, now=now)
    with pytest.raises(BackupRefused, match="is not empty"):
        restore(copy, data)


async def test_an_altered_log_is_not_backed_up(data: Path, tmp_path: Path) -> None:
    (data / HEAD_FILE).unlink()
    content = (data / LOG_FILE).read_bytes()
    (data / LOG_FILE).write_bytes(content.replace(b"app.scaled", b"app.scalxd", 1))
    with pytest.raises(BackupRefused, match="is not sound: position"):
        backup(data, tmp_path / "copy", now=now)
    assert not (tmp_path / "copy" / MANIFEST_FILE).exists()


async def test_an_older_backup_restored_over_a_newer_head_is_noticed(
    data: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    backup(data, copy, now=now)
    async with opened(data) as log:
        await append(log, 2)
    for path in data.iterdir():
        if path.name != HEAD_FILE:
            path.unlink()
    restore(copy, data)
    async with opened(data) as log:
        assert log.rewound is not None
        assert (log.rewound.head, log.rewound.seen) == (3, 5)
