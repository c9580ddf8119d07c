"""Reading a whole log once, beside whoever writes it: one snapshot, from the first event on.

Only `log.db` is opened, and only to be read. The store of secrets is never touched.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.sqlite.schema import LOG_FILE, open_reader, read_head
from adapters.sqlite.trouble import explain
from bus.log import Head, LogUnavailable, StoredEvent

_COUNT = "SELECT count(*) FROM stored_events"
_ALL = (
    "SELECT notification_id, originator_id, originator_version, topic, state"
    " FROM stored_events ORDER BY notification_id"
)


@dataclass(frozen=True, slots=True)
class Records:
    """A log as it was at one moment. `events` can be gone through once, while it is open."""

    head: Head
    count: int
    events: Iterator[StoredEvent]


@contextmanager
def records(directory: Path) -> Iterator[Records]:
    """Open the log of a data directory or of a backup, to read all of it.

    Raises:
        LogUnavailable: there is none, or it cannot be read.
    """
    path = directory / LOG_FILE
    if not path.exists():
        raise LogUnavailable(f"cannot read {path}: it does not exist")
    try:
        with closing(open_reader(path)) as connection:
            connection.execute("BEGIN")  # one snapshot for all questions
            (count,) = connection.execute(_COUNT).fetchone()
            rows = connection.execute(_ALL)
            yield Records(read_head(connection), count, (StoredEvent(*row) for row in rows))
    except sqlite3.Error as error:
        raise explain(error, path, "read") from error
