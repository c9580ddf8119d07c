"""Statuses that processes share: put here, in a table a moment later, and read back from there.

Asking and putting never wait for the database. What is put is written in batches, under the term
of whoever decides: an older one never replaces a newer. What others put comes by a hint, and
without one by the next look, so it is seen a little later, with the time at which it was so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Self, final, override

import asyncpg
import msgspec
import structlog

from adapters.postgres.server import Connection, Server
from adapters.postgres.trouble import TROUBLE, explain
from bus.log import LogError
from reconcilers.status import AppStatus, StatusMemory, StatusStore, TargetStatus, Term

CHANNEL: Final = "stateward_status"
FLOCK_SECONDS: Final = 0.05  # in which what is put is written together
POLL_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 0.5
PAGE: Final = 2000
_TARGET: Final = "Target/"

# Changes are handed out in the order of commits, so that nobody who reads on misses one.
_TURN: Final = "SELECT pg_advisory_xact_lock(8315168253862016871)"
_PUT: Final = (
    "INSERT INTO stateward.statuses AS known (about, asked, epoch, change, body)"
    " SELECT about, asked, epoch, nextval('stateward.status_changes'), body"
    " FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bytea[])"
    " AS put (about, asked, epoch, body)"
    " ON CONFLICT (about) DO UPDATE SET"
    " asked = CASE WHEN excluded.body IS NULL THEN known.asked ELSE excluded.asked END,"
    " epoch = CASE WHEN excluded.body IS NULL THEN known.epoch ELSE excluded.epoch END,"
    " change = excluded.change, body = excluded.body, at = now()"
    " WHERE excluded.body IS NULL"  # as `Term.replaces` has it
    " OR CASE WHEN known.asked <> excluded.asked AND known.epoch <> excluded.epoch"
    " THEN known.asked < excluded.asked ELSE known.epoch <= excluded.epoch END"
    " RETURNING about, change"
)
_TELL: Final = f"SELECT pg_notify('{CHANNEL}', '')"
_TIDY: Final = "DELETE FROM stateward.statuses WHERE body IS NULL AND at < now() - interval '1 day'"
_READ: Final = (
    "SELECT about, asked, epoch, change, body FROM stateward.statuses WHERE change > $1"
    " ORDER BY change LIMIT $2"
)
_log = structlog.get_logger("statuses")
_encode = msgspec.json.encode
_app = msgspec.json.Decoder(AppStatus)
_target = msgspec.json.Decoder(TargetStatus)


class _Put(NamedTuple):
    term: Term
    body: bytes | None


@final
class PostgresStatuses(StatusStore):
    """Made by `open`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._memory = StatusMemory()
        self._waiting: dict[str, _Put] = {}
        self._under_way: dict[str, _Put] = {}
        self._written: dict[str, int] = {}  # the change as which something of ours was written
        self._put = asyncio.Event()
        self._told = asyncio.Event()
        self._seen = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.trouble = ""
        """Why what is put here is not seen by others, or the other way round."""

    @classmethod
    async def open(cls, url: str) -> Self:
        """Begin to write and to read, as soon as the database answers and as long as it does."""
        store = cls(Server(url))
        for name, work in (("writes", store._write), ("reads", store._read)):
            task = asyncio.create_task(store._always(name, work), name=f"statuses {name}")
            store._tasks.append(task)
        return store

    async def close(self) -> None:
        """Write what waits, if that is possible at once, and let go."""
        with suppress(LogError, TimeoutError):
            async with asyncio.timeout(1), self._server.connected("statuses end") as connection:
                await self._write_waiting(connection)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- the store ----------------------------------------------------------------------------

    @override
    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None:
        self._memory.put(stream, status, epoch, asked)
        self._later(stream, _Put(Term(asked, epoch), _encode(status)))

    @override
    def get(self, stream: str) -> AppStatus | None:
        return self._memory.get(stream)

    @override
    def drop(self, stream: str) -> None:
        self._memory.drop(stream)
        self._later(stream, _Put(Term(0, 0), None))

    @override
    def put_target(self, name: str, status: TargetStatus, epoch: int = 1) -> None:
        self._memory.put_target(name, status, epoch)
        self._later(f"{_TARGET}{name}", _Put(Term(0, epoch), _encode(status)))

    @override
    def get_target(self, name: str) -> TargetStatus | None:
        return self._memory.get_target(name)

    @override
    def changes(self) -> Sequence[str]:
        return self._memory.changes()

    def _later(self, about: str, put: _Put) -> None:
        self._waiting[about] = put
        self._put.set()

    # -- the database -------------------------------------------------------------------------

    async def _always(self, name: str, work: Callable[[Connection], Awaitable[None]]) -> None:
        while True:
            try:
                async with self._server.connected(f"statuses {name}") as connection:
                    await work(connection)
            except LogError as error:
                self._say(str(error))
            except TROUBLE as error:
                self._say(str(explain(error, self._server.shown, "share statuses")))
            except Exception:
                _log.exception("statuses are not shared now")
            await asyncio.sleep(RETRY_SECONDS)

    async def _write(self, connection: Connection) -> None:
        while True:
            await self._put.wait()
            await asyncio.sleep(FLOCK_SECONDS)
            await self._write_waiting(connection)

    async def _write_waiting(self, connection: Connection) -> None:
        self._put.clear()
        if not self._waiting:
            return
        self._under_way, self._waiting = self._waiting, {}
        taken = self._under_way
        try:
            async with connection.transaction():
                await connection.execute(_TURN)
                written = await connection.fetch(
                    _PUT,
                    list(taken),
                    [put.term.asked for put in taken.values()],
                    [put.term.epoch for put in taken.values()],
                    [put.body for put in taken.values()],
                )
                await connection.execute(_TELL)
        except BaseException:
            self._waiting = {**taken, **self._waiting}
            self._put.set()
            raise
        else:
            self._written.update((about, change) for about, change in written)
        finally:
            self._under_way = {}
        if any(put.body is None for put in taken.values()):
            await connection.execute(_TIDY)

    async def _read(self, connection: Connection) -> None:
        await connection.add_listener(CHANNEL, lambda *_told: self._told.set())
        self._seen, self._written = 0, {}  # it may be another database, which knows less
        while True:
            self._told.clear()
            while rows := await connection.fetch(_READ, self._seen, PAGE):
                for row in rows:
                    self._take(row)
            self._say("")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._told.wait()

    def _take(self, row: asyncpg.Record) -> None:
        about, asked, epoch, change, body = row
        self._seen = change
        ours = self._waiting.get(about) or self._under_way.get(about)
        if ours is not None and (ours.body is None or ours.term.replaces(Term(asked, epoch))):
            return  # it is about to be replaced
        if change < self._written.get(about, 0):
            return  # it was read before it was replaced
        try:
            if body is None:
                self._memory.drop(about)
            elif about.startswith(_TARGET):
                self._memory.put_target(about.removeprefix(_TARGET), _target.decode(body), epoch)
            else:
                self._memory.put(about, _app.decode(body), epoch, asked)
        except msgspec.MsgspecError as error:
            _log.warning("a status cannot be read", about=about, error=str(error))

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            _log.info("shared statuses", trouble=trouble or "none")
        self.trouble = trouble
