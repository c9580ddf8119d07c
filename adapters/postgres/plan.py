"""What one call of the SQL function `append` is asked to write: appends that fit together.

Nothing is known here of what the database holds. The plan assumes that every append's expectations
are right; the database says, under its lock, whether they are, and writes all or nothing. What
cannot be right together with an earlier append of the group is left out, for the next call.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import asyncpg

from bus.grouping import Answer, Remembered, Request, repeat
from bus.log import Appended, VersionConflict


class Facts(NamedTuple):
    """What was so at a moment under the lock: versions of streams, and keys that were used."""

    versions: Mapping[str, int]
    keys: Mapping[tuple[str, str], Remembered]


@final
class Plan:
    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.events = 0
        self._starts: list[int] = []
        self._names: dict[str, int] = {}
        self._expected: list[int | None] = []
        self._added: list[int] = []  # of each stream, how many events this plan writes
        self._slots: list[int] = []
        self._nths: list[int] = []
        self._types: list[str] = []
        self._payloads: list[bytes] = []
        self._keys: dict[tuple[str, str], tuple[bytes, bytes, int, int]] = {}
        self._is_closed = False

    def add(self, request: Request) -> bool:
        """Take an append into the group, unless it cannot succeed together with those in it."""
        if request.versions is not None:
            return not self.requests and self._insert(request, request.versions)
        if self._is_closed or not self._fits(request):
            return False
        for stream, expected in request.expect.items():
            slot = self._slot(stream)
            self._expected[slot] = expected - self._added[slot]
        self._begin(request)
        for event in request.events:
            slot = self._slot(event.stream)
            self._added[slot] += 1
            self._put(slot, self._added[slot], event.type, event.data)
        return True

    def arguments(self, moment: float) -> tuple[Any, ...]:
        """The arguments of the SQL function `append`."""
        keys = list(self._keys.items())
        return (
            list(self._names),
            self._expected,
            self._slots,
            self._nths,
            self._types,
            self._payloads,
            [key[0] for key, _ in keys],
            [key[1] for key, _ in keys],
            [of[0] for _, of in keys],
            [of[1] for _, of in keys],
            [of[2] for _, of in keys],
            [of[3] for _, of in keys],
            moment,
        )

    def answers(self, start: int) -> list[Answer]:
        """What to answer each append, once all are written behind position `start`."""
        return [
            Appended(
                tuple(range(start + first, start + first + len(request.events))), request.outcome
            )
            for first, request in zip(self._starts, self.requests, strict=True)
        ]

    def facts(self, start: int, versions: Sequence[int]) -> Facts:
        """What is so once it is written, on top of these versions of its streams."""
        after = {
            name: version + added
            for name, version, added in zip(self._names, versions, self._added, strict=True)
        }
        keys = {
            key: Remembered(digest, outcome, start + first, count)
            for key, (digest, outcome, first, count) in self._keys.items()
        }
        return Facts(after, keys)

    def refuted(self, reply: asyncpg.Record) -> Facts:
        """What the database said instead of writing it."""
        keys = list(self._keys)
        known = zip(
            reply["known"] or (),
            reply["known_digests"] or (),
            reply["known_outcomes"] or (),
            reply["known_firsts"] or (),
            reply["known_counts"] or (),
            strict=True,
        )
        return Facts(
            dict(zip(self._names, reply["versions"] or (), strict=True)),
            {keys[place - 1]: Remembered(*rest) for place, *rest in known},
        )

    def _fits(self, request: Request) -> bool:
        if request.key is not None and request.key[:2] in self._keys:
            return False
        for stream, expected in request.expect.items():
            slot = self._names.get(stream)
            if slot is None:
                continue
            base = expected - self._added[slot - 1]
            assumed = self._expected[slot - 1]
            if base < 0 or (assumed is not None and assumed != base):
                return False
        return True

    def _begin(self, request: Request) -> None:
        first = len(self._slots) + 1
        self._starts.append(first)
        self.requests.append(request)
        self.events += len(request.events)
        if request.key is not None:
            actor, key, digest = request.key
            self._keys[actor, key] = (digest, request.outcome, first, len(request.events))

    def _slot(self, stream: str) -> int:
        """The stream's place in the lists, counted from 0."""
        slot = self._names.get(stream)
        if slot is None:
            slot = self._names[stream] = len(self._names) + 1
            self._expected.append(None)
            self._added.append(0)
        return slot - 1

    def _put(self, slot: int, nth: int, type_: str, data: bytes) -> None:
        self._slots.append(slot + 1)
        self._nths.append(nth)
        self._types.append(type_)
        self._payloads.append(data)

    def _insert(self, request: Request, versions: Sequence[int]) -> bool:
        """Versions that are brought along make a group of their own; the first may be 0."""
        self._is_closed = True
        self._begin(request)
        for event, version in zip(request.events, versions, strict=True):
            slot = self._slot(event.stream)
            expected = self._expected[slot]
            if expected is None:
                expected = self._expected[slot] = max(version - 1, 0)
            self._put(slot, version - expected, event.type, event.data)
            self._added[slot] = version - expected
        return True


def settle(
    requests: Sequence[Request], facts: Facts
) -> tuple[list[tuple[Request, Answer]], list[Request]]:
    """Answer what the facts decide against; return these answers, and what is still to be tried."""
    decided: list[tuple[Request, Answer]] = []
    pending: list[Request] = []
    touched: set[str] = set()  # by those that may succeed: then the facts will be others
    for request in requests:
        answer = _answer(request, facts, touched)
        if answer is None:
            pending.append(request)
            touched.update(event.stream for event in request.events)
        else:
            decided.append((request, answer))
    return decided, pending


def _answer(request: Request, facts: Facts, touched: set[str]) -> Answer | None:
    key = request.key
    if key is not None and (remembered := facts.keys.get((key.actor, key.key))):
        return repeat(key, remembered)
    for stream, expected in expectations(request).items():
        actual = facts.versions.get(stream)
        if actual is not None and actual != expected and stream not in touched:
            return VersionConflict(stream, expected, actual)
    return None


def expectations(request: Request) -> Mapping[str, int]:
    """Which version each stream must be at."""
    if request.versions is None:
        return request.expect
    first: dict[str, int] = {}
    for event, version in zip(request.events, request.versions, strict=True):
        first.setdefault(event.stream, max(version - 1, 0))
    return first
