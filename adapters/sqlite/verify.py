"""Verifying a data directory's log with `bus.verifying`.

Read-only and streaming, so it may run beside the control plane, whatever the log's size.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from adapters.sqlite.rewinds import find_rewind
from adapters.sqlite.schema import LOG_FILE, open_reader
from bus.log import LogUnavailable
from bus.verifying import Altered, Check, VerifyReport, check_versions

_SEALS = "SELECT position, seal, digests FROM seals ORDER BY position"
_RECORDS = (
    "SELECT notification_id, originator_id, originator_version, topic, state, digest"
    " FROM stored_events LEFT JOIN tombstones ON position = notification_id"
    " ORDER BY notification_id"
)
_VERSIONS = (
    "SELECT originator_id, originator_version, notification_id FROM stored_events"
    " ORDER BY originator_id, originator_version"
)


def verify(directory: Path) -> VerifyReport:
    """Check the log of a data directory or of a backup.

    Raises:
        LogUnavailable: there is no log that could be read.
    """
    path = directory / LOG_FILE
    if not path.exists():
        raise LogUnavailable(f"cannot verify {path}: it does not exist")
    with closing(open_reader(path)) as connection:
        check = Check()
        try:
            rewound = find_rewind(connection, directory)
            connection.execute("BEGIN")  # one snapshot for all questions
            check.seals(connection.execute(_SEALS), connection.execute(_RECORDS))
            check_versions(connection.execute(_VERSIONS))
        except Altered as found:
            return check.report(found.position, str(found))
        except sqlite3.Error as error:
            problem = f"the file itself is damaged after position {check.head.position}: {error}"
            return check.report(check.head.position + 1, problem)
        if rewound is not None:
            return check.report(min(rewound.head + 1, rewound.seen), str(rewound))
    return check.report()
