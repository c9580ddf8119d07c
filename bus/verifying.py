"""Whether a log is what it was: every record against its digest, every seal against its chain.

It is fed rows in order, and holds none of them, so a log of any size can be gone through.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from bus.log import EMPTY, Head
from bus.seals import DIGEST_BYTES, data_digest, next_seal, record_digest

TOMBSTONE: Final = b'{"redacted":true}'
"""Stands where an erased payload stood."""

type SealRow = tuple[int, bytes, bytes]
"""The last position of a group, its seal, and the digests of its records."""


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


class Altered(Exception):
    """The first thing that is not as it was, and the position where."""

    def __init__(self, position: int, problem: str) -> None:
        super().__init__(problem)
        self.position = position


@final
class Check:
    """One going-through of a log, from its beginning."""

    def __init__(self) -> None:
        self.head = EMPTY
        self._events = 0
        self._redacted = 0

    def report(self, altered: int | None = None, problem: str | None = None) -> VerifyReport:
        """What was found up to here."""
        return VerifyReport(
            events=self._events,
            redacted=self._redacted,
            head=self.head,
            altered=altered,
            problem=problem,
        )

    def seals(self, seals: Iterable[SealRow], records: Iterator[Any]) -> None:
        """Follow the chain from its beginning, and its records with it.

        Args:
            seals: all of them, in order.
            records: (position, stream, version, type, data, digest of what was erased or None) of
                all events, in order.

        Raises:
            Altered: something is not as it was.
        """
        for position, seal, digests in seals:
            count, rest = divmod(len(digests), DIGEST_BYTES)
            first = position - count + 1
            if rest or count == 0 or first <= self.head.position:
                unsealed = self.head.position + 1
                raise Altered(
                    unsealed,
                    f"position {unsealed} is not sealed: the seal at position {position} does not "
                    "follow the one before it",
                )
            for index in range(count):
                digest = digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
                self._record(records, first + index, digest)
            if next_seal(self.head.seal, (digests,)) != seal:
                raise Altered(first, f"the seal over positions {first} to {position} is not theirs")
            self.head = Head(position, seal)
        for position, *_ in records:
            raise Altered(position, f"position {position} was never sealed: somebody added it")

    def _record(self, records: Iterator[Any], expected: int, digest: bytes) -> None:
        record = next(records, None)
        if record is None or record[0] > expected:
            raise Altered(expected, f"position {expected} is missing")
        position, stream, version, type_, data, erased = record
        if position < expected:
            raise Altered(position, f"position {position} was never sealed: somebody added it")
        if [type(part) for part in (stream, version, type_, data)] != [str, int, str, bytes]:
            raise Altered(
                position, f"position {position} was altered: its record is of other types"
            )
        if erased is not None and data != TOMBSTONE:
            raise Altered(position, f"position {position} was erased, but holds something again")
        of_data = data_digest(data) if erased is None else erased
        if record_digest(position, stream, version, type_, of_data) != digest:
            raise Altered(position, f"position {position} was altered: its digest differs")
        self._events += 1
        self._redacted += erased is not None


def check_versions(rows: Iterable[tuple[str, int, int]]) -> None:
    """Each stream counts its versions without a gap, in the order of positions.

    Args:
        rows: (stream, version, position) of all events, by stream and version.

    Raises:
        Altered: one does not.
    """
    stream, version, position = None, 0, 0
    for next_stream, next_version, next_position in rows:
        if next_stream == stream:
            follows = next_version == version + 1 and next_position > position
        else:
            follows = next_version in (0, 1)  # tools of the eventsourcing library may use 0
        if not follows:
            raise Altered(
                next_position,
                f"position {next_position} is version {next_version} of {next_stream!r}, "
                f"which does not follow the one before",
            )
        stream, version, position = next_stream, next_version, next_position
