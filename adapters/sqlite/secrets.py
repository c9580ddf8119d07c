"""Values of Secrets in `secrets.db`, encrypted with AES-GCM under the key in `secret.key`.

Each row is bound to its resource and token, so rows cannot be swapped; the plain values are in no
file. Without the right key nothing is read, written or made up: the message names the file.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, final, override

import msgspec

from adapters.files.keyfile import KEY_FILE, Keys, Locked, Sealed, unlock
from bus.secrets import SecretStore, SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText

SECRETS_FILE = "secrets.db"

_TABLES = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS secrets (
    ref TEXT NOT NULL,
    token TEXT NOT NULL,
    nonce BLOB NOT NULL,
    ciphertext BLOB NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (ref, token)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key_check (id INTEGER PRIMARY KEY CHECK (id = 1), tag BLOB NOT NULL);
COMMIT;
"""
_PUT = "INSERT OR REPLACE INTO secrets (ref, token, nonce, ciphertext, at) VALUES (?, ?, ?, ?, ?)"
_GET = "SELECT nonce, ciphertext FROM secrets WHERE ref = ? AND token = ?"
_HELD = "SELECT ref, token FROM secrets WHERE :ref IS NULL OR ref = :ref"
_ERASE = "DELETE FROM secrets WHERE ref = ? AND token IN (SELECT value FROM json_each(?))"

_CLOSED = "the secret store is closed; open it again"


@final
class SqliteSecrets(SecretStore):
    """Open it with `open`. All database work runs in one thread of its own."""

    def __init__(
        self, directory: Path, *, now: Callable[[], float], key_file: Path | None = None
    ) -> None:
        self._path = directory / SECRETS_FILE
        self._key_path = key_file or directory / KEY_FILE
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="secrets")
        self._connection: sqlite3.Connection | None = None
        self._keys: Keys | None = None
        self._locked = _CLOSED

    @classmethod
    async def open(
        cls, directory: Path, *, now: Callable[[], float], key_file: Path | None = None
    ) -> Self:
        """Open the store of a directory; make it, and its key, at the first start.

        A missing or wrong key is no error here: what needs no secret goes on, and every use of the
        store says what is missing.

        Raises:
            SecretUnavailable: the database cannot be opened.
        """
        store = cls(directory, now=now, key_file=key_file)
        try:
            await store._run(store._open)
        except SecretUnavailable:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._run(self._close)
        self._thread.shutdown()

    @override
    def token(self, values: Mapping[str, SecretText]) -> str:
        return self._unlocked().token(values)

    @override
    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        sealed = self._unlocked().seal(ref, values)
        row = (ref.stream, *sealed, self._now())
        await self._ask(lambda connection: connection.execute(_PUT, row))
        return sealed.token

    @override
    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        keys = self._unlocked()
        asked = (ref.stream, token)
        row = await self._ask(lambda connection: connection.execute(_GET, asked).fetchone())
        if row is None:
            raise SecretUnavailable(f"{self._path} has no values of {ref} under token {token}")
        places = f"in {self._path} cannot be decrypted with the key in {self._key_path}"
        return keys.unseal(ref, Sealed(token, *row), places)

    @override
    async def held(self, ref: Ref | None = None) -> Mapping[Ref, frozenset[str]]:
        asked = {"ref": ref.stream if ref else None}
        rows = await self._ask(lambda connection: connection.execute(_HELD, asked).fetchall())
        found: dict[Ref, set[str]] = {}
        for stream, token in rows:
            found.setdefault(Ref.parse(stream), set()).add(token)
        return {owner: frozenset(tokens) for owner, tokens in found.items()}

    @override
    async def erase(self, ref: Ref, tokens: frozenset[str]) -> None:
        row = (ref.stream, msgspec.json.encode(sorted(tokens)).decode())
        await self._ask(lambda connection: connection.execute(_ERASE, row))

    async def _ask[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            raise SecretUnavailable(self._locked)
        return await self._run(lambda: work(connection))

    async def _run[T](self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as error:
            raise SecretUnavailable(f"{self._path} cannot be used now: {error}") from error

    def _unlocked(self) -> Keys:
        if self._keys is None:
            raise SecretUnavailable(self._locked)
        return self._keys

    def _open(self) -> None:
        self._path.touch(mode=0o600)
        connection = self._connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(_TABLES)
        self._unlock(connection)

    def _unlock(self, connection: sqlite3.Connection) -> None:
        """Load the key and see whether it is the one the store was made with."""
        row = connection.execute("SELECT tag FROM key_check").fetchone()
        try:
            keys = unlock(self._key_path, row and row[0], str(self._path))
        except Locked as locked:
            self._locked = str(locked)
            return
        connection.execute("INSERT OR IGNORE INTO key_check (id, tag) VALUES (1, ?)", (keys.tag,))
        self._keys = keys

    def _close(self) -> None:
        self._keys, connection, self._connection = None, self._connection, None
        self._locked = _CLOSED
        if connection is not None:
            connection.close()
