"""Whether a log is what it was: every record against its digest, every seal against its chain.

Read-only and streaming, so it may run beside the control plane, whatever the log's size.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from adapters.sqlite.rewinds import find_rewind
from adapters.sqlite.schema import EMPTY, LOG_FILE, open_reader
from adapters.sqlite.seals import DIGEST_BYTES, data_digest, next_seal, record_digest
from adapters.sqlite.tombstones import TOMBSTONE
from bus.log import Head, LogUnavailable

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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was found: `altered` is the first position that is wrong, `problem` says how.

    `head` is the last position and seal that hold; `redacted` counts erased payloads.
    """

    events: int
    redacted: int
    head: Head
    altered: int | None = None
    problem: str | None = None

    @property
    def sound(self) -> bool:
        return self.problem is None


class _Altered(Exception):
    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


def verify(directory: Path) -> VerifyReport:
    """Check the log of a data directory or of a backup.

    Raises:
        LogUnavailable: there is no log that could be read.
    """
    path = directory / LOG_FILE
    if not path.exists():
        raise LogUnavailable(f"cannot verify {path}: it does not exist")
    with closing(open_reader(path)) as connection:
        check = _Check(connection)
        try:
            rewound = find_rewind(connection, directory)
            connection.execute("BEGIN")  # one snapshot for all questions
            check.seals()
            check.versions()
        except _Altered as found:
            return check.report(found.position, str(found))
        except sqlite3.Error as error:
            problem = f"the file itself is damaged after position {check.head.position}: {error}"
            return check.report(check.head.position + 1, problem)
        if rewound is not None:
            return check.report(min(rewound.head + 1, rewound.seen), str(rewound))
    return check.report(None, None)


@final
class _Check:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.head = EMPTY
        self._connection = connection
        self._events = 0
        self._redacted = 0

    def report(self, altered: int | None, problem: str | None) -> VerifyReport:
        return VerifyReport(
            events=self._events,
            redacted=self._redacted,
            head=self.head,
            altered=altered,
            problem=problem,
        )

    def seals(self) -> None:
        """Follow the chain from its beginning, and its records with it."""
        records = self._connection.execute(_RECORDS)
        for position, seal, digests in self._connection.execute(_SEALS):
            count, rest = divmod(len(digests), DIGEST_BYTES)
            first = position - count + 1
            if rest or count == 0 or first <= self.head.position:
                unsealed = self.head.position + 1
                raise _Altered(
                    unsealed,
                    f"position {unsealed} is not sealed: the seal at position {position} does not "
                    "follow the one before it",
                )
            for index in range(count):
                digest = digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
                self._record(records, first + index, digest)
            if next_seal(self.head.seal, (digests,)) != seal:
                raise _Altered(
                    first, f"the seal over positions {first} to {position} is not theirs"
                )
            self.head = Head(position, seal)
        for position, *_ in records:
            raise _Altered(position, f"position {position} was never sealed: somebody added it")

    def _record(self, records: Iterator[Any], expected: int, digest: bytes) -> None:
        record = next(records, None)
        if record is None or record[0] > expected:
            raise _Altered(expected, f"position {expected} is missing")
        position, stream, version, type_, data, erased = record
        if position < expected:
            raise _Altered(position, f"position {position} was never sealed: somebody added it")
        if [type(part) for part in (stream, version, type_, data)] != [str, int, str, bytes]:
            raise _Altered(
                position, f"position {position} was altered: its record is of other types"
            )
        if erased is not None and data != TOMBSTONE:
            raise _Altered(position, f"position {position} was erased, but holds something again")
        of_data = data_digest(data) if erased is None else erased
        if record_digest(position, stream, version, type_, of_data) != digest:
            raise _Altered(position, f"position {position} was altered: its digest differs")
        self._events += 1
        self._redacted += erased is not None

    def versions(self) -> None:
        """Each stream counts its versions without a gap, in the order of positions."""
        stream, version, position = None, 0, 0
        for next_stream, next_version, next_position in self._connection.execute(_VERSIONS):
            if next_stream == stream:
                follows = next_version == version + 1 and next_position > position
            else:
                follows = next_version in (0, 1)  # tools of the eventsourcing library may use 0
            if not follows:
                raise _Altered(
                    next_position,
                    f"position {next_position} is version {next_version} of {next_stream!r}, "
                    f"which does not follow the one before",
                )
            stream, version, position = next_stream, next_version, next_position
