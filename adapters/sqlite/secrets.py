"""Values of Secrets in `secrets.db`, encrypted with AES-GCM under the key in `secret.key`.

Each row is bound to its resource and token, so rows cannot be swapped; the plain values are in no
file. Without the right key nothing is read, written or made up: the message names the file.
"""

import asyncio
import hashlib
import hmac
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, final, override

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adapters.sqlite.durable import replace_file
from bus.secrets import SecretStore, SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText

SECRETS_FILE = "secrets.db"
KEY_FILE = "secret.key"
KEY_BYTES = 32
NONCE_BYTES = 12  # what AES-GCM is made for
TOKEN_DIGITS = 32

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

    def __init__(self, directory: Path, *, now: Callable[[], float]) -> None:
        self._path = directory / SECRETS_FILE
        self._key_path = directory / KEY_FILE
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="secrets")
        self._connection: sqlite3.Connection | None = None
        self._keys: _Keys | None = None
        self._locked = _CLOSED

    @classmethod
    async def open(cls, directory: Path, *, now: Callable[[], float]) -> Self:
        """Open the store of a directory; make it, and its key, at the first start.

        A missing or wrong key is no error here: what needs no secret goes on, and every use of the
        store says what is missing.

        Raises:
            SecretUnavailable: the database cannot be opened.
        """
        store = cls(directory, now=now)
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
        return self._unlocked().token(_canonical(values))

    @override
    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        keys, plain = self._unlocked(), _canonical(values)
        token = keys.token(plain)
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = keys.cipher.encrypt(nonce, plain, _bound_to(ref, token))
        row = (ref.stream, token, nonce, ciphertext, self._now())
        await self._ask(lambda connection: connection.execute(_PUT, row))
        return token

    @override
    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        keys = self._unlocked()
        asked = (ref.stream, token)
        row = await self._ask(lambda connection: connection.execute(_GET, asked).fetchone())
        if row is None:
            raise SecretUnavailable(f"{self._path} has no values of {ref} under token {token}")
        nonce, ciphertext = row
        try:
            plain = keys.cipher.decrypt(nonce, ciphertext, _bound_to(ref, token))
        except InvalidTag as error:
            raise SecretUnavailable(
                f"the values of {ref} in {self._path} cannot be decrypted with the key in "
                f"{self._key_path}: one of the two files was changed; apply the Secret again, "
                "or restore both files from the same backup"
            ) from error
        pairs = msgspec.json.decode(plain, type=list[tuple[str, str]])
        return {name: SecretText(text) for name, text in pairs}

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

    def _unlocked(self) -> "_Keys":
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
            key = self._key_path.read_bytes()
        except FileNotFoundError:
            if row is not None:
                self._locked = (
                    f"the key {self._key_path} is missing, so the secrets in {self._path} cannot "
                    "be read; put the key back, or move both files away and apply the Secrets again"
                )
                return
            key = os.urandom(KEY_BYTES)
            replace_file(self._key_path, key)
        keys = _Keys(key)
        if len(key) != KEY_BYTES or (row is not None and not hmac.compare_digest(row[0], keys.tag)):
            self._locked = (
                f"{self._key_path} is not the key that {self._path} was written with; put the "
                "right key back, or move both files away and apply the Secrets again"
            )
            return
        connection.execute("INSERT OR IGNORE INTO key_check (id, tag) VALUES (1, ?)", (keys.tag,))
        self._keys = keys

    def _close(self) -> None:
        self._keys, connection, self._connection = None, self._connection, None
        self._locked = _CLOSED
        if connection is not None:
            connection.close()


@final
class _Keys:
    """Two keys from the one in the file: what encrypts must not also make tokens."""

    def __init__(self, key: bytes) -> None:
        self.cipher = AESGCM(_derive(key, b"stateward secrets: encryption"))
        self._token_key = _derive(key, b"stateward secrets: tokens")
        self.tag = _derive(key, b"stateward secrets: which key")

    def token(self, plain: bytes) -> str:
        return hmac.new(self._token_key, plain, hashlib.sha256).hexdigest()[:TOKEN_DIGITS]


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, purpose, hashlib.sha256).digest()


def _canonical(values: Mapping[str, SecretText]) -> bytes:
    return msgspec.json.encode(sorted((name, text.reveal()) for name, text in values.items()))


def _bound_to(ref: Ref, token: str) -> bytes:
    return f"{ref.stream} {token}".encode()
