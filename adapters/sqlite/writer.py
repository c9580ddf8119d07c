"""The writer thread: takes all that waits, commits it at once, answers all at once.

It never ends by an error: whoever waits is told `LogUnavailable`, and the next group starts with a
connection of its own.
"""

import asyncio
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import structlog

from adapters.files.headfile import HeadKeeper
from adapters.sqlite.ledger import Ledger
from bus.grouping import Answer, Request
from bus.log import Head, LogUnavailable

GROUP_EVENTS = 2000  # events in one transaction: some 20 ms of work
SWEEP_SECONDS = 3600.0

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Errand:
    """Something else to do with the log between two groups, and who waits for it."""

    run: Callable[[Ledger], object]
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """What became of a group. `head` is the log's afterwards, `taken` counts the given up too."""

    taken: int
    requests: Sequence[Request]
    answers: Sequence[Answer]
    head: Head


type Job = Request | Errand | None  # None: end after what came before


@final
class Writer:
    def __init__(
        self,
        ledger: Ledger,
        keeper: HeadKeeper,
        *,
        now: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Outcome], None],
    ) -> None:
        self._ledger = ledger
        self._keeper = keeper
        self._now = now
        self._loop = loop
        self._deliver = deliver
        self._jobs: queue.SimpleQueue[Sequence[Job]] = queue.SimpleQueue()
        self._collected: list[Job] = []
        self._next_sweep = now()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def put(self, job: Request | Errand) -> None:
        """Have something done. What comes in one round of the loop is handed over together.

        Else the thread would wake at the first, and each of its statements would wait for the
        interpreter while the loop makes the others.
        """
        if not self._collected:
            self._loop.call_soon(self.hand_over)
        self._collected.append(job)

    def hand_over(self) -> None:
        """Let the thread have what was collected; called on the loop."""
        jobs, self._collected = self._collected, []
        if jobs:
            self._jobs.put(jobs)

    def close(self) -> None:
        """Do what was handed over, then end. Blocks until done."""
        self._jobs.put([None])
        self._thread.join()

    def _run(self) -> None:
        waiting: deque[Job] = deque()
        while True:
            self._drain(waiting)
            job = waiting[0]
            if job is None:
                break
            if isinstance(job, Errand):
                waiting.popleft()
                self._do(job)
            else:
                before = len(waiting)
                requests = _take_group(waiting)
                self._commit(requests, before - len(waiting))
        self._ledger.close()

    def _drain(self, waiting: deque[Job]) -> None:
        if not waiting:
            waiting.extend(self._jobs.get())
        with suppress(queue.Empty):
            while True:
                waiting.extend(self._jobs.get_nowait())

    def _commit(self, requests: Sequence[Request], taken: int) -> None:
        before = self._ledger.head
        answers: Sequence[Answer]
        try:
            answers = self._ledger.commit(requests)
        except Exception as error:
            _log.exception("log.group_failed", appends=len(requests))
            answers = [_unexpected(error) for _ in requests]
            self._ledger.abandon()
        head = self._ledger.head
        if head is not before:
            self._keeper.note(head)
        self._call(self._deliver, Outcome(taken, requests, answers, head))
        self._sweep()

    def _do(self, errand: Errand) -> None:
        try:
            result = errand.run(self._ledger)
        except sqlite3.Error as error:
            self._ledger.recover(error)
            self._call(_fail, errand.future, self._ledger.explain(error, "do this"))
        except Exception as error:
            _log.exception("log.errand_failed")
            self._ledger.abandon()
            self._call(_fail, errand.future, _unexpected(error))
        else:
            self._call(_finish, errand.future, result)

    def _sweep(self) -> None:
        if self._now() < self._next_sweep:
            return
        try:
            more = self._ledger.sweep_keys()
        except sqlite3.Error as error:
            self._ledger.recover(error)
            _log.warning("log.keys_not_swept", error=str(error))
            more = False
        if not more:
            self._next_sweep = self._now() + SWEEP_SECONDS

    def _call[*Ts](self, function: Callable[[*Ts], None], *arguments: *Ts) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, *arguments)


def _take_group(waiting: deque[Job]) -> list[Request]:
    """Take the appends that stand first, up to the limit; those nobody waits for are dropped."""
    requests: list[Request] = []
    events = 0
    while waiting and events < GROUP_EVENTS:
        request = waiting[0]
        if not isinstance(request, Request):
            break
        waiting.popleft()
        if not request.future.cancelled():
            requests.append(request)
            events += len(request.events)
    return requests


def _unexpected(error: Exception) -> LogUnavailable:
    return LogUnavailable(f"the log's writer met an error it does not know: {error!r}; try again")


def _finish(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
