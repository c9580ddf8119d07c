"""A log whose appends are counted and timed; everything else passes through as it is."""

from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import final, override

from bus.log import Appended, Head, IdempotencyKey, Log, NewEvent, StoredEvent
from stateward.metrics import Metrics


@final
class MeteredLog(Log):
    """A log whose appends are counted and timed."""

    def __init__(self, log: Log, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._log, self._metrics, self._clock = log, metrics, clock

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        began = self._clock()
        try:
            appended = await self._log.append(events, expect=expect, key=key, outcome=outcome)
        except Exception as error:
            self._metrics.append_errors.labels(type(error).__name__).inc()
            raise
        self._metrics.append_seconds.observe(self._clock() - began)
        if not appended.repeated:
            for kind, count in Tally(event.type for event in events).items():
                self._metrics.appended.labels(kind).inc(count)
        return appended

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
