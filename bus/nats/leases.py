"""Leases in a JetStream bucket, on the bare protocol: written on top of the revision last seen.

nats-py's own key-value client is of no use here: what it creates cannot be taken over, and what it
updates never ends. A look may be answered by a server that lags behind: then the write that follows
from it fails. What is told over core NATS only says that there is something to see.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, final, override

import msgspec
import structlog

from bus.leases import Entry, LeaseRaced, LeaseStore, LeasesUnavailable, Look
from bus.nats import streams
from bus.nats.connection import Part
from bus.nats.session import JetStreamRefused, Message, NatsUnavailable, Session
from bus.nats.subjects import LEASE_NEWS, LEASES

LEASES_STREAM: Final = f"KV_{LEASES}"
_KEYS: Final = f"$KV.{LEASES}"
BUCKET: Final[dict[str, Any]] = {
    "name": LEASES_STREAM,
    "description": "Which worker decides over what",
    "subjects": [f"{_KEYS}.>"],
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs_per_subject": 1,
    "allow_direct": True,
}
MOST_AT_ONCE: Final = 1000  # records in one answer; the server gives 1,024 at most
_TOO_MANY: Final = "413"
_NOT_FOUND: Final = 404
_WRONG_REVISION: Final = 10071

_log = structlog.get_logger(__name__)


@final
class NatsLeases(Part, LeaseStore):
    """Args: `installation` owns the bucket; `replicas` on a cluster."""

    def __init__(self, installation: str, *, replicas: int = 1) -> None:
        self.name = "leases"
        self._installation, self._replicas = installation, replicas
        self._session: Session | None = None
        self._inbox = ""
        self._asked = 0
        self._answers: dict[str, Callable[[Message], None]] = {}
        self._news = asyncio.Event()

    @override
    async def attach(self, session: Session) -> None:
        await streams.ensure_stream(session, BUCKET, self._installation, self._replicas)
        inbox = session.new_inbox()
        await session.subscribe_ready(f"{inbox}.*", self._answered)
        await session.subscribe_ready(LEASE_NEWS, self._told)
        self._session, self._inbox = session, inbox
        self._news.set()

    @override
    async def look(self) -> Look:
        session = self._open_session()
        try:
            entries = await self._last(session, [f"{_KEYS}.>"])
            # Asked last: of a bucket that was made anew meanwhile, nothing is old enough.
            about = await session.ask_api(f"STREAM.INFO.{LEASES_STREAM}")
            if entries is None:
                entries = await self._in_parts(session)
        except JetStreamRefused as refused:
            if refused.code == _NOT_FOUND:
                await self._make_again(session)
            raise LeasesUnavailable(str(refused)) from refused
        except NatsUnavailable as error:
            raise LeasesUnavailable(str(error)) from error
        born, seen = _seconds(about["created"]), _seconds(about["ts"])
        return Look(entries, int(born), seen - born)

    @override
    async def write(self, key: str, value: bytes, *, after: int, tell: bool = True) -> int:
        session = self._open_session()
        subject = f"{_KEYS}.{key}"
        expected = {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            answer = msgspec.json.decode(
                await session.ask(subject, value, expected), type=dict[str, Any]
            )
            error = answer.get("error")
            if error is None and tell:
                await session.publish(LEASE_NEWS, b"")
        except NatsUnavailable as trouble:
            raise LeasesUnavailable(str(trouble)) from trouble
        if error is None:
            return int(answer["seq"])
        if error.get("err_code") == _WRONG_REVISION:
            raise LeaseRaced(f"{key} has not revision {after} any more")
        raise LeasesUnavailable(f"{key} was not written: {error.get('description', error)}")

    @override
    async def forget(self, entry: Entry) -> None:
        request = {"filter": f"{_KEYS}.{entry.key}", "seq": entry.revision + 1}
        try:
            await self._open_session().ask_api(f"STREAM.PURGE.{LEASES_STREAM}", request)
        except NatsUnavailable as error:
            raise LeasesUnavailable(str(error)) from error

    @override
    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()

    async def _make_again(self, session: Session) -> None:
        """Somebody deleted the bucket: all who hold something find that their records are gone."""
        _log.warning("the bucket of the leases is gone, and made anew")
        await streams.ensure_stream(session, BUCKET, self._installation, self._replicas)

    async def _in_parts(self, session: Session) -> list[Entry]:
        asked = {"subjects_filter": f"{_KEYS}.>"}
        about = await session.ask_api(f"STREAM.INFO.{LEASES_STREAM}", asked)
        subjects = sorted(about["state"].get("subjects") or {})
        found: list[Entry] = []
        for first in range(0, len(subjects), MOST_AT_ONCE):
            part = await self._last(session, subjects[first : first + MOST_AT_ONCE])
            found += part or []
        return found

    async def _last(self, session: Session, subjects: Sequence[str]) -> list[Entry] | None:
        """The last message of each subject, in one request; None: too many for one answer."""
        self._asked += 1
        inbox = f"{self._inbox}.{self._asked}"
        complete: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        entries: list[Entry] = []

        def take(message: Message) -> None:
            status = message.headers.get("Status", "")
            if status:
                if not complete.done():
                    complete.set_result(status)
                return
            subject = message.headers["Nats-Subject"]
            key = subject.removeprefix(f"{_KEYS}.")
            entries.append(Entry(key, message.data, int(message.headers["Nats-Sequence"])))

        self._answers[inbox] = take
        ended = asyncio.create_task(session.ended.wait())
        try:
            request = msgspec.json.encode({"multi_last": list(subjects)})
            subject = f"$JS.API.DIRECT.GET.{LEASES_STREAM}"
            await session.publish(subject, request, reply=inbox)
            await asyncio.wait((complete, ended), return_when=asyncio.FIRST_COMPLETED)
            if not complete.done():
                raise NatsUnavailable(session.reason or "the connection ended")
        finally:
            ended.cancel()
            del self._answers[inbox]
        if complete.result() == "503":
            raise JetStreamRefused(subject, {"code": _NOT_FOUND, "description": "no bucket"})
        return None if complete.result() == _TOO_MANY else entries

    async def _answered(self, message: Message) -> None:
        take = self._answers.get(message.subject)
        if take is not None:
            take(message)

    async def _told(self, _message: Message) -> None:
        self._news.set()

    def _open_session(self) -> Session:
        session = self._session
        if session is None or not session.is_open:
            raise LeasesUnavailable("there is no connection to NATS")
        return session


def _seconds(written: str) -> float:
    """Seconds since the epoch of a time as JetStream writes it, in nanoseconds."""
    return datetime.fromisoformat(written).timestamp()
