"""Erasing payloads: a tombstone in their place, and the digest of what stood there beside it.

The bytes are gone for every query at once. They leave the server's files by its own vacuuming, and
copies elsewhere (archived write-ahead log, replicas' archives, backups) when those expire.
"""

from collections.abc import Sequence

from adapters.postgres.server import Connection
from bus.verifying import TOMBSTONE

_ERASE = """
WITH erased AS (
    SELECT notification_id AS position, state FROM stateward.stored_events
    WHERE notification_id = ANY ($1) ORDER BY notification_id FOR UPDATE
), noted AS (
    INSERT INTO stateward.tombstones (position, digest, actor, at)
        SELECT position, sha256(state), $2, $3 FROM erased ON CONFLICT (position) DO NOTHING
)
UPDATE stateward.stored_events AS e SET state = $4
    FROM erased WHERE e.notification_id = erased.position
RETURNING e.notification_id
"""


async def redact(
    connection: Connection, positions: Sequence[int], actor: str, at: float
) -> tuple[int, ...]:
    """Put tombstones in place of payloads, and return the positions that had one."""
    rows = await connection.fetch(_ERASE, list(positions), actor, at, TOMBSTONE)
    return tuple(sorted(row[0] for row in rows))
