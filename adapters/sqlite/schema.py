"""The tables of `log.db` and how connections to it are opened.

`stored_events` has the columns of the eventsourcing library. Its key is AUTOINCREMENT, because a
plain rowid is given out again after the newest row is gone, and a position never is. Everything
else the log keeps stands in tables beside it.
"""

import os
import sqlite3
from pathlib import Path
from typing import Literal

from adapters.files.durable import sync_directory
from bus.log import EMPTY, Head, LogUnavailable

LOG_FILE = "log.db"
FORMAT = 1  # PRAGMA user_version; a newer one is refused

type Synchronous = Literal["FULL", "NORMAL"]

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS stored_events (
    notification_id INTEGER PRIMARY KEY AUTOINCREMENT,
    originator_id TEXT NOT NULL,
    originator_version INTEGER NOT NULL,
    topic TEXT NOT NULL,
    state BLOB NOT NULL,
    UNIQUE (originator_id, originator_version)
);
CREATE TABLE IF NOT EXISTS seals (
    position INTEGER PRIMARY KEY,
    seal BLOB NOT NULL,
    digests BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS tombstones (
    position INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    actor TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS keys (
    id INTEGER PRIMARY KEY,
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    outcome BLOB NOT NULL,
    first_position INTEGER NOT NULL,
    events INTEGER NOT NULL,
    at REAL NOT NULL,
    UNIQUE (actor, key)
);
CREATE TABLE IF NOT EXISTS rewinds (
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    witness TEXT NOT NULL,
    seen INTEGER NOT NULL,
    head INTEGER NOT NULL,
    seal BLOB NOT NULL
);
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_SYNCHRONOUS = {"FULL": "PRAGMA synchronous = FULL", "NORMAL": "PRAGMA synchronous = NORMAL"}
_WRITER = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA wal_autocheckpoint = 4000",  # pages (16 MB): fewer checkpoints stall fewer commits
    "PRAGMA cache_size = -16000",  # KiB
)
_LAST_SEAL = "SELECT position, seal FROM seals ORDER BY position DESC LIMIT 1"


def open_writer(path: Path, *, synchronous: Synchronous, busy_seconds: float) -> sqlite3.Connection:
    """Open the log for writing, making it when it is missing.

    Raises:
        LogUnavailable: it was written by a newer version.
        sqlite3.Error: anything else, for the caller to translate.
    """
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        sync_directory(path.parent)
    connection = sqlite3.connect(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path, synchronous)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise LogUnavailable(
            f"{path} has format {found}, but this version writes format {FORMAT}: "
            "a newer version has written it; start that one"
        )
    for pragma in (*_WRITER, _SYNCHRONOUS[synchronous]):
        connection.execute(pragma)
    if found < FORMAT:
        connection.executescript(_TABLES)


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the log for reading only; it must be there."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


def read_head(connection: sqlite3.Connection) -> Head:
    """The newest seal and the position it reaches to."""
    row = connection.execute(_LAST_SEAL).fetchone()
    return EMPTY if row is None else Head(*row)
