"""Tombstones: what stands where the payload of an event was erased for ever.

The digest of what stood there is kept with who erased it and when, so that the seals stay valid.
"""

import sqlite3
from collections.abc import Sequence

from bus.seals import data_digest
from bus.verifying import TOMBSTONE

_SELECT_DATA = "SELECT state FROM stored_events WHERE notification_id = ?"
_ERASE = "UPDATE stored_events SET state = ? WHERE notification_id = ?"
_INSERT_TOMBSTONE = (
    "INSERT OR IGNORE INTO tombstones (position, digest, actor, at) VALUES (?, ?, ?, ?)"
)


def redact(
    connection: sqlite3.Connection, positions: Sequence[int], actor: str, at: float
) -> tuple[int, ...]:
    """Put tombstones in place of payloads, and return the positions that had one.

    The bytes are overwritten in the file, and the write-ahead log that still holds them is emptied.
    """
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    erased = tuple(
        position for position in positions if _redact_one(connection, position, actor, at)
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("PRAGMA secure_delete = OFF")
    return erased


def _redact_one(connection: sqlite3.Connection, position: int, actor: str, at: float) -> bool:
    row = connection.execute(_SELECT_DATA, (position,)).fetchone()
    if row is None:
        return False
    connection.execute(_INSERT_TOMBSTONE, (position, data_digest(row[0]), actor, at))
    connection.execute(_ERASE, (TOMBSTONE, position))
    return True
