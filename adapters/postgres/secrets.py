"""Values of Secrets in the database of the log, encrypted under a key that is not in it.

All processes of an installation have the same key file; one with another says so at every use.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, final, override

import asyncpg

from adapters.files.keyfile import Keys, Locked, Sealed, unlock
from adapters.postgres.reader import Reader
from adapters.postgres.server import Server
from bus.log import LogUnavailable
from bus.secrets import SecretStore, SecretUnavailable
from domain.names import Ref
from domain.secret import SecretText

_PUT = (
    "INSERT INTO stateward.secrets (ref, token, nonce, ciphertext, at)"
    " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ref, token) DO UPDATE"
    " SET nonce = excluded.nonce, ciphertext = excluded.ciphertext, at = excluded.at"
)
_GET = "SELECT nonce, ciphertext FROM stateward.secrets WHERE ref = $1 AND token = $2"
_HELD = "SELECT ref, token FROM stateward.secrets WHERE $1::text IS NULL OR ref = $1"
_ERASE = "DELETE FROM stateward.secrets WHERE ref = $1 AND token = ANY ($2)"
_TAG = "SELECT tag FROM stateward.key_check"
_NOTE_TAG = "INSERT INTO stateward.key_check (tag) VALUES ($1) ON CONFLICT DO NOTHING"
_CLOSED: Final = "the secret store is closed; open it again"


@final
class PostgresSecrets(SecretStore):
    """Open it with `open`. A statement here may be sent twice: each is as good as once."""

    def __init__(
        self, server: Server, pool: Reader, key_file: Path, *, now: Callable[[], float]
    ) -> None:
        self._shown = f"the database {server.shown}"
        self._pool = pool
        self._key_file = key_file
        self._now = now
        self._keys: Keys | None = None
        self._locked = _CLOSED

    @classmethod
    async def open(cls, url: str, key_file: Path, *, now: Callable[[], float]) -> Self:
        """Open the store of a database; the first to do so makes the key.

        A missing or wrong key is no error here: what needs no secret goes on, and every use of the
        store says what is missing.

        Raises:
            SecretUnavailable: the database cannot be used.
        """
        server = Server(url)
        store = cls(server, await Reader.open(server), key_file, now=now)
        try:
            await store._unlock()
        except SecretUnavailable:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        self._keys, self._locked = None, _CLOSED
        await self._pool.close()

    @override
    def token(self, values: Mapping[str, SecretText]) -> str:
        return self._unlocked().token(values)

    @override
    async def put(self, ref: Ref, values: Mapping[str, SecretText]) -> str:
        sealed = self._unlocked().seal(ref, values)
        await self._ask(_PUT, ref.stream, *sealed, self._now())
        return sealed.token

    @override
    async def get(self, ref: Ref, token: str) -> Mapping[str, SecretText]:
        keys = self._unlocked()
        rows = await self._ask(_GET, ref.stream, token)
        if not rows:
            raise SecretUnavailable(f"{self._shown} has no values of {ref} under token {token}")
        places = f"in {self._shown} cannot be decrypted with the key in {self._key_file}"
        return keys.unseal(ref, Sealed(token, *rows[0]), places)

    @override
    async def held(self, ref: Ref | None = None) -> Mapping[Ref, frozenset[str]]:
        found: dict[Ref, set[str]] = {}
        for stream, token in await self._ask(_HELD, ref.stream if ref else None):
            found.setdefault(Ref.parse(stream), set()).add(token)
        return {owner: frozenset(tokens) for owner, tokens in found.items()}

    @override
    async def erase(self, ref: Ref, tokens: frozenset[str]) -> None:
        await self._ask(_ERASE, ref.stream, sorted(tokens))

    async def _unlock(self) -> None:
        """Load the key and see whether it is the one the store was made with."""
        tag = await self._tag()
        try:
            keys = unlock(self._key_file, tag, self._shown)
            await self._ask(_NOTE_TAG, keys.tag)
            # Two may have made a key each at the same moment; the first counts.
            self._keys = unlock(self._key_file, await self._tag(), self._shown)
        except Locked as locked:
            self._locked = str(locked)

    async def _tag(self) -> bytes | None:
        rows = await self._ask(_TAG)
        return rows[0][0] if rows else None

    def _unlocked(self) -> Keys:
        if self._keys is None:
            raise SecretUnavailable(self._locked)
        return self._keys

    async def _ask(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        try:
            return await self._pool.rows(sql, *arguments)
        except LogUnavailable as error:
            raise SecretUnavailable(f"{self._shown} cannot be used now: {error}") from error
