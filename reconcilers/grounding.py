"""Grounds in use: what the apps of a project share on a target is not cleared under one of them.

What is known of a target is as old as its last list. An app that was passed over since may have
begun there what no list has shown yet, and may have moved on by now; so its project's ground counts
as used until a list that began later has come.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from math import inf
from typing import final

type AppKey = tuple[str, str]


@final
class GroundUse:
    """Of one target: its passes, its lists, and which grounds are being cleared."""

    def __init__(self) -> None:
        self._lists = 0
        self._used: dict[AppKey, float] = {}  # how many lists had begun when its pass was over
        self._clearing: dict[str, asyncio.Event] = {}

    @asynccontextmanager
    async def passing(self, key: AppKey) -> AsyncIterator[None]:
        """While this lasts, and until a later list, the ground of the app's project stays.

        It begins when none is being cleared any more.
        """
        self._used[key] = inf
        try:
            while (clearing := self._clearing.get(key[0])) is not None:
                await clearing.wait()
            yield
        finally:
            self._used[key] = self._lists

    def listing(self) -> int:
        """A list begins; return its number."""
        self._lists += 1
        return self._lists

    def listed(self, number: int, key: AppKey | None) -> None:
        """That list has come, of one app or of all: what began before it is known by it."""
        for used in [key] if key is not None else list(self._used):
            if self._used.get(used, inf) < number:
                del self._used[used]

    def is_free(self, project: str) -> bool:
        """Whether its ground may be cleared: nobody uses it, and nobody clears it."""
        return project not in self._clearing and all(used != project for used, _ in self._used)

    @contextmanager
    def clearing(self, project: str) -> Iterator[None]:
        """While this lasts, passes over the project's apps wait; to begin when it is free."""
        over = self._clearing[project] = asyncio.Event()
        try:
            yield
        finally:
            del self._clearing[project]
            over.set()
