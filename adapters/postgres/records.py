"""Reading a whole log once, beside whoever writes it: one snapshot, from the first event on.

For programs without an event loop: rows come from a cursor, a page at a time.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, final

from adapters.postgres import schema
from adapters.postgres.rewinds import find_rewind, read_head
from adapters.postgres.server import PATIENT, Connection, Server, let_go
from adapters.postgres.trouble import TROUBLE, explain
from bus.log import Head, LogRewound, StoredEvent

PAGE: Final = 2000  # rows

_COUNT = "SELECT count(*) FROM stateward.stored_events"
_INSTALLATION = "SELECT id FROM stateward.installation"
_ALL = (
    "SELECT notification_id, originator_id, originator_version, topic, state"
    " FROM stateward.stored_events ORDER BY notification_id"
)


@dataclass(frozen=True, slots=True)
class Records:
    """A log as it was at one moment. `events` can be gone through once, while it is open."""

    head: Head
    count: int
    installation: str
    events: Iterator[StoredEvent]


@final
class Snapshot:
    """A database as it is at one moment, for questions and cursors. Blocking."""

    def __init__(self, server: Server, runner: asyncio.Runner, connection: Connection) -> None:
        self._server = server
        self._runner = runner
        self._connection = connection

    @classmethod
    @contextmanager
    def taken(cls, server: Server) -> Iterator[Self]:
        """Open one; its schema fits.

        Raises:
            LogUnavailable: the database cannot be read.
        """
        with asyncio.Runner() as runner:
            connection = runner.run(server.connect("offline"))
            try:
                snapshot = cls(server, runner, connection)
                snapshot._run(_begin(connection, server.shown))
                yield snapshot
            finally:
                runner.run(let_go(connection))

    def rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """All rows of a query, a page at a time."""
        cursor = self._run(_cursor(self._connection, sql))
        while page := self._run(cursor.fetch(PAGE)):
            yield from map(tuple, page)

    def value(self, sql: str) -> Any:
        return self._run(self._connection.fetchval(sql))

    def head(self) -> Head:
        head: Head = self._run(read_head(self._connection))
        return head

    def rewind(self, kept: Head, witness: str) -> LogRewound | None:
        found: LogRewound | None = self._run(find_rewind(self._connection, kept, witness))
        return found

    def _run(self, call: Any) -> Any:
        try:
            return self._runner.run(call)
        except TROUBLE as error:
            raise explain(error, self._server.shown, "read the log") from error


@contextmanager
def records(url: str) -> Iterator[Records]:
    """Open the log of a database, to read all of it.

    Raises:
        LogUnavailable: there is none, or it cannot be read.
    """
    with Snapshot.taken(Server(url, PATIENT)) as snapshot:
        yield Records(
            snapshot.head(),
            snapshot.value(_COUNT),
            snapshot.value(_INSTALLATION) or "",
            (StoredEvent(*row) for row in snapshot.rows(_ALL)),
        )


async def _begin(connection: Connection, shown: str) -> None:
    await schema.check(connection, shown)
    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


async def _cursor(connection: Connection, sql: str) -> Any:
    return await connection.cursor(sql)
