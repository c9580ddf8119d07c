"""The journal: transitions on their way into the log.

Recording never blocks a pass and never fails it. While the log is away, transitions wait in a
bounded buffer in which a later one of the same kind and place takes the place of an earlier one.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, final

import structlog

from bus import codec
from bus.log import Log, LogError, NewEvent
from domain import events as e
from domain.names import Ref, status_stream

BUFFERED: Final = 10_000
RETRY_SECONDS: Final = 1.0
QUIET_SECONDS: Final = 1.0  # between two transitions of the same kind, place and resource

_log = structlog.get_logger("journal")


@final
class Journal:
    """Takes transitions, appends them in order.

    Args:
        log: where they go.
        actor: who is recorded to have seen or done it.
        now: seconds since the epoch.
        appended: told of each commit, as the intent service's.
    """

    def __init__(
        self,
        log: Log,
        *,
        actor: str,
        now: Callable[[], float],
        appended: Callable[[int, Sequence[str]], None] = lambda _position, _streams: None,
    ) -> None:
        self._log, self._actor, self._now, self._appended = log, actor, now, appended
        self._buffer: dict[tuple[str, str, Hashable], NewEvent] = {}
        self._last: dict[tuple[str, str, Hashable], float] = {}
        self._waiting = asyncio.Event()
        self.dropped = 0

    def record(
        self,
        ref: Ref,
        transition: type[e.Transition],
        *,
        cause: int,
        place: Hashable = 0,
        **fields: Any,
    ) -> bool:
        """Note a transition of `ref`; `cause` is the position of the intent that it serves.

        One of the same kind and `place` (a slot, a revision) within a second is taken as the same.
        Returns False if there is no room for it: then it may be noted again later.
        """
        now = self._now()
        stream = status_stream(ref)
        key = (stream, transition.type, place)
        if now - self._last.get(key, -QUIET_SECONDS) < QUIET_SECONDS:
            return True
        if len(self._buffer) >= BUFFERED and key not in self._buffer:
            self.dropped += 1
            return False
        self._last[key] = now
        if len(self._last) > 4 * BUFFERED:
            self._last.clear()
        at = datetime.fromtimestamp(now, UTC)
        event = transition(actor=self._actor, cause=str(cause), at=at, **fields)
        self._buffer.pop(key, None)
        self._buffer[key] = NewEvent(stream, transition.type, codec.encode(event))
        self._waiting.set()
        return True

    async def run(self) -> None:
        """Append what was recorded, for ever; what cannot be appended now is tried again."""
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            await self.flush()
            if self._buffer:
                await asyncio.sleep(RETRY_SECONDS)
                self._waiting.set()

    async def flush(self) -> None:
        """Append what waits; leave it where it is if the log is away."""
        batch = dict(self._buffer)
        if not batch:
            return
        try:
            appended = await self._log.append(list(batch.values()), expect={})
        except LogError as error:
            _log.warning("transitions wait for the log", count=len(batch), error=str(error))
            return
        for key, event in batch.items():
            if self._buffer.get(key) is event:
                del self._buffer[key]
        self._appended(appended.positions[-1], [event.stream for event in batch.values()])
