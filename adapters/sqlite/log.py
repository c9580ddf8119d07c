"""The log in one SQLite file: group commit, seals, and no trust in a file that went backwards.

Appends of all callers wait in one queue; the writer thread commits whatever waits with one fsync.
All methods belong to the event loop that opened the log.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, final, override

from adapters.files.headfile import HeadKeeper
from adapters.sqlite import rewinds, tombstones
from adapters.sqlite.ledger import Ledger
from adapters.sqlite.pages import Pages
from adapters.sqlite.reader import Reader, Row
from adapters.sqlite.schema import LOG_FILE, Synchronous
from adapters.sqlite.writer import Errand, Outcome, Writer
from bus.grouping import Request
from bus.log import (
    EMPTY,
    Appended,
    Head,
    IdempotencyKey,
    LogFull,
    LogRewound,
    LogUnavailable,
    NewEvent,
    StoredEvent,
    WatchedLog,
    once_more,
)

TAIL_SECONDS = 2.0  # how long a reader may miss what another process has written
PAGE = 2000  # events a tail yields at once
SCAN_PAGE = 5000
MAX_WAITING = 10_000  # appends; more callers wait until there is room

_COLUMNS = "SELECT notification_id, originator_id, originator_version, topic, state"
_READ = f"{_COLUMNS} FROM stored_events WHERE notification_id > ? ORDER BY notification_id LIMIT ?"
_STREAM = (
    f"{_COLUMNS} FROM stored_events WHERE originator_id = ? AND originator_version > ?"
    " ORDER BY originator_version"
)
_VERSIONS = (
    f"{_COLUMNS} FROM stored_events WHERE originator_id = ? AND originator_version > ?"
    " AND originator_version <= ?"
)
_VERSIONS_UPWARD = f"{_VERSIONS} ORDER BY originator_version LIMIT ?"
_VERSIONS_DOWNWARD = f"{_VERSIONS} ORDER BY originator_version DESC LIMIT ?"
_BETWEEN = (
    "SELECT notification_id, originator_id, originator_version, topic, state FROM stored_events"
    " WHERE notification_id BETWEEN ? AND ?"
    " AND (? = '[]' OR topic IN (SELECT value FROM json_each(?)))"
    " ORDER BY notification_id LIMIT ?"
)
_LAST = "SELECT max(notification_id) FROM stored_events"
_SEAL_AT = "SELECT seal FROM seals WHERE position <= ? ORDER BY position DESC LIMIT 1"


@final
class SqliteLog(WatchedLog):
    """Open it with `open`; `read_only` says why appends fail for want of space, while they do."""

    def __init__(
        self,
        directory: Path,
        ledger: Ledger,
        *,
        now: Callable[[], float],
        rewound: LogRewound | None,
        ceiling: int,
    ) -> None:
        self._read_only: str | None = None
        self._directory = directory
        self._now = now
        self._head = ledger.head
        self._rewound = rewound
        self._ceiling = ceiling
        self._closing = False
        self._waiting = 0
        self._room = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] = loop.create_future()
        self._reader = Reader(directory / LOG_FILE)
        self._keeper = HeadKeeper(directory)
        self._writer = Writer(ledger, self._keeper, now=now, loop=loop, deliver=self._deliver)
        if rewound is None:
            self._keeper.note(self._head)

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        now: Callable[[], float],
        synchronous: Synchronous = "FULL",
        busy_seconds: float = 2.0,
    ) -> Self:
        """Open the log of a directory, which must be there; an empty one gets an empty log.

        Raises:
            LogUnavailable: it cannot be opened, or was written by a newer version.
        """
        path = directory / LOG_FILE
        ledger = Ledger(path, now=now, synchronous=synchronous, busy_seconds=busy_seconds)
        rewound, ceiling = await asyncio.to_thread(rewinds.inspect, ledger, directory)
        return cls(directory, ledger, now=now, rewound=rewound, ceiling=ceiling)

    @override
    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._writer.hand_over()
        self._room.set()
        await asyncio.to_thread(self._close)
        self._wake_tails()

    @property
    @override
    def position(self) -> int:
        return self._head.position

    @property
    @override
    def rewound(self) -> LogRewound | None:
        return self._rewound

    @property
    @override
    def read_only(self) -> str | None:
        return self._read_only

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        return await self._submit(events, expect, key, outcome, None)

    async def insert(self, events: Sequence[NewEvent], versions: Sequence[int]) -> Appended:
        """Append events that bring their versions along. For tools; others use `append`.

        Raises:
            VersionConflict: a version is taken, or would leave a gap.
        """
        return await self._submit(events, {}, None, b"", versions)

    async def versions(
        self, stream: str, after: int, upto: int, limit: int, *, downward: bool
    ) -> Sequence[StoredEvent]:
        """Up to `limit` events of a stream with a version above `after` and not above `upto`."""
        sql = _VERSIONS_DOWNWARD if downward else _VERSIONS_UPWARD
        rows = await self.rows(sql, (stream, after, upto, limit))
        return list(map(StoredEvent._make, rows))

    async def between(
        self, first: int, last: int, limit: int, types: Sequence[str]
    ) -> Sequence[StoredEvent]:
        """Up to `limit` events from position `first` to `last`; of `types` only, if there are."""
        wanted = json.dumps(list(types))
        rows = await self.rows(_BETWEEN, (first, last, wanted, wanted, limit))
        return list(map(StoredEvent._make, rows))

    async def last(self) -> int | None:
        """The position of the newest event, None when there is none."""
        ((last,),) = await self.rows(_LAST)
        return None if last is None else int(last)

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        return list(map(StoredEvent._make, await self.rows(_READ, (after, limit))))

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        return list(map(StoredEvent._make, await self.rows(_STREAM, (stream, after_version))))

    @override
    async def head(self) -> Head:
        return self._head

    @override
    async def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        while True:
            news = self._news  # taken before the read, so that no commit falls in between
            page = await self.read(after, PAGE)
            if page:
                after = page[-1].position
                yield page
            else:
                await asyncio.wait((news,), timeout=TAIL_SECONDS)

    async def scan(self, after: int, size: int = SCAN_PAGE) -> AsyncIterator[list[Row]]:
        """Yield pages of (position, stream, version, type, data) up to the end, then stop.

        For rebuilds: rows are plain tuples, and the next page is read while one is used.
        """
        coming = self.rows(_READ, (after, size))
        while page := await coming:
            if len(page) == size:
                coming = self.rows(_READ, (page[-1][0], size))
            yield page
            if len(page) < size:
                return

    async def replay(self, take: Callable[[Pages], None]) -> None:
        """Hand the log to `take`, in a thread of its own until it returns.

        For the start, when nobody else wants anything: all is read and taken in one thread,
        without a switch for each page.
        """
        await self._reader.run(lambda connection: take(Pages(connection)))

    async def seal_at(self, position: int) -> bytes:
        """The seal over everything up to `position`, to recognise the same history by."""
        rows = await self.rows(_SEAL_AT, (position,))
        return rows[0][0] if rows else EMPTY.seal

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> asyncio.Future[list[Row]]:
        """Start a query of one's own on the log's tables, which it cannot change."""
        return self._reader.rows(sql, parameters)

    async def commits(self) -> AsyncIterator[None]:
        """Yield at once, and again after group commits: look for news each time, miss none."""
        while not self._closing:
            news = self._news
            yield
            await asyncio.wait((news,))

    async def redact(self, positions: Sequence[int], actor: str) -> tuple[int, ...]:
        """Erase the payloads of events for ever; seals stay valid. Return those that had one."""
        at = self._now()
        return await self._run(
            lambda ledger: tombstones.redact(ledger.connection, positions, actor, at)
        )

    @override
    def report_seen(self, position: int, witness: str) -> None:
        known = self._rewound.seen if self._rewound is not None else 0
        if position > max(self._head.position, self._ceiling, known):
            self._rewound = LogRewound(head=self._head.position, seen=position, witness=witness)
            # Whoever opens the log next, to accept this, has not met the witness.
            self._keeper.note(Head(position, EMPTY.seal))

    async def accept_rewind(self, actor: str) -> None:
        """Go on from where the log ends now; recorded with who accepted it. Nothing to do is fine.

        Positions that were seen are never handed out again, so that labels stay unambiguous.
        """
        rewound, at = self._rewound, self._now()
        if rewound is None:
            return
        await self._run(lambda ledger: rewinds.accept(ledger, self._directory, rewound, actor, at))
        self._ceiling = max(self._ceiling, rewound.seen)
        self._rewound = None
        self._keeper.note(self._head)

    async def _submit(
        self,
        events: Sequence[NewEvent],
        expect: Mapping[str, int],
        key: IdempotencyKey | None,
        outcome: bytes,
        versions: Sequence[int] | None,
    ) -> Appended:
        while self._waiting >= MAX_WAITING and not self._closing:
            self._room.clear()
            await self._room.wait()
        if self._rewound is not None:
            raise once_more(self._rewound)
        future = self._future()
        self._waiting += 1
        self._writer.put(Request(events, expect, key, outcome, future, versions))
        answer: Appended = await future
        return answer

    async def _run[T](self, errand: Callable[[Ledger], T]) -> T:
        future = self._future()
        self._writer.put(Errand(errand, future))
        result: T = await future
        return result

    def _future(self) -> asyncio.Future[Any]:
        if self._closing:
            raise LogUnavailable("the log is closed; open it again")
        return asyncio.get_running_loop().create_future()

    def _deliver(self, outcome: Outcome) -> None:
        """Answer a whole group at once; called on the loop."""
        grown, self._head = outcome.head is not self._head, outcome.head
        self._waiting -= outcome.taken
        self._room.set()
        for request, answer in zip(outcome.requests, outcome.answers, strict=True):
            future = request.future
            if isinstance(answer, LogFull):
                self._read_only = str(answer)
            elif isinstance(answer, Appended):
                self._read_only = None
            if future.done():  # its caller gave up
                continue
            if isinstance(answer, Appended):
                future.set_result(answer)
            else:
                future.set_exception(answer)
        if grown:
            self._wake_tails()

    def _wake_tails(self) -> None:
        news, self._news = self._news, asyncio.get_running_loop().create_future()
        news.set_result(None)

    def _close(self) -> None:
        self._reader.close()  # first: the last connection to close empties the write-ahead log,
        self._writer.close()  # which a read-only one cannot
        self._keeper.close()
