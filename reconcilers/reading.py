"""Reading: the projection follows the log, page by page, whoever asks for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, final

from bus import codec
from bus.log import Log, LogUnavailable
from domain import events as e
from projections.desired import DesiredState, Row
from projections.routing import RouteTables

PAGE: Final = 2000  # events folded between two looks at the event loop


@final
class Reader:
    """Folds what the log has and the projection lacks. `answers` says whether the log did."""

    def __init__(self, log: Log, desired: DesiredState, tables: RouteTables) -> None:
        self._log, self._desired, self._tables = log, desired, tables
        self._turn = asyncio.Lock()
        self._moved = asyncio.Condition()
        self.answers = True

    async def catch_up(self, follow: Callable[[Sequence[Row]], Awaitable[None]]) -> int:
        """Fold up to the log's end; return how many events that were.

        Args:
            follow: given each page, after it was folded.

        Raises:
            LogUnavailable: the log cannot be read.
        """
        folded = 0
        async with self._turn:
            while page := await self._read():
                self._desired.fold(page)
                self._tables.fold(page)
                folded += len(page)
                await follow(page)
        if folded:
            async with self._moved:
                self._moved.notify_all()
        return folded

    async def wait_for(self, position: int) -> None:
        """Return when the projection has folded up to `position`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._desired.position >= position)

    async def reach_end(self) -> None:
        """Return when the projection has folded all that the log had when this was asked.

        Raises:
            LogUnavailable: the log cannot be read.
        """
        await self.wait_for((await self._log.head()).position)

    async def target_definitions(self, stream: str) -> list[tuple[int, bytes]]:
        """Every definition that a target ever had: its position and its spec, oldest first.

        Raises:
            LogUnavailable: the log cannot be read.
            Undecodable: one of them cannot be read.
        """
        events = [
            (row.position, codec.decode(row.type, row.data))
            for row in await self._log.stream(stream)
            if row.type == e.TargetDefined.type
        ]
        return [(at, bytes(one.spec)) for at, one in events if isinstance(one, e.TargetDefined)]

    async def _read(self) -> Sequence[Row]:
        try:
            page = await self._log.read(self._desired.position, PAGE)
        except LogUnavailable:
            self.answers = False
            raise
        self.answers = True
        return page
