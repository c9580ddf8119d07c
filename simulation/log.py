"""The log in memory: the same promises as a real one, but for surviving the process."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256
from typing import final, override

from bus.log import (
    Appended,
    Head,
    IdempotencyKey,
    KeyReused,
    Log,
    NewEvent,
    StoredEvent,
    VersionConflict,
)


@final
class SimulatedLog(Log):
    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self._streams: dict[str, list[StoredEvent]] = defaultdict(list)
        self._keys: dict[tuple[str, str], tuple[bytes, Appended]] = {}
        self._seal = b""
        self._moved = asyncio.Event()

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        await asyncio.sleep(0)
        known = self._keys.get((key.actor, key.key)) if key else None
        if known is not None and key is not None:
            if known[0] != key.digest:
                raise KeyReused(key.actor, key.key)
            return known[1]._replace(repeated=True)
        for stream, version in expect.items():
            actual = len(self._streams[stream])
            if actual != version:
                raise VersionConflict(stream, version, actual)
        appended = Appended(tuple(self._add(event) for event in events), outcome)
        if key is not None:
            self._keys[key.actor, key.key] = (key.digest, appended)
        self._moved.set()
        self._moved = asyncio.Event()
        return appended

    def _add(self, event: NewEvent) -> int:
        position = len(self.events) + 1
        version = len(self._streams[event.stream]) + 1
        stored = StoredEvent(position, event.stream, version, event.type, event.data)
        self.events.append(stored)
        self._streams[event.stream].append(stored)
        self._seal = sha256(self._seal + repr(stored).encode()).digest()
        return position

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        return self.events[after : after + limit]

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        return self._streams[stream][after_version:]

    @override
    async def head(self) -> Head:
        return Head(len(self.events), self._seal)

    @override
    async def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        while True:
            moved = self._moved
            page = self.events[after : after + 1000]
            if page:
                after = page[-1].position
                yield page
            else:
                await moved.wait()
