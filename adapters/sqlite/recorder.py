"""The log as a recorder of the eventsourcing library, so that its tools work on our log.

A synchronous façade: every call runs on the event loop that owns the log, and its thread waits.
Nothing else here imports the library, which changes `dataclasses` for the whole process.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final, override
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

from adapters.sqlite.log import SqliteLog
from adapters.sqlite.reader import Row
from bus.log import LogError, NewEvent, VersionConflict

_MOST = 2**63 - 1  # as good as no limit

_EVENTS = (
    "SELECT originator_id, originator_version, topic, state FROM stored_events"
    " WHERE originator_id = ? AND originator_version > ? AND originator_version <= ?"
)
_EVENTS_UPWARD = f"{_EVENTS} ORDER BY originator_version LIMIT ?"
_EVENTS_DOWNWARD = f"{_EVENTS} ORDER BY originator_version DESC LIMIT ?"
_ALL_TOPICS = (
    "SELECT originator_id, originator_version, topic, state, notification_id FROM stored_events"
    " WHERE notification_id >= ? AND notification_id <= ? ORDER BY notification_id LIMIT ?"
)
_SOME_TOPICS = (
    "SELECT originator_id, originator_version, topic, state, notification_id FROM stored_events"
    " WHERE notification_id >= ? AND notification_id <= ?"
    " AND topic IN (SELECT value FROM json_each(?)) ORDER BY notification_id LIMIT ?"
)
_LAST = "SELECT max(notification_id) FROM stored_events"


class SyncAggregateRecorder(AggregateRecorder):
    """Streams only. Originator ids are text: a UUID is written as such, and read back as text."""

    def __init__(self, log: SqliteLog, loop: asyncio.AbstractEventLoop) -> None:
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
        bounds = (-1 if gt is None else gt, _MOST if lte is None else lte)
        rows = self._rows(
            _EVENTS_DOWNWARD if desc else _EVENTS_UPWARD,
            (str(originator_id), *bounds, _MOST if limit is None else limit),
        )
        return [StoredEvent(*row) for row in rows]

    def _insert(self, stored_events: Sequence[StoredEvent]) -> tuple[int, ...]:
        events = [NewEvent(str(e.originator_id), e.topic, e.state) for e in stored_events]
        versions = [e.originator_version for e in stored_events]
        return self._wait(self._log.insert(events, versions)).positions

    def _rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        async def ask() -> list[Row]:
            return await self._log.rows(sql, parameters)

        return self._wait(ask())

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
        if topics:
            rows = self._rows(_SOME_TOPICS, (first, last, json.dumps(list(topics)), limit))
        else:
            rows = self._rows(_ALL_TOPICS, (first, last, limit))
        return [Notification(*row) for row in rows]

    @override
    def max_notification_id(self) -> int | None:
        ((last,),) = self._rows(_LAST)
        return None if last is None else int(last)

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
def open_recorder(directory: Path, *, now: Callable[[], float]) -> Iterator[SyncRecorder]:
    """Open a log on an event loop in a thread of its own, for programs that have none."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="log-recorder")
    thread.start()
    try:
        log = asyncio.run_coroutine_threadsafe(SqliteLog.open(directory, now=now), loop).result()
        try:
            yield SyncRecorder(log, loop)
        finally:
            asyncio.run_coroutine_threadsafe(log.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
