"""Watching: what other processes commit, and whether the database answers and takes writes.

One connection listens for hints and is asked from time to time, so a lost hint delays nothing for
longer than that, and neither does a lost connection.
"""

import asyncio
from contextlib import suppress
from typing import Final, Protocol, final

import structlog

from adapters.postgres.schema import CHANNEL
from adapters.postgres.server import Connection, Server, let_go
from adapters.postgres.trouble import TROUBLE, explain
from bus.log import EMPTY, Head, LogError

POLL_SECONDS: Final = 2.0  # how long a reader may miss what another process has written
RETRY_SECONDS: Final = 0.5  # between two attempts to connect

_LOOK = (
    "SELECT s.position, s.seal, current_setting('transaction_read_only') = 'on' AS refuses"
    " FROM (VALUES (true)) AS one LEFT JOIN ("
    "SELECT position, seal FROM stateward.seals ORDER BY position DESC LIMIT 1) AS s ON true"
)
_log = structlog.get_logger()


class Owner(Protocol):
    """Who wants to know."""

    async def seen(self, connection: Connection, head: Head, *, refuses: bool) -> None:
        """The database answers: where it ends, and whether it takes no writes."""
        ...

    def hinted(self, position: int) -> None:
        """Somebody has committed up to there."""
        ...

    def lost(self, error: LogError) -> None:
        """The database does not answer."""
        ...


@final
class Watcher:
    def __init__(self, server: Server, owner: Owner) -> None:
        self._server = server
        self._owner = owner
        self._connection: Connection | None = None
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="log watcher")

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._connection is not None:
            await let_go(self._connection)

    async def _run(self) -> None:
        while True:
            wait = POLL_SECONDS
            try:
                await self._look()
            except LogError as error:
                self._owner.lost(error)
                await self._drop()
                wait = RETRY_SECONDS
            except Exception:
                _log.exception("log.watching_failed")
                await self._drop()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _look(self) -> None:
        try:
            if self._connection is None:
                self._connection = await self._server.connect("watcher")
                self._connection.add_termination_listener(self._ended)
                await self._connection.add_listener(CHANNEL, self._heard)
            row = await self._connection.fetchrow(_LOOK)
        except TROUBLE as error:
            raise explain(error, self._server.shown, "watch the log") from error
        if row is not None:
            position, seal, refuses = row
            head = EMPTY if position is None else Head(position, seal)
            await self._owner.seen(self._connection, head, refuses=refuses)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await let_go(connection)

    def _ended(self, _connection: object) -> None:
        self._wake.set()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text.isdecimal():
            self._owner.hinted(int(text))
