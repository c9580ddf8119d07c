"""Secrets come back with the right key, and are nowhere in plain text."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from adapters.files.keyfile import KEY_FILE
from adapters.sqlite.secrets import SECRETS_FILE, SqliteSecrets
from bus.secrets import SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText

DB = Ref("Secret", "shop", "db")
OTHER = Ref("Secret", "shop", "other")
CANARY = "canary-4711"
VALUES = {"user": SecretText("ada"), "password": SecretText(CANARY)}


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteSecrets]:
    store = await SqliteSecrets.open(directory, now=lambda: 0.0)
    try:
        yield store
    finally:
        await store.close()


async def test_values_come_back_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        token = await store.put(DB, VALUES)
    async with opened(tmp_path) as store:
        assert await store.get(DB, token) == VALUES


async def test_a_token_depends_on_the_values_and_the_key_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        token = store.token(VALUES)
        assert token == store.token(dict(reversed(VALUES.items())))
        assert token == await store.put(DB, VALUES) == await store.put(OTHER, VALUES)
        assert token != store.token(VALUES | {"user": SecretText("bob")})
        assert len(token) == 32
    (tmp_path / "elsewhere").mkdir()
    async with opened(tmp_path / "elsewhere") as store:
        assert token != store.token(VALUES)


async def test_storing_twice_is_as_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.put(DB, VALUES) == await store.put(DB, VALUES)
        assert await store.get(DB, store.token(VALUES)) == VALUES


async def test_what_is_held_is_told_and_only_what_is_named_is_erased(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        old = await store.put(DB, {"a": SecretText("1")})
        new = await store.put(DB, {"a": SecretText("2")})
        other = await store.put(OTHER, {"a": SecretText("1")})
        assert await store.held(DB) == {DB: frozenset({old, new})}
        await store.erase(DB, frozenset({old, "unknown"}))
        assert await store.held() == {DB: frozenset({new}), OTHER: frozenset({other})}
        assert await store.get(DB, new)
        with pytest.raises(SecretUnavailable, match="no values of Secret/shop/db"):
            await store.get(DB, old)
        await store.erase(DB, frozenset({new}))
        assert await store.held(DB) == {}
        assert await store.get(OTHER, other)


async def test_the_plain_value_is_in_no_file(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.put(DB, VALUES)
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert {f"{SECRETS_FILE}-wal", KEY_FILE} <= {path.name for path in files}
        for path in files:
            assert CANARY.encode() not in path.read_bytes(), path
            assert path.stat().st_mode & 0o777 == 0o600, path


async def test_rows_cannot_be_swapped(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        token = await store.put(DB, VALUES)
        await store.put(OTHER, VALUES)
    with closing(sqlite3.connect(tmp_path / SECRETS_FILE, isolation_level=None)) as connection:
        connection.execute("DELETE FROM secrets WHERE ref = 'Secret/shop/db'")
        connection.execute("UPDATE secrets SET ref = 'Secret/shop/db'")
    async with opened(tmp_path) as store:
        with pytest.raises(SecretUnavailable, match="cannot be decrypted") as unavailable:
            await store.get(DB, token)
        assert str(tmp_path / KEY_FILE) in str(unavailable.value)


@pytest.mark.parametrize(
    ("key", "reason"),
    [(None, "is missing"), (bytes(32), "is not the key"), (b"short", "is not the key")],
    ids=["missing", "another", "damaged"],
)
async def test_without_the_right_key_every_use_names_the_file_and_writes_nothing(
    tmp_path: Path, key: bytes | None, reason: str
) -> None:
    async with opened(tmp_path) as store:
        token = await store.put(DB, VALUES)
    right = (tmp_path / KEY_FILE).read_bytes()
    (tmp_path / KEY_FILE).unlink()
    if key is not None:
        (tmp_path / KEY_FILE).write_bytes(key)
    async with opened(tmp_path) as store:
        for use in (store.get(DB, token), store.put(DB, {"a": SecretText("1")})):
            with pytest.raises(SecretUnavailable, match=reason) as unavailable:
                await use
            assert str(tmp_path / KEY_FILE) in str(unavailable.value)
        with pytest.raises(SecretUnavailable):
            store.token(VALUES)
    assert (tmp_path / KEY_FILE).exists() == (key is not None)
    (tmp_path / KEY_FILE).write_bytes(right)
    async with opened(tmp_path) as store:
        assert await store.get(DB, token) == VALUES


async def test_a_store_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / SECRETS_FILE).write_bytes(b"not a database" * 1000)
    with pytest.raises(SecretUnavailable, match=SECRETS_FILE):
        await SqliteSecrets.open(tmp_path, now=lambda: 0.0)
