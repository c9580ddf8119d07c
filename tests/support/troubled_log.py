"""A log in memory that can be made slow or unavailable."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import final, override

from bus.intents import IntentService
from bus.log import Appended, Head, IdempotencyKey, Log, LogUnavailable, NewEvent, StoredEvent
from simulation.log import SimulatedLog
from tests.support.intents import NOON, Desk


@final
class TroubledLog(Log):
    """Holds appends between `hold` and `release`; declines them while `away`."""

    def __init__(self, log: SimulatedLog) -> None:
        self._log = log
        self.away = False
        self.attempts = 0
        self._held = 0
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._stream: str | None = None

    def hold(self, stream: str | None = None) -> None:
        """Hold all appends, or those that write to `stream`."""
        self._stream = stream
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    async def held(self, count: int) -> None:
        """Wait until `count` appends are held."""
        while self._held < count:
            self._news.clear()
            await self._news.wait()

    async def tried(self, count: int) -> None:
        """Wait until `count` appends were attempted in all."""
        while self.attempts < count:
            self._news.clear()
            await self._news.wait()

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        self.attempts += 1
        self._news.set()
        if self.away:
            raise LogUnavailable("the log is away")
        if self._stream is None or self._stream in expect:
            self._held += 1
            self._news.set()
            await self._open.wait()
            self._held -= 1
        return await self._log.append(events, expect=expect, key=key, outcome=outcome)

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        return await self._log.read(after, limit)

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        return await self._log.stream(stream, after_version)

    @override
    async def head(self) -> Head:
        return await self._log.head()

    @override
    def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        return self._log.tail(after)


class TroubledDesk(Desk):
    """A desk whose log has its moods."""

    def __init__(self) -> None:
        super().__init__()
        self.trouble = TroubledLog(self.log)
        self.service = IntentService(self.trouble, self.secrets, now=lambda: NOON)
