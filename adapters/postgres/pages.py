"""The whole log for who folds it at the start: a connection of its own, used by one thread.

The database puts the columns of a page together, because a row costs Python more than its values.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

from adapters.postgres.server import Connection, Server, let_go
from adapters.postgres.trouble import TROUBLE, explain

SPAN: Final = 2000  # events

type Outline = tuple[Sequence[int], Sequence[str], Sequence[str]]
"""The positions, streams and types of the events of a page, in order."""

_OUTLINE = (
    "SELECT array_agg(notification_id ORDER BY notification_id),"
    " array_agg(originator_id ORDER BY notification_id),"
    " array_agg(topic ORDER BY notification_id) FROM ("
    "SELECT notification_id, originator_id, topic FROM stateward.stored_events"
    " WHERE notification_id > $1 ORDER BY notification_id LIMIT $2) AS page"
)
_PAYLOADS = (
    "SELECT array_agg(state ORDER BY place)"
    " FROM unnest($1::bigint[]) WITH ORDINALITY AS asked(position, place)"
    " JOIN stateward.stored_events ON notification_id = position"
)


@final
class Pages:
    """Blocking: for a thread in which no event loop runs. Close it in the end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._runner = asyncio.Runner()
        self._connection: Connection | None = None

    def outlines(self, after: int) -> Iterator[Outline]:
        """Yield what happened above `after`, up to the end of the log, without payloads."""
        while True:
            positions, streams, types = self._ask(_OUTLINE, after, SPAN)
            if not positions:
                return
            after = positions[-1]
            yield positions, streams, types

    def payloads(self, positions: Sequence[int]) -> Iterator[bytes]:
        """Yield the payloads of events that are there, in the same order."""
        for start in range(0, len(positions), SPAN):
            (found,) = self._ask(_PAYLOADS, positions[start : start + SPAN])
            yield from found

    def close(self) -> None:
        if self._connection is not None:
            self._runner.run(let_go(self._connection))
        self._runner.close()

    def _ask(self, sql: str, *arguments: Any) -> Any:
        return self._runner.run(self._row(sql, *arguments))

    async def _row(self, sql: str, *arguments: Any) -> Any:
        if self._connection is None:
            self._connection = await self._server.connect("replay")
        try:
            return await self._connection.fetchrow(sql, *arguments)
        except TROUBLE as error:
            raise explain(error, self._server.shown, "read") from error
