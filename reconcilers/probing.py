"""Probing: asks every running replica how it is, when its checks are due.

One heap of due times for all replicas; a task exists only while a probe is under way. When the
answer changes what a replica is worth, its app's key is queued, as for an engine's event.
"""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import count
from typing import Final, final

import msgspec
import structlog

from domain.app import Check, Health
from reconcilers import health
from reconcilers.ports import Prober, ProbeResult, Replica, ReplicaIO, ReplicaState
from reconcilers.replica_facts import Seen

AT_ONCE: Final = 64  # probes under way; the rest wait their turn
ROUNDING: Final = 0.001  # seconds

_log = structlog.get_logger("probing")


class _Tracked(msgspec.Struct):
    stream: str
    replica: Replica
    checks: Health
    io: ReplicaIO
    book: health.ReplicaHealth
    due: tuple[float, str] | None = None  # as its book has it
    busy: bool = False
    settled: bool = False  # and its app was told so


@final
class Probing:
    """The health of all running replicas.

    Args:
        prober: asks one question.
        changed: called with an app's stream when one of its replicas became ready, unready or
            failed.
        clock: monotonic seconds.
        now: seconds since the epoch, as engines report them.
    """

    def __init__(
        self,
        prober: Prober,
        *,
        changed: Callable[[str], None],
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._prober, self._changed = prober, changed
        self._clock, self._now = clock, now
        self._tracked: dict[str, _Tracked] = {}
        self._by_stream: dict[str, set[str]] = defaultdict(set)
        self._due: list[tuple[float, int, str]] = []
        self._order = count()
        self._moved = asyncio.Event()
        self._tasks: dict[asyncio.Task[None], None] = {}  # in the order of their beginning

    def observe(
        self, stream: str, replicas: Iterable[tuple[Replica, Health]], io: ReplicaIO
    ) -> list[Seen]:
        """Take in an app's replicas, each with its revision's checks; say what they are worth."""
        seen: list[Seen] = []
        running: set[str] = set()
        now = self._clock()
        for replica, checks in replicas:
            if replica.state is not ReplicaState.RUNNING:
                seen.append(Seen(replica))
                continue
            running.add(replica.id)
            seen.append(self._worth(self._track(stream, replica, checks, io, now), now))
        for gone in self._by_stream[stream] - running:
            del self._tracked[gone]
        self._by_stream[stream] = running
        if not running:
            del self._by_stream[stream]
        return seen

    def forget(self, stream: str) -> None:
        """Ask the replicas of an app no more: there is no such app."""
        for gone in self._by_stream.pop(stream, ()):
            del self._tracked[gone]

    def trouble(self, replica: Replica) -> str:
        """What keeps a replica from being ready, in a sentence; empty if nothing is known."""
        tracked = self._tracked.get(replica.id)
        return health.trouble(tracked.book) if tracked else ""

    def __len__(self) -> int:
        return len(self._tracked)

    async def run(self) -> None:
        """Ask what is due, for ever."""
        try:
            while True:
                self._ask_due()
                await self._wait()
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _track(
        self, stream: str, replica: Replica, checks: Health, io: ReplicaIO, now: float
    ) -> _Tracked:
        tracked = self._tracked.get(replica.id)
        if tracked is not None and tracked.checks == checks:
            tracked.replica, tracked.io = replica, io  # its engine may have been opened anew
            return tracked
        ran = max(0.0, self._now() - replica.started_at) if replica.started_at else 0.0
        book = health.opened(checks, now, ran)
        tracked = _Tracked(stream, replica, checks, io, book)
        self._tracked[replica.id] = tracked
        self._schedule(tracked)
        tracked.settled = health.settled(book, now)
        if not tracked.settled:
            self._push(book.started + health.MIN_READY_SECONDS, replica.id)
        return tracked

    def _worth(self, tracked: _Tracked, now: float) -> Seen:
        book, replica = tracked.book, tracked.replica
        return Seen(
            replica,
            ready=health.ready(book, replica, now),
            failed=health.failed(book, tracked.checks, replica, now),
            known=health.known(book, now),
        )

    def _schedule(self, tracked: _Tracked) -> None:
        due = tracked.due = tracked.book.due()
        if due is not None:
            self._push(due[0], tracked.replica.id)

    def _push(self, at: float, replica: str) -> None:
        heapq.heappush(self._due, (at, next(self._order), replica))
        self._moved.set()

    def _ask_due(self) -> None:
        now, loop = self._clock(), asyncio.get_running_loop()
        queue, all_tracked = self._due, self._tracked
        while queue and queue[0][0] <= now and len(self._tasks) < AT_ONCE:
            tracked = all_tracked.get(heapq.heappop(queue)[2])
            if tracked is None:
                continue
            if not tracked.settled:
                self._settle(tracked, now)
            due = tracked.due
            if due is not None and due[0] <= now and not tracked.busy:
                tracked.busy = True
                task = asyncio.Task(self._ask(tracked, due[1]), loop=loop, eager_start=True)
                if not task.done():
                    self._tasks[task] = None
                    task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._moved.set()  # there is room for one more

    def _settle(self, tracked: _Tracked, now: float) -> None:
        """Tell of one that has run for long enough; times are rounded, so it may be too early."""
        tracked.settled = health.settled(tracked.book, now)
        if tracked.settled:
            self._changed(tracked.stream)
        else:
            at = tracked.book.started + health.MIN_READY_SECONDS
            self._push(max(at, now + ROUNDING), tracked.replica.id)

    async def _ask(self, tracked: _Tracked, name: str) -> None:
        check: Check | None = getattr(tracked.checks, name)
        assert check is not None, "only checks that exist have a tally"
        try:
            result = await self._prober.probe(check, tracked.replica, tracked.io)
        except Exception as error:
            _log.exception("probe broke", replica=tracked.replica.id)
            result = ProbeResult(passed=False, message=repr(error))
        tracked.busy = False
        if self._tracked.get(tracked.replica.id) is not tracked:
            return
        now = self._clock()
        book, passed = tracked.book, result.passed
        if passed and book.repeats(name, check, result.message, now):
            self._schedule(tracked)
            return
        before = self._worth(tracked, now)
        health.record(book, name, check, passed=passed, message=result.message, now=now)
        after = self._worth(tracked, now)
        if (before.ready, before.failed, before.known) != (after.ready, after.failed, after.known):
            self._changed(tracked.stream)
        self._schedule(tracked)

    async def _wait(self) -> None:
        self._moved.clear()
        is_full = len(self._tasks) >= AT_ONCE
        due = self._due[0][0] if self._due and not is_full else None
        timeout = None if due is None else max(0.0, due - self._clock())
        try:
            async with asyncio.timeout(timeout):
                await self._moved.wait()
        except TimeoutError:
            return
