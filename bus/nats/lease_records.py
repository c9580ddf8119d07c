"""All records of the leases as one session reads them: the last of each, in few requests.

It writes nothing, so whoever only wants to know may use it, too.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, final

import msgspec

from bus.leases import Entry
from bus.nats.session import JetStreamRefused, Message, NatsUnavailable, Session
from bus.nats.subjects import LEASES

LEASES_STREAM: Final = f"KV_{LEASES}"
KEYS: Final = f"$KV.{LEASES}"
MOST_AT_ONCE: Final = 1000  # records in one answer; the server gives 1,024 at most
NOT_FOUND: Final = 404
_TOO_MANY: Final = "413"


class Reading(NamedTuple):
    """Times are seconds since the epoch by the server's clock: when each record was written, when
    the bucket was made, and now.
    """

    entries: Sequence[Entry]
    written: Mapping[str, float]
    born: float
    now: float


@final
class LeaseRecords:
    """Reads on one session; `listen` first."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._inbox = session.new_inbox()
        self._asked = 0
        self._answers: dict[str, _Answer] = {}

    async def listen(self) -> None:
        """Raises `NatsUnavailable`: the session ended."""
        await self._session.subscribe_ready(f"{self._inbox}.*", self._answered)

    async def read(self) -> Reading:
        """Read everything.

        Raises:
            JetStreamRefused: there is no bucket, with the code `NOT_FOUND`.
            NatsUnavailable: not now.
        """
        found = await self._last([f"{KEYS}.>"])
        # Asked last: of a bucket that was made anew meanwhile, nothing is old enough.
        about = await self._session.ask_api(f"STREAM.INFO.{LEASES_STREAM}")
        if found is None:
            found = await self._in_parts()
        entries, written = [], {}
        for message in found:
            key = message.headers["Nats-Subject"].removeprefix(f"{KEYS}.")
            entries.append(Entry(key, message.data, int(message.headers["Nats-Sequence"])))
            written[key] = _seconds(message.headers["Nats-Time-Stamp"])
        return Reading(entries, written, _seconds(about["created"]), _seconds(about["ts"]))

    async def _in_parts(self) -> list[Message]:
        asked = {"subjects_filter": f"{KEYS}.>"}
        about = await self._session.ask_api(f"STREAM.INFO.{LEASES_STREAM}", asked)
        subjects = sorted(about["state"].get("subjects") or {})
        found: list[Message] = []
        for first in range(0, len(subjects), MOST_AT_ONCE):
            found += await self._last(subjects[first : first + MOST_AT_ONCE]) or []
        return found

    async def _last(self, subjects: Sequence[str]) -> list[Message] | None:
        """The last message of each subject, in one request; None: too many for one answer."""
        self._asked += 1
        inbox = f"{self._inbox}.{self._asked}"
        answer = self._answers[inbox] = _Answer()
        ended = asyncio.create_task(self._session.ended.wait())
        try:
            request = msgspec.json.encode({"multi_last": list(subjects)})
            subject = f"$JS.API.DIRECT.GET.{LEASES_STREAM}"
            await self._session.publish(subject, request, reply=inbox)
            await asyncio.wait((answer.status, ended), return_when=asyncio.FIRST_COMPLETED)
            if not answer.status.done():
                raise NatsUnavailable(self._session.reason or "the connection ended")
        finally:
            ended.cancel()
            del self._answers[inbox]
        status = answer.status.result()
        if status == "503":
            raise JetStreamRefused(subject, {"code": NOT_FOUND, "description": "no bucket"})
        return None if status == _TOO_MANY else answer.messages

    async def _answered(self, message: Message) -> None:
        answer = self._answers.get(message.subject)
        if answer is not None:
            answer.take(message)


@final
class _Answer:
    """Messages, and at their end a status."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def take(self, message: Message) -> None:
        status = message.headers.get("Status", "")
        if not status:
            self.messages.append(message)
        elif not self.status.done():
            self.status.set_result(status)


def _seconds(written: str) -> float:
    """Seconds since the epoch of a time as JetStream writes it, in nanoseconds."""
    return datetime.fromisoformat(written).timestamp()
