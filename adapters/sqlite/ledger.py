"""The log's writing side, seen from inside its thread: one connection, one transaction at a time.

What is kept in memory (the last position, the newest seal, the versions of streams) changes only
after a commit, and is read anew from the file after an error that leaves it in doubt.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

import msgspec

from adapters.sqlite import schema
from adapters.sqlite.trouble import explain, spoils_connection
from adapters.sqlite.versions import Versions
from bus.grouping import Answer, Group, Remembered, Request
from bus.log import EMPTY, Head, LogUnavailable, VersionConflict
from bus.seals import next_seal

KEY_LIFETIME = 7 * 86400.0  # seconds
SWEEP_ROWS = 500  # few enough that the sweep is never noticed

_INSERT_EVENT = (
    "INSERT INTO stored_events (notification_id, originator_id, originator_version, topic, state)"
    " VALUES (?, ?, ?, ?, ?)"
)
_INSERT_KEY = (
    "INSERT INTO keys (actor, key, digest, outcome, first_position, events, at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_SEAL = "INSERT INTO seals (position, seal, digests) VALUES (?, ?, ?)"
# One question per group, not per append: each one gives up the interpreter's lock for a while.
_SELECT_KEYS = (
    "SELECT k.actor, k.key, k.digest, k.outcome, k.first_position, k.events"
    " FROM json_each(?) AS asked CROSS JOIN keys AS k"
    " ON k.actor = json_extract(asked.value, '$[0]') AND k.key = json_extract(asked.value, '$[1]')"
)
_SELECT_VERSIONS = (
    "SELECT value, (SELECT max(originator_version) FROM stored_events WHERE originator_id = value)"
    " FROM json_each(?)"
)
_SELECT_LAST_POSITION = (
    "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'stored_events'), 0),"
    " coalesce((SELECT max(notification_id) FROM stored_events), 0),"
    " coalesce((SELECT max(position) FROM seals), 0))"
)
_SWEEP_KEYS = "DELETE FROM keys WHERE id IN (SELECT id FROM keys ORDER BY id LIMIT ?) AND at < ?"
# What a single bad append causes; the others of its group must not suffer for it.
_POISON = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    TypeError,
    ValueError,
    OverflowError,
)


@final
class Ledger:
    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], float],
        synchronous: schema.Synchronous,
        busy_seconds: float,
    ) -> None:
        self.head = EMPTY
        self._path = path
        self._now = now
        self._synchronous: schema.Synchronous = synchronous
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._last_position = 0
        self._data_version = 0
        self._versions = Versions()

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; opened anew after an error has closed it."""
        if self._connection is None:
            self._connection = schema.open_writer(
                self._path, synchronous=self._synchronous, busy_seconds=self._busy_seconds
            )
            self._load(self._connection)
        return self._connection

    def open(self) -> None:
        """Open the file now.

        Raises:
            LogUnavailable: it cannot be opened, or was written by a newer version.
        """
        try:
            self.reload()
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self._path, "open the log") from error

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def commit(self, requests: Sequence[Request]) -> list[Answer]:
        """Write a group in one transaction and return what to answer each, in order.

        When one of them cannot be written, the group is halved until that one stands alone.
        """
        try:
            return self._transaction(requests)
        except _POISON as error:
            self._roll_back()
            if len(requests) == 1:
                return [self._refusal(requests[0], error)]
        except sqlite3.Error as error:
            self.recover(error)
            return [explain(error, self._path, "append") for _ in requests]
        except LogUnavailable as error:
            return [LogUnavailable(str(error)) for _ in requests]
        middle = len(requests) // 2
        return self.commit(requests[:middle]) + self.commit(requests[middle:])

    def sweep_keys(self) -> bool:
        """Forget some of the keys that are older than a week; True when there may be more."""
        cursor = self.connection.execute(_SWEEP_KEYS, (SWEEP_ROWS, self._now() - KEY_LIFETIME))
        return cursor.rowcount == SWEEP_ROWS

    def explain(self, error: sqlite3.Error, asked: str) -> LogUnavailable:
        return explain(error, self._path, asked)

    def abandon(self) -> None:
        """Let go of a connection of which nothing is known any more."""
        with suppress(sqlite3.Error):
            self.close()

    def recover(self, error: sqlite3.Error) -> None:
        """Be ready for the next transaction after one that failed."""
        if spoils_connection(error):
            self.abandon()
        else:
            self._roll_back()

    def reload(self) -> None:
        """Read anew what is kept in memory, after it was changed by other statements."""
        self._load(self.connection)

    def _transaction(self, requests: Sequence[Request]) -> list[Answer]:
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        if _data_version(connection) != self._data_version:  # another process wrote to the file
            self._load(connection)
        self._learn_versions(connection, requests)
        known_keys = _known_keys(connection, requests)
        group = Group(self._last_position, self._versions, known_keys, self._now())
        answers = [group.add(request) for request in requests]
        if not (group.events or group.keys):
            connection.execute("ROLLBACK")
            return answers
        head = self._write(connection, group)
        connection.execute("COMMIT")
        self.head, self._last_position = head, group.last_position
        self._versions.put(group.changed)
        return answers

    def _write(self, connection: sqlite3.Connection, group: Group) -> Head:
        if group.keys:
            connection.executemany(_INSERT_KEY, group.keys)
        if not group.events:
            return self.head
        connection.executemany(_INSERT_EVENT, group.events)
        seal = next_seal(self.head.seal, group.digests)
        connection.execute(_INSERT_SEAL, (group.last_position, seal, b"".join(group.digests)))
        return Head(group.last_position, seal)

    def _learn_versions(self, connection: sqlite3.Connection, requests: Sequence[Request]) -> None:
        unknown: set[str] = set()
        known = self._versions.get
        for request in requests:
            for stream in request.expect:
                if known(stream) is None:
                    unknown.add(stream)
            for event in request.events:
                if event.stream not in request.expect and known(event.stream) is None:
                    unknown.add(event.stream)
        if unknown:
            rows = connection.execute(_SELECT_VERSIONS, (_json(sorted(unknown)),))
            self._versions.put({stream: version or 0 for stream, version in rows})

    def _refusal(self, request: Request, error: Exception) -> Exception:
        """Why a single append could not be written, though every check had passed."""
        if isinstance(error, sqlite3.IntegrityError) and request.versions is not None:
            event, version = request.events[0], request.versions[0]
            actual = self._versions.get(event.stream) or 0
            return VersionConflict(event.stream, version - 1, actual)
        if isinstance(error, sqlite3.Error):
            return explain(error, self._path, "append")
        return error

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _load(self, connection: sqlite3.Connection) -> None:
        self._versions.clear()
        (self._last_position,) = connection.execute(_SELECT_LAST_POSITION).fetchone()
        self.head = schema.read_head(connection)
        self._data_version = _data_version(connection)


def _known_keys(
    connection: sqlite3.Connection, requests: Sequence[Request]
) -> dict[tuple[str, str], Remembered]:
    asked = [request.key[:2] for request in requests if request.key is not None]
    if not asked:
        return {}
    rows = connection.execute(_SELECT_KEYS, (_json(asked),))
    return {(actor, key): Remembered(*rest) for actor, key, *rest in rows}


def _data_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
