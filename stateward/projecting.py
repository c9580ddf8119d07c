"""Projecting: desired state from a snapshot and the log, and the snapshots that make it quick.

A snapshot is a cache. It is used only if the log's seal at its position is the one it was taken
with; afterwards it is compared with a rebuild, beside the work, and thrown away if it differs.
"""

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, final

import msgspec
import structlog

from adapters.sqlite.log import SqliteLog
from adapters.sqlite.snapshots import Snapshot, Snapshots
from bus import codec
from bus.log import LogError
from projections.desired import DesiredState
from projections.kept import FOLD
from projections.replaying import replay

NAME: Final = f"desired.{FOLD}"
EVERY_EVENTS: Final = 10_000
EVERY_SECONDS: Final = 60.0
SLICE: Final = 500  # events folded between two looks at the event loop while comparing

_log = structlog.get_logger("projecting")


@contextmanager
def _uncollected() -> Iterator[None]:
    """Much is made here that stays, and nothing that is garbage in circles: do not look for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


@final
class Projecting:
    """Loads, saves and doubts snapshots of the desired state."""

    def __init__(
        self, log: SqliteLog, snapshots: Snapshots, *, mismatched: Callable[[], None]
    ) -> None:
        self._log, self._snapshots, self._mismatched = log, snapshots, mismatched
        self._saved = 0
        self._loaded: bytes | memoryview | None = None

    async def restore(self) -> DesiredState:
        """The desired state at the log's head."""
        with _uncollected():
            desired = await self._from_snapshot() or DesiredState(codec.decode)
            await self._log.replay(partial(replay, desired))
        return desired

    async def _from_snapshot(self) -> DesiredState | None:
        """The state of the newest snapshot that is whole, if it is one of this log."""
        loop = asyncio.get_running_loop()
        for snapshot in self._snapshots.found(NAME):
            checking = loop.run_in_executor(None, snapshot.is_whole)  # while it is decoded
            desired = await self._decoded(snapshot)
            if await checking:
                if desired is not None:
                    self._saved, self._loaded = snapshot.position, snapshot.data
                return desired
        return None

    async def _decoded(self, snapshot: Snapshot) -> DesiredState | None:
        if snapshot.seal != await self._log.seal_at(snapshot.position):
            return None
        desired = DesiredState(codec.decode)
        try:
            desired.load(snapshot.data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.warning("a snapshot that cannot be read is not used", error=str(error))
            return None
        return desired

    async def save(self, desired: DesiredState) -> None:
        """Keep a snapshot of the state as it is now."""
        position, dumped = desired.position, desired.dump()
        seal = await self._log.seal_at(position)
        await asyncio.to_thread(self._snapshots.save, NAME, position, seal, dumped)
        self._saved = position

    async def keep(self, desired: DesiredState) -> None:
        """Doubt the snapshot that was loaded, then save one from time to time, for ever."""
        while True:
            try:
                if self._loaded is not None:
                    await self._doubt(desired, self._loaded)
                    self._loaded = None
                if desired.position - self._saved >= EVERY_EVENTS:
                    await self.save(desired)
            except (OSError, LogError) as error:
                _log.warning("snapshot not kept; the next start is slower", error=str(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def _doubt(self, desired: DesiredState, dumped: bytes | memoryview) -> None:
        """Rebuild what the snapshot claims; if they differ, the rebuilt state takes over."""
        upto = self._saved
        rebuilt = DesiredState(codec.decode)
        async for page in self._log.scan(0, SLICE):
            rebuilt.fold([row for row in page if row[0] <= upto])
            await asyncio.sleep(0)
            if page[-1][0] >= upto:
                break
        rebuilt.position = upto
        if rebuilt.dump() == bytes(dumped):
            return
        self._mismatched()
        _log.error("the snapshot differs from the log; the log's state takes over", position=upto)
        while True:
            async for page in self._log.scan(rebuilt.position):
                rebuilt.fold(page)
            if rebuilt.position >= desired.position:  # never back: what was folded stays folded
                break
        desired.load(rebuilt.dump())
