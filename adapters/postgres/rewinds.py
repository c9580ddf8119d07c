"""Histories that went backwards: how one is recognised, and how an operator accepts it.

A database that ends before what this process has seen, or has another seal there, was restored
from an old copy, or is a replica that lacked the newest commits when it took over. What somebody
has accepted is kept in the database, so every other process of it learns that by itself.
"""

from typing import Final

from adapters.postgres.server import Connection
from bus.log import EMPTY, Head, LogRewound

HEAD: Final = "SELECT position, seal FROM stateward.seals ORDER BY position DESC LIMIT 1"
_SEAL_AT = "SELECT seal FROM stateward.seals WHERE position = $1"
_ACCEPTED = "SELECT EXISTS (SELECT FROM stateward.rewinds WHERE head < $1 AND seen >= $1)"
_CEILING = "SELECT coalesce(max(seen), 0) FROM stateward.rewinds"
_ACCEPT = (
    "INSERT INTO stateward.rewinds (at, actor, witness, seen, head, seal)"
    " VALUES ($1, $2, $3, $4, $5, $6)"
)


async def read_head(connection: Connection) -> Head:
    """The newest seal and the position it reaches to."""
    row = await connection.fetchrow(HEAD)
    return EMPTY if row is None else Head(*row)


async def read_ceiling(connection: Connection) -> int:
    """The highest position that was accepted as lost."""
    return int(await connection.fetchval(_CEILING))


async def find_rewind(connection: Connection, kept: Head, witness: str) -> LogRewound | None:
    """Compare the database with a head that a witness has kept; it alone may run ahead."""
    if kept.position == 0:
        return None
    head = await read_head(connection)
    if kept.position <= head.position:
        if await connection.fetchval(_SEAL_AT, kept.position) == kept.seal:
            return None
        witness = f"{witness}, which knows another history,"
    if await connection.fetchval(_ACCEPTED, kept.position):
        return None
    return LogRewound(head=head.position, seen=kept.position, witness=witness)


async def accept(connection: Connection, rewound: LogRewound, actor: str, at: float) -> Head:
    """Record who accepted that the log goes on from where it ends; return where that is."""
    async with connection.transaction():
        await connection.execute("SELECT stateward.take_turn()")
        head = await read_head(connection)
        await connection.execute(
            _ACCEPT, at, actor, rewound.witness, rewound.seen, head.position, head.seal
        )
    return head
