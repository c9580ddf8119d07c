"""The log over a simulated disk: group commit, and trouble at every step of it.

Appends that wait are written together, synced together and answered together, one group at a time
for all who have the disk open.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar, Final, final, override

from bus.log import (
    Appended,
    Head,
    IdempotencyKey,
    Log,
    LogError,
    LogRewound,
    LogUnavailable,
    NewEvent,
    StoredEvent,
)
from projections.replaying import History
from simulation.disk import Disk, Group, Request

PAGE: Final = 500  # events
TAIL_SECONDS: Final = 2.0  # how long a reader may miss what another process has written
TURN_SECONDS: Final = 0.01  # between two looks whether another process is done writing
NOTE_SECONDS: Final = 0.5  # between two writes of the head file


@dataclass(slots=True)
class LogFaults:
    """The troubles of one log; change its fields at any time.

    refuses: asked before an append is taken; what it returns is raised.
    hides: asked before a read, likewise.
    sync_seconds: asked for each group: how long its fsync takes.
    swallows: asked when an append is on disk; what it returns is raised although it is.
    """

    refuses: Callable[[], LogError | None] = lambda: None
    hides: Callable[[], LogError | None] = lambda: None
    sync_seconds: Callable[[], float] = lambda: 0.0
    swallows: Callable[[], LogError | None] = lambda: None


@final
class SimulatedLog(Log):
    """One process's log. `rewound` says why nothing is appended, when the disk lost something.

    `syncing` is awaited between the writing and the syncing of each group: a crash happens there.
    """

    ANSWERS_FIRST: ClassVar[bool] = False
    """Set by who wants to see that acknowledging before the fsync is found out."""

    def __init__(
        self,
        disk: Disk | None = None,
        faults: LogFaults | None = None,
        syncing: Callable[[Sequence[StoredEvent]], Awaitable[None]] | None = None,
    ) -> None:
        self._syncing = syncing
        self.disk = disk or Disk()
        self.faults = faults or LogFaults()
        self.rewound: LogRewound | None = self.disk.rewound()
        self._waiting: list[tuple[Request, asyncio.Future[Appended]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._group: Group | None = None
        self._noting: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()

    @property
    def position(self) -> int:
        return self.disk.head.position

    @property
    def read_only(self) -> str | None:
        """Nothing: a simulated disk does not fill."""
        return None

    @property
    def events(self) -> list[StoredEvent]:
        return self.disk.events

    @override
    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        refused = self.faults.refuses()
        if refused is not None:
            raise refused
        if self.rewound is not None:
            raise _again(self.rewound)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((Request(events, dict(expect), key, outcome), future))
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit())
        appended: Appended = await future
        swallowed = self.faults.swallows()
        if swallowed is not None:
            raise swallowed
        return appended

    @override
    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        self._look()
        start = self.disk.count_to(after)
        return self.disk.events[start : start + limit]

    @override
    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        self._look()
        return [e for e in self.disk.stream(stream) if e.version > after_version]

    @override
    async def head(self) -> Head:
        return self.disk.head

    @override
    async def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        while True:
            moved = self._moved
            page = await self.read(after, 1000)
            if page:
                after = page[-1].position
                yield page
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(TAIL_SECONDS):
                    await moved.wait()

    async def replay(self, take: Callable[[History], None]) -> None:
        """Hand all of it to `take`."""
        self._look()
        take(_Shelf(self.disk))

    async def scan(self, after: int, size: int = PAGE) -> AsyncIterator[Sequence[StoredEvent]]:
        """Yield pages of all that is above `after`, then stop."""
        while page := await self.read(after, size):
            after = page[-1].position
            yield page

    async def seal_at(self, position: int) -> bytes:
        return self.disk.seal_at(position)

    def report_seen(self, position: int, witness: str) -> None:
        """Tell that `witness` knows a position of this log."""
        disk = self.disk
        known = self.rewound.seen if self.rewound is not None else 0
        if position > max(disk.head.position, disk.ceiling, known):
            self.rewound = LogRewound(head=disk.head.position, seen=position, witness=witness)

    def accept_rewind(self) -> None:
        """An operator lets the log go on from where it ends now."""
        if self.rewound is not None:
            self.disk.accept(self.rewound)
            self.rewound = None

    async def close(self) -> None:
        """Commit what waits; write the head file."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        self._stop_noting()
        if self.rewound is None:
            self.disk.note()

    def abandon(self, *, keeps: bool, tears: bool = False) -> int:
        """The process is gone, whatever it was doing; return how many written events went too.

        Args:
            keeps: whether what was written and not synced is on the disk all the same.
            tears: whether all but the end of it is.
        """
        self._stop_noting()
        if self._committing is not None:
            self._committing.cancel()
        if self._group is None or self.disk.writing is not self._group:
            return 0
        return self.disk.crash(keeps=keeps, tears=tears)

    def _look(self) -> None:
        hidden = self.faults.hides()
        if hidden is not None:
            raise hidden

    async def _commit(self) -> None:
        await asyncio.sleep(0)  # all that is asked in one round of the loop goes together
        while self._waiting:
            if self.disk.writing is not None:  # another process has the disk
                await asyncio.sleep(TURN_SECONDS)
                continue
            taken, self._waiting = self._waiting, []
            await self._commit_group(taken)

    async def _commit_group(
        self, taken: Sequence[tuple[Request, asyncio.Future[Appended]]]
    ) -> None:
        disk = self.disk
        group = self._group = disk.begin()
        answers: list[Appended | LogError] = []
        for request, _ in taken:
            try:
                answers.append(disk.add(group, request))
            except LogError as error:
                answers.append(error)
        if self.ANSWERS_FIRST:
            _answer(taken, answers)
        delay = self.faults.sync_seconds()
        if delay:
            await asyncio.sleep(delay)
        if self._syncing is not None:
            await self._syncing(group.events)
        disk.sync(group)
        self._note_soon()
        _answer(taken, answers)
        self._moved.set()
        self._moved = asyncio.Event()

    def _note_soon(self) -> None:
        if self._noting is None:
            loop = asyncio.get_running_loop()
            self._noting = loop.call_later(NOTE_SECONDS, self._note)

    def _note(self) -> None:
        self._noting = None
        self.disk.note()

    def _stop_noting(self) -> None:
        if self._noting is not None:
            self._noting.cancel()
            self._noting = None


@final
class _Shelf(History):
    """The log as who replays it reads it."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @override
    def outlines(self, after: int) -> Iterator[tuple[Sequence[int], Sequence[str], Sequence[str]]]:
        start, events = self._disk.count_to(after), self._disk.events
        for at in range(start, len(events), PAGE):
            page = events[at : at + PAGE]
            yield [e.position for e in page], [e.stream for e in page], [e.type for e in page]

    @override
    def payloads(self, positions: Sequence[int]) -> Iterable[bytes]:
        events = self._disk.events
        return [events[self._disk.count_to(position) - 1].data for position in positions]


def _answer(
    taken: Sequence[tuple[Request, asyncio.Future[Appended]]],
    answers: Sequence[Appended | LogError],
) -> None:
    for (_, future), answer in zip(taken, answers, strict=True):
        if future.done():  # its caller gave up
            continue
        if isinstance(answer, Appended):
            future.set_result(answer)
        else:
            future.set_exception(answer)


def unavailable(why: str) -> LogUnavailable:
    """A log that does not answer."""
    return LogUnavailable(f"the simulated log is away: {why}")


def _again(rewound: LogRewound) -> LogRewound:
    """An error is raised once: its traceback belongs to one caller."""
    return LogRewound(head=rewound.head, seen=rewound.seen, witness=rewound.witness)
