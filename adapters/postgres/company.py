"""Who works over this log: several processes that share it, or one alone, and never both.

A lock of the database says so for as long as its connection lasts. Who wants to be alone where
somebody works already, or to share where somebody is alone, is refused before it does anything.
"""

import asyncio
from contextlib import suppress
from typing import Final, Self, final

import structlog

from adapters.postgres.server import Connection, Server, let_go
from adapters.postgres.trouble import TROUBLE, explain
from bus.log import LogUnavailable, LogUnusable

PATIENCE_SECONDS: Final = 10.0  # for one that was killed: the database may not know it yet
LOOK_SECONDS: Final = 1.0

_LOCK: Final = 8315168253862016873
_ALONE: Final = f"SELECT pg_try_advisory_lock({_LOCK})"
_SHARED: Final = f"SELECT pg_try_advisory_lock_shared({_LOCK})"
_log = structlog.get_logger("company")


@final
class Presence:
    """Made by `announce`; over when it is closed."""

    def __init__(self, server: Server, *, alone: bool) -> None:
        self._server, self._alone = server, alone
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def announce(
        cls, url: str, *, alone: bool, patience_seconds: float = PATIENCE_SECONDS
    ) -> Self:
        """Begin to be there.

        Raises:
            LogUnusable: others are there in a way that this one cannot join.
            LogUnavailable: the database does not answer.
        """
        presence = cls(Server(url), alone=alone)
        ends = asyncio.get_running_loop().time() + patience_seconds
        while not await presence._take():
            if asyncio.get_running_loop().time() > ends:
                raise LogUnusable(
                    f"another process works over {presence._server.shown}, and one of the two is "
                    "set up to be alone: give both the same external NATS (`nats.servers`), so "
                    "that they can share the work, or stop the other"
                )
            await asyncio.sleep(LOOK_SECONDS / 4)
        presence._task = asyncio.create_task(presence._stay(), name="presence")
        return presence

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._drop()

    async def _take(self) -> bool:
        try:
            if self._connection is None:
                self._connection = await self._server.connect("presence")
            taken = await self._connection.fetchval(_ALONE if self._alone else _SHARED)
        except TROUBLE as error:
            await self._drop()
            raise explain(error, self._server.shown, "see who works over the log") from error
        if not taken:
            await self._drop()
        return bool(taken)

    async def _stay(self) -> None:
        """Take the lock again after each end of its connection."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._connection is not None and not self._connection.is_closed():
                continue
            await self._drop()
            try:
                if not await self._take():
                    _log.error(
                        "another process works over this log, which this one is not set up for"
                    )
            except LogUnavailable as error:
                _log.debug("the database does not answer", error=str(error))

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await let_go(connection)
