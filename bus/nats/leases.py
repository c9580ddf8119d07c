"""Leases in a JetStream bucket, on the bare protocol: written on top of the revision last seen.

nats-py's own key-value client is of no use here: what it creates cannot be taken over, and what it
updates never ends. A look may be answered by a server that lags behind: then the write that follows
from it fails. What is told over core NATS only says that there is something to see.
"""

import asyncio
from typing import Any, Final, final, override

import msgspec
import structlog

from bus.leases import Entry, LeaseRaced, LeaseStore, LeasesUnavailable, Look
from bus.nats import streams
from bus.nats.connection import Part
from bus.nats.lease_records import KEYS, LEASES_STREAM, NOT_FOUND, LeaseRecords
from bus.nats.session import JetStreamRefused, Message, NatsUnavailable, Session
from bus.nats.subjects import LEASE_NEWS

BUCKET: Final[dict[str, Any]] = {
    "name": LEASES_STREAM,
    "description": "Which worker decides over what",
    "subjects": [f"{KEYS}.>"],
    "retention": "limits",
    "storage": "file",
    "discard": "new",
    "max_msgs_per_subject": 1,
    "allow_direct": True,
}
_WRONG_REVISION: Final = 10071

_log = structlog.get_logger(__name__)


@final
class NatsLeases(Part, LeaseStore):
    """Args: `installation` owns the bucket; `replicas` on a cluster."""

    def __init__(self, installation: str, *, replicas: int = 1) -> None:
        self.name = "leases"
        self._installation, self._replicas = installation, replicas
        self._session: Session | None = None
        self._records: LeaseRecords | None = None
        self._news = asyncio.Event()

    @override
    async def attach(self, session: Session) -> None:
        await streams.ensure_stream(session, BUCKET, self._installation, self._replicas)
        records = LeaseRecords(session)
        await records.listen()
        await session.subscribe_ready(LEASE_NEWS, self._told)
        self._session, self._records = session, records
        self._news.set()

    @override
    async def look(self) -> Look:
        session = self._open_session()
        assert self._records is not None, "attached together with the session"
        try:
            found = await self._records.read()
        except JetStreamRefused as refused:
            if refused.code == NOT_FOUND:
                await self._make_again(session)
            raise LeasesUnavailable(str(refused)) from refused
        except NatsUnavailable as error:
            raise LeasesUnavailable(str(error)) from error
        return Look(found.entries, int(found.born), found.now - found.born)

    @override
    async def write(self, key: str, value: bytes, *, after: int, tell: bool = True) -> int:
        session = self._open_session()
        subject = f"{KEYS}.{key}"
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
        request = {"filter": f"{KEYS}.{entry.key}", "seq": entry.revision + 1}
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

    async def _told(self, _message: Message) -> None:
        self._news.set()

    def _open_session(self) -> Session:
        session = self._session
        if session is None or not session.is_open:
            raise LeasesUnavailable("there is no connection to NATS")
        return session
