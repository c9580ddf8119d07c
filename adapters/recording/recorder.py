"""The log as a recorder of the eventsourcing library, so that its tools work on our log.

A synchronous façade: every call runs on the event loop that owns the log, and its thread waits.
Nothing else here imports the library, which changes `dataclasses` for the whole process.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, final, override
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    IntegrityError,
    ListenNotifySubscription,
    Notification,
    OperationalError,
    StoredEvent,
)

from bus.log import Appended, LogError, NewEvent, VersionConflict
from bus.log import StoredEvent as LogEvent

_MOST = 2**63 - 1  # as good as no limit


class RecordedLog(Protocol):
    """What a log must offer beyond `bus.log.Log` to be a recorder of the library."""

    async def insert(self, events: Sequence[NewEvent], versions: Sequence[int]) -> Appended:
        """Append events that bring their versions along.

        Raises:
            VersionConflict: a version is taken, or would leave a gap.
        """
        ...

    async def versions(
        self, stream: str, after: int, upto: int, limit: int, *, downward: bool
    ) -> Sequence[LogEvent]:
        """Up to `limit` events of a stream with a version above `after` and not above `upto`."""
        ...

    async def between(
        self, first: int, last: int, limit: int, types: Sequence[str]
    ) -> Sequence[LogEvent]:
        """Up to `limit` events from position `first` to `last`; of `types` only, if there are."""
        ...

    async def last(self) -> int | None:
        """The position of the newest event, None when there is none."""
        ...

    def commits(self) -> AsyncIterator[None]:
        """Yield at once, and again after commits: look for news each time, miss none."""
        ...

    async def close(self) -> None: ...


class SyncAggregateRecorder(AggregateRecorder):
    """Streams only. Originator ids are text: a UUID is written as such, and read back as text."""

    def __init__(self, log: RecordedLog, loop: asyncio.AbstractEventLoop) -> None:
        self._log = log
        self._loop = loop

    @override
    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        self._insert(stored_events)
        return None

    @override
    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        found = self._log.versions(
            str(originator_id),
            -1 if gt is None else gt,
            _MOST if lte is None else lte,
            _MOST if limit is None else limit,
            downward=desc,
        )
        return [StoredEvent(e.stream, e.version, e.type, e.data) for e in self._wait(found)]

    def _insert(self, stored_events: Sequence[StoredEvent]) -> tuple[int, ...]:
        events = [NewEvent(str(e.originator_id), e.topic, e.state) for e in stored_events]
        versions = [e.originator_version for e in stored_events]
        return self._wait(self._log.insert(events, versions)).positions

    def _wait[T](self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run_coroutine_threadsafe(call, self._loop).result()
        except VersionConflict as error:
            raise IntegrityError(str(error)) from error
        except LogError as error:
            raise OperationalError(str(error)) from error


@final
class SyncRecorder(SyncAggregateRecorder, ApplicationRecorder):
    """Streams and the one global order."""

    @override
    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        return list(self._insert(stored_events))

    @override
    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        first = (start or 0) + (start is not None and not inclusive_of_start)
        last = _MOST if stop is None else stop
        found = self._wait(self._log.between(first, last, limit, topics))
        return [Notification(e.stream, e.version, e.type, e.data, e.position) for e in found]

    @override
    def max_notification_id(self) -> int | None:
        return self._wait(self._log.last())

    @override
    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> "CommitSubscription":
        return CommitSubscription(self, gt, topics)

    def on_commit(self, notify: Callable[[], None]) -> "Future[None]":
        """Have `notify` called after each group commit, until the returned future is cancelled."""

        async def follow() -> None:
            async for _ in self._log.commits():
                notify()

        return asyncio.run_coroutine_threadsafe(follow(), self._loop)


@final
class CommitSubscription(ListenNotifySubscription[SyncRecorder]):
    """The library's subscription, woken by the log's commits."""

    def __init__(self, recorder: SyncRecorder, gt: int | None, topics: Sequence[str]) -> None:
        super().__init__(recorder, gt, topics)
        self._commits = recorder.on_commit(self._has_been_notified.set)

    @override
    def stop(self) -> None:
        super().stop()
        self._commits.cancel()


@contextmanager
def open_recorder(
    opened: Callable[[], Coroutine[Any, Any, RecordedLog]],
) -> Iterator[SyncRecorder]:
    """Open a log on an event loop in a thread of its own, for programs that have none."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="log-recorder")
    thread.start()
    try:
        log = asyncio.run_coroutine_threadsafe(opened(), loop).result()
        try:
            yield SyncRecorder(log, loop)
        finally:
            asyncio.run_coroutine_threadsafe(log.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
