"""The writer: takes all that waits, has it committed by one call, answers all at once.

One connection of its own, one group at a time. An append is never sent again unless it is known
not to be written, or carries a key: then asking again does no harm, and tells what became of it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, final

import structlog

from adapters.postgres.plan import Plan, settle
from adapters.postgres.server import Connection, Server, let_go
from adapters.postgres.trouble import TROUBLE, explain, is_gone, is_poison, refuses_writes
from bus.grouping import Answer, Request
from bus.log import (
    Appended,
    Head,
    LogError,
    LogRewound,
    LogUnavailable,
    VersionConflict,
    once_more,
)

GROUP_EVENTS: Final = 2000  # events in one transaction: some 20 ms of work
SWEEP_AFTER: Final = 60.0  # seconds from the start, which has enough to do
SWEEP_SECONDS: Final = 3600.0
SWEEP_ROWS: Final = 500  # few enough that the sweep is never noticed
KEY_LIFETIME: Final = 7 * 86400.0  # seconds

_APPEND = "SELECT * FROM stateward.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
_SWEEP_KEYS = (
    "DELETE FROM stateward.keys WHERE ctid = ANY (ARRAY("
    "SELECT ctid FROM stateward.keys WHERE at < $1 LIMIT $2))"
)

_log = structlog.get_logger()


class Owner(Protocol):
    """Who has the writer, and hears of what it did."""

    @property
    def rewound(self) -> LogRewound | None:
        """Why nothing may be written, when the log went backwards."""
        ...

    async def admit(self, connection: Connection) -> None:
        """Look at a server before anything is sent to it."""
        ...

    def committed(self, head: Head) -> None: ...

    def declined(self, error: LogUnavailable, *, refuses: bool) -> None:
        """A group was not written; `refuses` if the server answers, and takes nothing."""
        ...


type _Settled = list[tuple[Request, Answer]]


@final
class Writer:
    def __init__(self, server: Server, owner: Owner, *, now: Callable[[], float]) -> None:
        self._server = server
        self._owner = owner
        self._now = now
        self._connection: Connection | None = None
        self._waiting: deque[Request] = deque()
        self._errands: deque[tuple[Callable[[Connection], Awaitable[Any]], asyncio.Future[Any]]]
        self._errands = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._thinking = 0.0  # seconds of the loop, that a caller takes from an answer to the next
        self._next_sweep = now() + SWEEP_AFTER
        self._task = asyncio.create_task(self._run(), name="log writer")

    @property
    def waiting(self) -> int:
        """How many appends wait, without those that are being written."""
        return len(self._waiting)

    def put(self, request: Request) -> None:
        self._waiting.append(request)
        self._news.set()

    async def run[T](self, errand: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something else on the writer's connection, between two groups.

        Raises:
            LogUnavailable: it was not done, or nobody knows.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._errands.append((errand, future))
        self._news.set()
        return await future

    async def room(self) -> None:
        """Wait until a group was taken."""
        self._room.clear()
        await self._room.wait()

    async def close(self) -> None:
        """Do what was asked until now, then let go of the connection."""
        self._closing = True
        self._news.set()
        await self._task

    async def _run(self) -> None:
        while self._waiting or self._errands or not self._closing:
            if self._errands:
                await self._do(*self._errands.popleft())
            elif self._waiting:
                began = asyncio.get_running_loop().time()
                settled = await self._committed(_take_group(self._waiting))
                self._room.set()
                await self._answer(settled, asyncio.get_running_loop().time() - began)
                await self._sweep()
            else:
                self._news.clear()
                await self._news.wait()
        self._room.set()
        await self._drop()

    async def _answer(self, settled: _Settled, seconds: float) -> None:
        """Answer a group that took `seconds`, so that neither the database nor a caller idles.

        Where the database is the slower of the two, all callers come back at once, and the next
        group is as large as can be. Else some work out what they ask next while it writes what the
        others have asked.
        """
        loop = asyncio.get_running_loop()
        first = len(settled)
        if seconds < self._thinking * len(settled):
            first = 0 if self._waiting else len(settled) // 2
        began = loop.time()
        _tell(settled[:first])
        await asyncio.sleep(0)  # here they work, until each asks again or waits for something else
        if first:
            self._thinking = (loop.time() - began) / first
        loop.call_soon(_tell, settled[first:])

    async def _committed(self, requests: Sequence[Request]) -> _Settled:
        try:
            return await self._settled(requests)
        except Exception as error:
            _log.exception("log.group_failed", appends=len(requests))
            await self._drop()
            told = LogUnavailable(f"the log's writer met an error it does not know: {error!r}")
            return [(request, told) for request in requests]

    async def _settled(self, requests: Sequence[Request]) -> _Settled:
        """Have each append written or decided against."""
        settled: _Settled = []
        pending = list(requests)
        alone = resent = False
        while pending:
            plan = _plan(pending[:1] if alone else pending)
            try:
                decided, left = await self._send(plan, pending)
            except (*TROUBLE, LogError) as error:
                await self._recover(error)
                if is_poison(error):
                    return settled + await self._halved(plan, pending, error)
                again = [r for r in pending if r.key is not None] if not resent else []
                if is_gone(error) and again:
                    resent = True
                    settled += self._declined([r for r in pending if r.key is None], error)
                    pending = again
                    continue
                return settled + self._declined(pending, error)
            # What refutes a group may be of no use to any one of it; one append, it decides.
            alone = not decided
            settled += decided
            pending = left
        return settled

    async def _send(self, plan: Plan, pending: list[Request]) -> tuple[_Settled, list[Request]]:
        connection = await self._connected()
        if self._owner.rewound is not None:
            raise once_more(self._owner.rewound)
        reply = await connection.fetchrow(_APPEND, *plan.arguments(self._now()))
        if reply is None:
            raise LogUnavailable("PostgreSQL answered an append by nothing")
        if not reply["written"]:
            return settle(pending, plan.refuted(reply))
        self._owner.committed(Head(reply["head"], reply["seal"]))
        start = reply["start"]
        decided: _Settled = list(zip(plan.requests, plan.answers(start), strict=True))
        written = set(map(id, plan.requests))
        held = [request for request in pending if id(request) not in written]
        more, left = settle(held, plan.facts(start, reply["versions"] or ()))
        return decided + more, left

    async def _halved(self, plan: Plan, pending: list[Request], error: BaseException) -> _Settled:
        """One of them cannot be written: the others are, and that one is found."""
        if len(pending) > 1:
            middle = len(pending) // 2
            first = await self._settled(pending[:middle])
            return first + await self._settled(pending[middle:])
        (request,) = pending
        if plan.requests and request.versions is not None:
            event, version = request.events[0], request.versions[0]
            return [(request, VersionConflict(event.stream, version - 1, version))]
        return [(request, explain(error, self._server.shown, "append"))]

    def _declined(self, requests: Sequence[Request], error: BaseException) -> _Settled:
        if isinstance(error, LogRewound):
            return [(request, once_more(error)) for request in requests]
        told = error
        if not isinstance(told, LogUnavailable):
            told = explain(error, self._server.shown, "append")
        self._owner.declined(told, refuses=refuses_writes(error))
        return [(request, type(told)(str(told))) for request in requests]

    async def _connected(self) -> Connection:
        """The open connection; a new one where the last has ended."""
        if self._connection is not None and self._connection.is_closed():
            self._connection = None
        if self._connection is None:
            connection = await self._server.connect("writer")
            try:
                await self._owner.admit(connection)
            except BaseException:
                await let_go(connection)
                raise
            self._connection = connection
        return self._connection

    async def _recover(self, error: BaseException) -> None:
        """Be ready for the next group; after a failover, it goes to another server."""
        if is_gone(error) or refuses_writes(error):
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await let_go(connection)

    async def _do(
        self, errand: Callable[[Connection], Awaitable[Any]], future: asyncio.Future[Any]
    ) -> None:
        try:
            result = await errand(await self._connected())
        except TROUBLE as error:
            await self._recover(error)
            told: Exception = explain(error, self._server.shown, "change the log")
        except Exception as error:
            told = error
        else:
            if not future.done():
                future.set_result(result)
            return
        if not future.done():
            future.set_exception(told)

    async def _sweep(self) -> None:
        """Forget some of the keys that are old; when that fails, it is for another hour."""
        now = self._now()
        if now < self._next_sweep or self._connection is None or self._connection.is_closed():
            return
        more = False
        try:
            told = await self._connection.execute(_SWEEP_KEYS, now - KEY_LIFETIME, SWEEP_ROWS)
            more = told == f"DELETE {SWEEP_ROWS}"
        except TROUBLE as error:
            _log.warning("log.keys_not_swept", error=str(error))
            await self._recover(error)
        if not more:
            self._next_sweep = now + SWEEP_SECONDS


def _plan(pending: Sequence[Request]) -> Plan:
    plan = Plan()
    for request in pending:
        plan.add(request)
    return plan


def _take_group(waiting: deque[Request]) -> list[Request]:
    """Take the appends that stand first, up to the limit; those nobody waits for are dropped."""
    requests: list[Request] = []
    events = 0
    while waiting and events < GROUP_EVENTS:
        request = waiting.popleft()
        if not request.future.done():
            requests.append(request)
            events += len(request.events)
    return requests


def _tell(settled: _Settled) -> None:
    for request, answer in settled:
        future = request.future
        if future.done():  # its caller gave up
            continue
        if isinstance(answer, Appended):
            future.set_result(answer)
        else:
            future.set_exception(answer)
