"""What SQLite's errors mean for the log.

SQLite knows a full disk by ENOSPC alone; a quota reports as an I/O error. So after an I/O error a
small file is written to see whether there is space.
"""

import errno
import os
import sqlite3
from pathlib import Path

from bus.log import LogFull, LogUnavailable

_PROBE_BYTES = 64 * 1024  # more than one page, so that a single free block does not hide the truth
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's error code without its details, 0 where Python raised the error by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def spoils_connection(error: sqlite3.Error) -> bool:
    """Whether the connection should be opened anew before anything else is tried."""
    return primary_code(error) not in _PASSING


def explain(error: sqlite3.Error | OSError, path: Path, asked: str) -> LogUnavailable:
    """The error to raise instead of SQLite's own."""
    if _means_no_space(error, path.parent):
        return LogFull(
            f"could not {asked}: there is no space for {path}; nothing was written, reading goes "
            "on, and appends work again as soon as space is made"
        )
    code = primary_code(error) if isinstance(error, sqlite3.Error) else 0
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LogUnavailable(
            f"could not {asked}: another process holds {path}; try again, or end that process"
        )
    return LogUnavailable(f"could not {asked}: {path} answered {error}; try again")


def _means_no_space(error: sqlite3.Error | OSError, directory: Path) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NO_SPACE
    code = primary_code(error)
    return code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(directory))


def _is_full(directory: Path) -> bool:
    probe = directory / "space.probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno in _NO_SPACE
    finally:
        probe.unlink(missing_ok=True)
    return False
