"""Verifying a database's log with `bus.verifying`.

Read-only, in one snapshot and streaming, so it may run beside control planes, whatever its size.
"""

from pathlib import Path

from adapters.files.headfile import HeadFileDamaged, read_head_file
from adapters.postgres.records import Snapshot
from adapters.postgres.server import PATIENT, Server
from bus.log import LogRewound
from bus.verifying import Altered, Check, VerifyReport, check_versions

_SEALS = "SELECT position, seal, digests FROM stateward.seals ORDER BY position"
_RECORDS = (
    "SELECT notification_id, originator_id, originator_version, topic, state, digest"
    " FROM stateward.stored_events LEFT JOIN stateward.tombstones ON position = notification_id"
    " ORDER BY notification_id"
)
_VERSIONS = (
    "SELECT originator_id, originator_version, notification_id FROM stateward.stored_events"
    " ORDER BY originator_id, originator_version"
)


def verify(url: str, directory: Path) -> VerifyReport:
    """Check the log of a database, also against the head file of a data directory, if it has one.

    Raises:
        LogUnavailable: there is no log that could be read.
    """
    check = Check()
    with Snapshot.taken(Server(url, PATIENT)) as snapshot:
        rewound = _find_rewind(snapshot, directory)
        try:
            check.seals(snapshot.rows(_SEALS), snapshot.rows(_RECORDS))
            check_versions(snapshot.rows(_VERSIONS))
        except Altered as found:
            return check.report(found.position, str(found))
    if rewound is not None:
        return check.report(min(rewound.head + 1, rewound.seen), str(rewound))
    return check.report()


def _find_rewind(snapshot: Snapshot, directory: Path) -> LogRewound | None:
    try:
        kept = read_head_file(directory)
    except HeadFileDamaged:
        head = snapshot.head().position
        return LogRewound(head=head, seen=head, witness="a damaged head file")
    return None if kept is None else snapshot.rewind(kept, "its head file")
