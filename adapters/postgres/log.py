"""The log in PostgreSQL: group commit, one order for all processes, and no trust in an old copy.

Appends of this process wait in one queue; the SQL function `append` writes whatever waits in one
transaction, alone with the log until that has ended. What other processes commit is heard of by
NOTIFY, and found by looking every 2 s in any case. All methods belong to the loop that opened it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, final, override

from adapters.files.headfile import write_head
from adapters.postgres import rewinds, schema, tombstones
from adapters.postgres.pages import Pages
from adapters.postgres.reader import Reader
from adapters.postgres.server import Connection, Limits, Server
from adapters.postgres.standing import Standing
from adapters.postgres.trouble import TROUBLE, explain
from adapters.postgres.watching import POLL_SECONDS, Watcher
from adapters.postgres.writer import Writer
from bus.grouping import Request
from bus.log import (
    EMPTY,
    Appended,
    Head,
    IdempotencyKey,
    LogRewound,
    LogUnavailable,
    NewEvent,
    StoredEvent,
    VersionConflict,
    WatchedLog,
    once_more,
)

PAGE: Final = 2000  # events a tail yields at once
SCAN_PAGE: Final = 5000
MAX_WAITING: Final = 10_000  # appends; more callers wait until there is room

type Row = tuple[int, str, int, str, bytes]

_COLUMNS = "SELECT notification_id, originator_id, originator_version, topic, state"
_FROM = f"{_COLUMNS} FROM stateward.stored_events"
_READ = f"{_FROM} WHERE notification_id > $1 ORDER BY notification_id LIMIT $2"
_STREAM = (
    f"{_FROM} WHERE originator_id = $1 AND originator_version > $2 ORDER BY originator_version"
)
_VERSIONS = (
    f"{_FROM} WHERE originator_id = $1 AND originator_version > $2 AND originator_version <= $3"
)
_VERSIONS_UPWARD = f"{_VERSIONS} ORDER BY originator_version LIMIT $4"
_VERSIONS_DOWNWARD = f"{_VERSIONS} ORDER BY originator_version DESC LIMIT $4"
_BETWEEN = (
    f"{_FROM} WHERE notification_id BETWEEN $1 AND $2"
    " AND (cardinality($4::text[]) = 0 OR topic = ANY ($4)) ORDER BY notification_id LIMIT $3"
)
_LAST = "SELECT max(notification_id) FROM stateward.stored_events"
_SEAL_AT = "SELECT seal FROM stateward.seals WHERE position <= $1 ORDER BY position DESC LIMIT 1"
_MINT = "INSERT INTO stateward.installation (id) VALUES ($1) ON CONFLICT DO NOTHING"
_INSTALLATION = "SELECT id FROM stateward.installation"


@final
class PostgresLog(WatchedLog):
    """Open it with `open`. The head file in `directory` is this process's witness of the log."""

    def __init__(
        self,
        server: Server,
        directory: Path,
        reader: Reader,
        standing: Standing,
        *,
        now: Callable[[], float],
    ) -> None:
        self._server = server
        self._directory = directory
        self._now = now
        self._reader = reader
        self._closing = False
        self._standing = standing
        self._writer = Writer(server, standing, now=now)
        self._watcher = Watcher(server, standing)

    @classmethod
    async def open(
        cls,
        url: str,
        directory: Path,
        *,
        now: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 -- immutable
        knows: int = schema.NEWEST,
    ) -> Self:
        """Open the log of a database that `stateward migrate` has prepared.

        Args:
            url: `postgresql://USER@HOST:PORT/DATABASE`; several hosts for a failover.
            directory: where this process keeps its head file.
            now: seconds since the epoch.
            limits: how long things may take.
            knows: the newest schema this version knows.

        Raises:
            LogUnavailable: the database does not answer now.
            LogUnusable: it is not reachable like this, or of a schema that does not fit.
        """
        server = Server(url, limits)
        async with server.connected("start") as connection:
            try:
                await schema.check(connection, server.shown, knows)
                standing = await Standing.found(connection, server.shown, directory)
            except TROUBLE as error:
                raise explain(error, server.shown, "open the log") from error
        return cls(server, directory, await Reader.open(server), standing, now=now)

    async def installation(self, new_id: Callable[[], str]) -> str:
        """The id of what this log owns, minted by whoever asks first."""
        minted = new_id()

        async def mint(connection: Connection) -> str:
            found = await connection.fetchval(_INSTALLATION)
            if found is None:
                await connection.execute(_MINT, minted)
                found = await connection.fetchval(_INSTALLATION)
            return str(found)

        return await self._writer.run(mint)

    @override
    async def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        await self._writer.close()
        await self._watcher.close()
        await self._reader.close()
        await self._standing.close()

    @property
    @override
    def position(self) -> int:
        return self._standing.position

    @property
    @override
    def rewound(self) -> LogRewound | None:
        return self._standing.rewound

    @property
    @override
    def read_only(self) -> str | None:
        return self._standing.trouble

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
        last: dict[str, int] = {}
        for event, version in zip(events, versions, strict=True):
            present = last.get(event.stream, version - 1)
            if version != present + 1:
                raise VersionConflict(event.stream, version - 1, present)
            last[event.stream] = version
        return await self._submit(events, {}, None, b"", versions)

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        return await self._events(_READ, after, limit)

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        return await self._events(_STREAM, stream, after_version)

    async def versions(
        self, stream: str, after: int, upto: int, limit: int, *, downward: bool
    ) -> Sequence[StoredEvent]:
        """Up to `limit` events of a stream with a version above `after` and not above `upto`."""
        sql = _VERSIONS_DOWNWARD if downward else _VERSIONS_UPWARD
        return await self._events(sql, stream, after, upto, limit)

    async def between(
        self, first: int, last: int, limit: int, types: Sequence[str]
    ) -> Sequence[StoredEvent]:
        """Up to `limit` events from position `first` to `last`; of `types` only, if there are."""
        return await self._events(_BETWEEN, first, last, limit, list(types))

    async def last(self) -> int | None:
        """The position of the newest event, None when there is none."""
        (row,) = await self._reader.rows(_LAST)
        return None if row[0] is None else int(row[0])

    @override
    async def head(self) -> Head:
        return self._standing.head

    @override
    async def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        while True:
            news = self._standing.news  # taken before the read, so that no commit falls in between
            page = await self.read(after, PAGE)
            if page:
                after = page[-1].position
                yield page
            else:
                await asyncio.wait((news,), timeout=POLL_SECONDS)

    async def scan(self, after: int, size: int = SCAN_PAGE) -> AsyncIterator[Sequence[Row]]:
        """Yield pages of (position, stream, version, type, data) up to the end, then stop.

        The next page is read while one is used.
        """
        coming = asyncio.ensure_future(self._reader.rows(_READ, after, size))
        try:
            while page := await coming:
                if len(page) == size:
                    coming = asyncio.ensure_future(self._reader.rows(_READ, page[-1][0], size))
                yield [tuple(row) for row in page]
                if len(page) < size:
                    return
        finally:
            coming.cancel()

    async def replay(self, take: Callable[[Pages], None]) -> None:
        """Hand the log to `take`, in a thread of its own until it returns."""
        pages = Pages(self._server)

        def taken() -> None:
            try:
                take(pages)
            finally:
                pages.close()

        await asyncio.to_thread(taken)

    async def seal_at(self, position: int) -> bytes:
        """The seal over everything up to `position`, to recognise the same history by."""
        rows = await self._reader.rows(_SEAL_AT, position)
        return rows[0][0] if rows else EMPTY.seal

    async def commits(self) -> AsyncIterator[None]:
        """Yield at once, and again after commits: look for news each time, miss none."""
        while not self._closing:
            news = self._standing.news
            yield
            await asyncio.wait((news,), timeout=POLL_SECONDS)

    async def redact(self, positions: Sequence[int], actor: str) -> tuple[int, ...]:
        """Erase the payloads of events for ever; seals stay valid. Return those that had one."""
        at = self._now()
        return await self._writer.run(lambda c: tombstones.redact(c, positions, actor, at))

    @override
    def report_seen(self, position: int, witness: str) -> None:
        self._standing.report_seen(position, witness)

    async def accept_rewind(self, actor: str) -> None:
        """Go on from where the log ends now; recorded with who accepted it. Nothing to do is fine.

        Positions that were seen are never handed out again, so that labels stay unambiguous.
        """
        rewound, at = self.rewound, self._now()
        if rewound is None:
            return
        head = await self._writer.run(lambda c: rewinds.accept(c, rewound, actor, at))
        await asyncio.to_thread(write_head, self._directory, head)
        self._standing.accepted(head, rewound.seen)

    async def _events(self, sql: str, *arguments: Any) -> list[StoredEvent]:
        return list(map(StoredEvent._make, await self._reader.rows(sql, *arguments)))

    async def _submit(
        self,
        events: Sequence[NewEvent],
        expect: Mapping[str, int],
        key: IdempotencyKey | None,
        outcome: bytes,
        versions: Sequence[int] | None,
    ) -> Appended:
        while self._writer.waiting >= MAX_WAITING and not self._closing:
            await self._writer.room()
        if self._closing:
            raise LogUnavailable("the log is closed; open it again")
        if self.rewound is not None:
            raise once_more(self.rewound)
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._writer.put(Request(events, expect, key, outcome, future, versions))
        return await future
