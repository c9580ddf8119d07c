"""News of processes: their ends, as the keeper tells them.

A directory that is removed behind our back is found by the next sweep; that its process ends is
news as well, since the keeper ends what has no directory any more.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import final, override

from adapters.keeping.client import KeeperClient
from reconcilers.ports import EngineEvent, EngineEvents

_EVENTS = 256  # kept per watcher; one that is slower lists again


class Watchers:
    """Who hears of ends."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.queues: set[asyncio.Queue[EngineEvent]] = set()

    def ended(self, path: str) -> None:
        project, app, _ = Path(path).relative_to(self._root).parts
        self._tell(EngineEvent((project, app)))

    def missed(self) -> None:
        self._tell(EngineEvent(None))

    def _tell(self, event: EngineEvent) -> None:
        for queue in self.queues:
            if not queue.full():
                queue.put_nowait(event)
                continue
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(EngineEvent(None))


@final
class ProcessEvents(EngineEvents):
    def __init__(self, watchers: Watchers, keeper: KeeperClient) -> None:
        self._watchers = watchers
        self._keeper = keeper

    @override
    async def watch(self) -> AsyncIterator[EngineEvent]:
        queue: asyncio.Queue[EngineEvent] = asyncio.Queue(_EVENTS)
        self._watchers.queues.add(queue)
        try:
            await self._keeper.connect()
            yield EngineEvent(None)
            while True:
                event = await queue.get()
                if event.app is None:  # The keeper is gone: the next one tells what follows.
                    await self._keeper.connect()
                yield event
        finally:
            self._watchers.queues.discard(queue)
