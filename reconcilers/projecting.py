"""Projecting: desired state from a snapshot and the log, and the snapshots that make it quick.

A snapshot is a cache. It is used only if the log's seal at its position is the one it was taken
with; afterwards it is compared with a rebuild, beside the work, and thrown away if it differs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol, final

import msgspec
import structlog

from bus import codec
from bus.log import LogError
from projections.desired import DesiredState, Row
from projections.kept import FOLD
from projections.replaying import History, replay

EVERY_EVENTS: Final = 10_000
EVERY_SECONDS: Final = 60.0
SLICE: Final = 500  # events folded between two looks at the event loop while comparing

_log = structlog.get_logger("projecting")

type Elsewhere = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs what takes its time without holding up the event loop, such as `asyncio.to_thread`."""


def name() -> str:
    """Of snapshots that this version would make, too, of the same log."""
    return f"desired.{FOLD}.{codec.knowledge()}"


class Snapshot(Protocol):
    """A state as it was at `position`, under the log's `seal` there."""

    @property
    def position(self) -> int: ...

    @property
    def seal(self) -> bytes: ...

    @property
    def data(self) -> bytes | memoryview: ...

    def is_whole(self) -> bool:
        """Whether it is as it was saved; takes as long as reading it."""
        ...


class SnapshotStore(Protocol):
    """Where snapshots are kept. Blocking."""

    def found(self, name: str) -> Iterable[Snapshot]:
        """What looks like a snapshot, newest first: whether it is whole is to be asked."""
        ...

    def save(self, name: str, position: int, seal: bytes, data: bytes) -> None:
        """Keep a snapshot. Raises `OSError`: it was not kept, and nothing else is lost."""
        ...


class SealedLog(Protocol):
    """A log that recognises its own history, and can be read whole."""

    async def replay(self, take: Callable[[History], None]) -> None:
        """Hand all of it to `take`."""
        ...

    def scan(self, after: int, size: int = SLICE) -> AsyncIterator[Sequence[Row]]:
        """Yield pages of all that is above `after`, then stop."""
        ...

    async def seal_at(self, position: int) -> bytes:
        """The seal over everything up to `position`."""
        ...


@final
class Projecting:
    """Loads, saves and doubts snapshots of the desired state.

    Args:
        log: the truth.
        snapshots: the caches.
        mismatched: told of each snapshot that did not say what the log says.
        elsewhere: where snapshots are read, checked and written.
        every_events: how much the log grows between two snapshots.
    """

    def __init__(
        self,
        log: SealedLog,
        snapshots: SnapshotStore,
        *,
        mismatched: Callable[[], None],
        elsewhere: Elsewhere,
        every_events: int = EVERY_EVENTS,
    ) -> None:
        self._log, self._snapshots, self._mismatched = log, snapshots, mismatched
        self._elsewhere, self._every_events = elsewhere, every_events
        self._saved = 0
        self._loaded: bytes | memoryview | None = None

    async def restore(self) -> DesiredState:
        """The desired state at the log's head."""
        desired = await self._from_snapshot() or DesiredState(codec.decode)
        await self._log.replay(partial(replay, desired))
        return desired

    async def _from_snapshot(self) -> DesiredState | None:
        """The state of the newest snapshot that is whole, if it is one of this log."""
        for snapshot in self._snapshots.found(name()):
            checking = asyncio.ensure_future(self._elsewhere(snapshot.is_whole))
            await asyncio.sleep(0)  # it is checked while it is decoded
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
        await self._elsewhere(partial(self._snapshots.save, name(), position, seal, dumped))
        self._saved = position

    async def keep(self, desired: DesiredState) -> None:
        """Doubt the snapshot that was loaded, then save one from time to time, for ever."""
        while True:
            try:
                if self._loaded is not None:
                    await self._doubt(desired, self._loaded)
                    self._loaded = None
                if desired.position - self._saved >= self._every_events:
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
