"""Where PostgreSQL is, and how connections to it are made.

A `Server` is the setting `log.url` understood: it can be shown without the password, and every
connection it opens has the same limits, so nothing here ever waits without end.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, final
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from adapters.postgres.trouble import TROUBLE, explain
from bus.log import LogUnusable

type Connection = asyncpg.Connection[asyncpg.Record]

SCHEMES: Final = ("postgresql", "postgres")


class Limits(NamedTuple):
    """How long each thing may take, in seconds.

    `lock` is how long an append waits for its turn among those of other processes, `statement` how
    long the server works on one group, `answer` when a server counts as gone that says nothing.
    """

    connect: float = 5.0
    lock: float = 5.0
    statement: float = 15.0
    answer: float = 20.0


PATIENT: Final = Limits(statement=3600.0, answer=3700.0)
"""For what goes through all of a log once, while nobody waits for it."""


@final
class Server:
    """One database, on one host or on several of which one takes writes."""

    def __init__(self, url: str, limits: Limits = Limits()) -> None:  # noqa: B008 -- immutable
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise LogUnusable("the log's address is not postgresql://USER@HOST:PORT/DATABASE")
        if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # else a part of it would be shown
            raise LogUnusable(
                "the log's address has a password with / ? or # in it; write %2F, %3F or %23"
            )
        self.limits = limits
        hosts = parts.netloc.rpartition("@")[2] or "localhost"
        self.shown = f"postgresql://{hosts}{parts.path}"
        """The address without credentials."""
        self.database = unquote(parts.path.removeprefix("/"))
        self._url = url
        asked = parse_qs(parts.query)
        self._several = "," in hosts and "target_session_attrs" not in asked

    def options(self, purpose: str) -> dict[str, Any]:
        """What `asyncpg.connect` and `asyncpg.create_pool` are given.

        Positions are handed out in the order of commits only if each statement sees what was
        committed before it, whatever the database's own default is.
        """
        limits = self.limits
        return {
            "dsn": self._url,
            "timeout": limits.connect,
            "command_timeout": limits.answer,
            "target_session_attrs": "read-write" if self._several else None,
            "server_settings": {
                "application_name": f"stateward {purpose}",
                "default_transaction_isolation": "read committed",
                "lock_timeout": f"{limits.lock * 1000:.0f}",
                "statement_timeout": f"{limits.statement * 1000:.0f}",
                "jit": "off",
                # All that is asked here follows an index. Without statistics the planner would
                # rather sort the whole log for the first page of it, or plan half of the time.
                "plan_cache_mode": "force_generic_plan",
                "enable_seqscan": "off",
                "enable_sort": "off",
            },
        }

    async def connect(self, purpose: str) -> Connection:
        """Open a connection, which the server lists as of this purpose.

        Raises:
            LogUnavailable: it cannot be had, for the reason that is given.
        """
        try:
            connection: Connection = await asyncpg.connect(**self.options(purpose))
        except TROUBLE as error:
            raise explain(error, self.shown, "reach the log") from error
        except ValueError:  # its text may show any part of the address
            raise LogUnusable(
                f"the log's address cannot be understood near {self.shown}; write "
                "postgresql://USER@HOST:PORT/DATABASE, and its options as libpq names them"
            ) from None
        return connection

    @asynccontextmanager
    async def connected(self, purpose: str) -> AsyncIterator[Connection]:
        """A connection for as long as the block lasts; see `connect`."""
        connection = await self.connect(purpose)
        try:
            yield connection
        finally:
            await let_go(connection)


async def let_go(connection: Connection) -> None:
    """Close a connection, in whatever state it is."""
    try:
        await connection.close(timeout=1)
    except (*TROUBLE, asyncio.CancelledError):
        connection.terminate()
