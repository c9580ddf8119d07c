"""Following events as they are told: from now on, with every place named where some may be missing.

The bus may lose events, so a watch tells of each `Gap`; whoever must not miss one then reads the
log, `GET /api/v1/events?after=POSITION`. Positions tell what was read twice.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, final

import msgspec

from bus.envelopes import EventEnvelope, GapEnvelope
from bus.nats.session import Leave, Message, NatsUnavailable, Session
from bus.nats.subjects import GAPS, PREFIX, resource_tokens
from domain.names import Ref

REMEMBERED: Final = 1_000  # positions, among which that before a gap is found


class Event(NamedTuple):
    """A fact. `data` is as the reference of events describes the `type`, such as `app.scaled`."""

    position: int
    type: str
    resource: str
    at: datetime
    data: dict[str, Any]


class Gap(NamedTuple):
    """Events whose position is higher than `after` may be missing; read them from the log."""

    after: int


def event_subjects(resource: str, project: str) -> tuple[str, ...]:
    """Those of the events of a resource, of a project or of everything, and of gaps."""
    if resource:
        return (f"{PREFIX}.event.{resource_tokens(Ref.parse(resource))}.>", GAPS)
    return (f"{PREFIX}.event.{project}.>" if project else f"{PREFIX}.event.>", GAPS)


_EVENT = msgspec.json.Decoder(EventEnvelope)
_GAP = msgspec.json.Decoder(GapEnvelope)


@final
class Following:
    """What arrives on the subjects of one watch, in a queue that is bounded.

    Args:
        subjects: of the events.
        after: the position up to which the caller knows all.
        waiting: how many events may wait to be taken; then the newest are dropped, as a gap.
    """

    def __init__(self, subjects: Sequence[str], *, after: int, waiting: int) -> None:
        self._subjects = subjects
        self._most_waiting = waiting
        self._queue: deque[Event | Gap] = deque()
        self._positions: deque[int] = deque([after], maxlen=REMEMBERED)
        self._news = asyncio.Event()
        self._session: Session | None = None
        self._leaves: list[Leave] = []
        self._is_full = False
        self._attaching = asyncio.Lock()

    async def attach(self, session: Session) -> None:
        """Listen on a session; on any but the first, a gap is told.

        Raises:
            NatsUnavailable: try it again.
        """
        async with self._attaching:
            if self._session is not session:
                await self._listen(session)

    async def _listen(self, session: Session) -> None:
        is_first, known = self._session is None, self._positions[-1]
        self._leaves = []  # those of an earlier session ended with it
        try:
            for subject in self._subjects:
                self._leaves.append(await session.subscribe_ready(subject, self._arrived))
        except NatsUnavailable:
            await self.leave()  # lest what is heard is heard twice after the next attempt
            raise
        self._session = session
        if not is_first:  # told only now that nothing new is missed
            self._put(Gap(known))

    async def leave(self) -> None:
        leaves, self._leaves = self._leaves, []
        for leave in leaves:
            await leave()

    async def next(self) -> Event | Gap:
        while not self._queue:
            self._news.clear()
            await self._news.wait()
        self._is_full = False
        return self._queue.popleft()

    async def _arrived(self, message: Message) -> None:
        try:
            if message.subject == GAPS:
                self._put(Gap(self._last_before(_GAP.decode(message.data).data.before)))
                return
            told = _EVENT.decode(message.data)
            event = Event(
                position=int(told.id),
                type=told.type.removeprefix("stateward.").rpartition(".")[0],
                resource=told.subject,
                at=told.time,
                data=msgspec.json.decode(told.data, type=dict[str, Any]),
            )
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            self._put(Gap(self._positions[-1]))  # whatever that was, it was not understood
            return
        if self._is_full:
            return
        if len(self._queue) >= self._most_waiting:
            self._is_full = True
            self._put(Gap(self._positions[-1]))
            return
        self._positions.append(event.position)
        self._put(event)

    def _last_before(self, position: int) -> int:
        """The newest position that is known from before another; the oldest known if none is."""
        return max((p for p in self._positions if p < position), default=self._positions[0])

    def _put(self, item: Event | Gap) -> None:
        if self._queue and self._queue[-1] == item:  # the same gap
            return
        self._queue.append(item)
        self._news.set()


@final
class Watch:
    """What happens, in order: `async for` gives `Event`s and `Gap`s, and never ends by itself."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event | Gap:
        return await self._following.next()

    async def reached(self, position: int) -> Event | Gap:
        """Wait for a position: the first event at or after it, or a gap in which it may be.

        That of an intent's own event is `generation` in the answer's changes; the position of the
        answer may be that of an event of another resource, such as the project.
        """
        async for found in self:
            if isinstance(found, Gap) or found.position >= position:
                return found
        raise AssertionError("a watch never ends by itself")
