"""The log's reading side: a few connections that nobody else waits for.

A read changes nothing, so it is simply asked again when its connection turns out to have ended.
"""

from collections.abc import Sequence
from typing import Any, Final, Self, final

import asyncpg

from adapters.postgres.server import Server
from adapters.postgres.trouble import TROUBLE, explain, is_gone
from bus.log import LogUnavailable

CONNECTIONS: Final = 4  # one page of a long scan must not hold up the read of a single stream
CLOSE_SECONDS: Final = 2.0

type Rows = Sequence[asyncpg.Record]


async def _as_it_is(_connection: object) -> None:
    """Nothing that is asked here changes the session: no round trip to reset it is needed."""


@final
class Reader:
    def __init__(self, server: Server, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._server = server
        self._pool = pool

    @classmethod
    async def open(cls, server: Server) -> Self:
        """Be ready to read; the first connection is made when it is needed."""
        pool = asyncpg.create_pool(
            min_size=0, max_size=CONNECTIONS, reset=_as_it_is, **server.options("reader")
        )
        await pool
        return cls(server, pool)

    async def rows(self, sql: str, *arguments: Any) -> Rows:
        """All rows of a query.

        Raises:
            LogUnavailable: the database does not answer, or not to this.
        """
        try:
            return await self._fetch(sql, arguments)
        except TROUBLE as error:
            if not is_gone(error):
                raise explain(error, self._server.shown, "read") from error
        try:
            return await self._fetch(sql, arguments)
        except TROUBLE as error:
            raise explain(error, self._server.shown, "read") from error

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> Rows:
        if self._pool.is_closing():
            raise LogUnavailable("the log is closed; open it again")
        async with self._pool.acquire(timeout=self._server.limits.answer) as connection:
            rows: Rows = await connection.fetch(sql, *arguments)
            return rows

    async def close(self) -> None:
        """Let go of the connections; a query that takes its time is ended."""
        self._pool.terminate()
