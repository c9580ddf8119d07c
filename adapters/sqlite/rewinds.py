"""Logs that went backwards: how one is recognised, and how an operator accepts it.

A log that ends before its head file, or has another seal there, was restored from an old copy or
damaged. Positions that were seen before are never handed out again, whoever accepts what.
"""

import sqlite3
from pathlib import Path

from adapters.files.headfile import HeadFileDamaged, read_head_file, write_head
from adapters.sqlite.ledger import Ledger
from adapters.sqlite.schema import read_head
from bus.log import LogRewound

_INSERT_REWIND = (
    "INSERT INTO rewinds (at, actor, witness, seen, head, seal) VALUES (?, ?, ?, ?, ?, ?)"
)
_RAISE_SEQUENCE = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'stored_events'"
_START_SEQUENCE = "INSERT INTO sqlite_sequence (name, seq) VALUES ('stored_events', ?)"
_SELECT_CEILING = "SELECT coalesce(max(seen), 0) FROM rewinds"
_SEAL_AT = "SELECT seal FROM seals WHERE position = ?"


def inspect(ledger: Ledger, directory: Path) -> tuple[LogRewound | None, int]:
    """Open the ledger; return how it went backwards, and the highest position accepted as lost.

    Raises:
        LogUnavailable: it cannot be opened or read.
    """
    ledger.open()
    try:
        rewound = find_rewind(ledger.connection, directory)
        (ceiling,) = ledger.connection.execute(_SELECT_CEILING).fetchone()
    except sqlite3.Error as error:
        ledger.abandon()
        raise ledger.explain(error, "open the log") from error
    return rewound, int(ceiling)


def find_rewind(connection: sqlite3.Connection, directory: Path) -> LogRewound | None:
    """Compare the log with its head file; the file first, since only the log may run ahead."""
    try:
        kept = read_head_file(directory)
    except HeadFileDamaged:
        head = read_head(connection)
        return LogRewound(head=head.position, seen=head.position, witness="a damaged head file")
    head = read_head(connection)
    if kept is None or kept.position == 0:
        return None
    if kept.position > head.position:
        return LogRewound(head=head.position, seen=kept.position, witness="its head file")
    row = connection.execute(_SEAL_AT, (kept.position,)).fetchone()
    if row is None or row[0] != kept.seal:
        witness = "its head file, which knows another history,"
        return LogRewound(head=head.position, seen=kept.position, witness=witness)
    return None


def accept(ledger: Ledger, directory: Path, rewound: LogRewound, actor: str, at: float) -> None:
    """Record who accepted that the log goes on from where it ends, and write its head anew."""
    head = ledger.head
    connection = ledger.connection
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        _INSERT_REWIND, (at, actor, rewound.witness, rewound.seen, head.position, head.seal)
    )
    if connection.execute(_RAISE_SEQUENCE, (rewound.seen,)).rowcount == 0:
        connection.execute(_START_SEQUENCE, (rewound.seen,))
    connection.execute("COMMIT")
    ledger.reload()
    write_head(directory, head)
