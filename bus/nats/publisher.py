"""What was committed goes out: every event as a CloudEvent, and a hint where to look.

Best effort, and never in anybody's way: what cannot be sent is dropped and counted. The next hint
then says "scan" instead of naming keys, and those who follow events are told of a gap.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, final
from zlib import crc32

import msgspec
import structlog

from bus.codec import Undecodable
from bus.envelopes import event_envelope, gap_envelope
from bus.log import StoredEvent
from bus.nats.session import NatsUnavailable, Session
from bus.nats.settings import BusMetrics
from bus.nats.subjects import GAPS, event_subject, hint_subject
from domain.refusals import BadValue

MOST_KEYS: Final = 64  # in one hint; more are "scan"
SCAN: Final = "scan"

_log = structlog.get_logger(__name__)


def partition_of(key: str, partitions: int) -> int:
    """Which partition a key belongs to; the same for everybody."""
    return crc32(key.encode()) % partitions


@final
class Publisher:
    """Sends what `publish` is given, in order, from a task of its own.

    Args:
        session: the open session, if there is one.
        installation: named as the source of events.
        metrics: told of what was sent and what was dropped.
        waiting: how many events may wait to be sent.
        partitions: into how many the keys are divided.
    """

    def __init__(
        self,
        session: Callable[[], Session | None],
        installation: str,
        metrics: BusMetrics,
        *,
        waiting: int,
        partitions: int,
    ) -> None:
        self._session = session
        self._installation = installation
        self._metrics = metrics
        self._most_waiting = waiting
        self._queue: deque[Sequence[StoredEvent]] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._partitions = partitions
        self._gaps: set[int] = set(range(partitions))  # of hints
        self._gap = True  # of events: nobody knows what a life before this one did not tell
        self._before: Session | None = None
        self.published = 0
        self.dropped = 0

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Take the events of one group commit. Never blocks or raises."""
        if not events:
            return
        if self._waiting + len(events) > self._most_waiting:
            self._lose(len(events))
            return
        self._queue.append(events)
        self._waiting += len(events)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                group = self._queue.popleft()
                self._waiting -= len(group)
                await self._send(group)

    async def _send(self, group: Sequence[StoredEvent]) -> None:
        session = self._session()
        if session is None:
            self._lose(len(group))
            return
        if session is not self._before:  # what the one before still held went down with it
            self._gaps, self._gap = set(range(self._partitions)), True
            self._before = session
        sent = 0
        try:
            if self._gap:
                await session.publish(GAPS, gap_envelope(group[0].position, self._installation))
                self._gap = False
            for partition, hint in self._hints(group).items():
                await session.publish(hint_subject(partition), hint)
                self._gaps.discard(partition)
            for event in group:
                sent += await self._tell(session, event)
        except NatsUnavailable:
            self._lose(len(group) - sent)
        self.published += sent
        self._metrics.published(sent)

    async def _tell(self, session: Session, event: StoredEvent) -> int:
        """Send one event; how many were sent."""
        try:
            subject = event_subject(event.stream, event.type)
            envelope = event_envelope(event, self._installation)
        except (Undecodable, BadValue) as error:
            _log.warning("an event cannot be told", position=event.position, reason=str(error))
            self.dropped += 1
            self._metrics.dropped("events", 1)
            return 0
        await session.publish(subject, envelope)
        return 1

    def _hints(self, group: Sequence[StoredEvent]) -> dict[int, bytes]:
        """By partition, where to look: the resources whose desired state the commit changed.

        A commit that changed none, such as of transitions alone, still tells the head.
        """
        keys: dict[int, dict[str, None]] = {}
        for event in group:
            if "#" not in event.stream:
                partition = partition_of(event.stream, self._partitions)
                keys.setdefault(partition, {})[event.stream] = None
        head = group[-1].position
        return {
            partition: msgspec.json.encode(
                {"head": head, "keys": self._named(partition, list(found))}
            )
            for partition, found in (keys or {0: {}}).items()
        }

    def _named(self, partition: int, keys: list[str]) -> list[str] | str:
        return SCAN if partition in self._gaps or len(keys) > MOST_KEYS else keys

    def _lose(self, events: int) -> None:
        self._gaps, self._gap = set(range(self._partitions)), True
        self.dropped += events
        self._metrics.dropped("events", events)
