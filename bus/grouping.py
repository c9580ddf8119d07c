"""A group commit in the making: what one transaction will write, and what each append is told.

Every check (keys, then versions) is made here, in memory, before the first row is written. So an
append that loses costs the others nothing, and there is never half an append to take back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

from bus.log import Appended, IdempotencyKey, KeyReused, NewEvent, VersionConflict
from bus.seals import data_digest, record_digest

type Answer = Appended | Exception
type EventRow = tuple[int, str, int, str, bytes]
type KeyRow = tuple[str, str, bytes, bytes, int, int, float]


class Versions(Protocol):
    """Which version each stream is at."""

    def get(self, stream: str, /) -> int | None:
        """The stream's version; None of one that has no event, or is not known here."""
        ...


class Remembered(NamedTuple):
    """What a key was used for, and what that did."""

    digest: bytes
    outcome: bytes
    first_position: int
    events: int


@dataclass(slots=True, eq=False)
class Request:
    """One append and who waits for it.

    `versions` is set by tools that bring their events' versions along; then nothing is expected.
    """

    events: Sequence[NewEvent]
    expect: Mapping[str, int]
    key: IdempotencyKey | None
    outcome: bytes
    future: asyncio.Future[Appended]
    versions: Sequence[int] | None = None


@final
class Group:
    def __init__(
        self,
        last_position: int,
        versions: Versions,
        known_keys: dict[tuple[str, str], Remembered],
        at: float,
    ) -> None:
        self.last_position = last_position
        self.events: list[EventRow] = []
        self.digests: list[bytes] = []
        self.keys: list[KeyRow] = []
        self.changed: dict[str, int] = {}
        self._versions = versions
        self._known_keys = known_keys
        self._at = at

    def add(self, request: Request) -> Answer:
        """Take an append into the group, or say why not."""
        key = request.key
        if key is not None and (remembered := self._known_keys.get((key.actor, key.key))):
            return repeat(key, remembered)
        conflict = self._conflict(request)
        if conflict is not None:
            return conflict
        first = self.last_position + 1
        self._add_events(request)
        if key is not None:
            self._add_key(key, request.outcome, first, len(request.events))
        return Appended(tuple(range(first, self.last_position + 1)), request.outcome)

    def _conflict(self, request: Request) -> VersionConflict | None:
        for stream, expected in request.expect.items():
            actual = self._version(stream)
            if actual != expected:
                return VersionConflict(stream, expected, actual)
        if request.versions is not None:
            return self._gap(request.events, request.versions)
        return None

    def _gap(self, events: Sequence[NewEvent], versions: Sequence[int]) -> VersionConflict | None:
        """Only the table knows whether a version is taken; that it leaves no gap is seen here."""
        last: dict[str, int] = {}
        for event, version in zip(events, versions, strict=True):
            present = last.get(event.stream)
            if present is None:
                present = self._version(event.stream)
            if version > present + 1:
                return VersionConflict(event.stream, version - 1, present)
            last[event.stream] = max(version, present)
        return None

    def _add_events(self, request: Request) -> None:
        changed = self.changed
        position = self.last_position
        for index, (stream, type_, data) in enumerate(request.events):
            position += 1
            present = self._version(stream)
            version = present + 1 if request.versions is None else request.versions[index]
            changed[stream] = max(version, present)
            self.events.append((position, stream, version, type_, data))
            self.digests.append(record_digest(position, stream, version, type_, data_digest(data)))
        self.last_position = position

    def _add_key(self, key: IdempotencyKey, outcome: bytes, first: int, events: int) -> None:
        self._known_keys[key.actor, key.key] = Remembered(key.digest, outcome, first, events)
        self.keys.append((key.actor, key.key, key.digest, outcome, first, events, self._at))

    def _version(self, stream: str) -> int:
        version = self.changed.get(stream)
        if version is None:
            version = self._versions.get(stream)
        return version or 0


def repeat(key: IdempotencyKey, remembered: Remembered) -> Answer:
    """What a key that was used before is answered."""
    digest, outcome, first, events = remembered
    if digest != key.digest:
        return KeyReused(key.actor, key.key)
    return Appended(tuple(range(first, first + events)), outcome, repeated=True)
