"""A client for programs that hand in intents over NATS, and that watch what comes of them.

`ask` answers when the intent is on disk. `submit` leaves it in the submit stream and goes on, also
while no control plane runs; `outcome` waits for what became of it. Whatever gets no answer is sent
again under the same idempotency key, so it is done once. nats-py is not seen from here.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from random import Random
from types import TracebackType
from typing import Final, Self, TypedDict, Unpack, final, override
from weakref import WeakValueDictionary
from zlib import crc32

from bus.envelopes import intent_envelope
from bus.intents import Answer, Change
from bus.nats.client import NatsSession
from bus.nats.connection import NatsConnection, Part
from bus.nats.credentials import Credentials
from bus.nats.replies import (
    Conflict,
    Invalid,
    NotAllowed,
    NotThere,
    Refused,
    Submitted,
    Unanswered,
    accepted,
    answered,
    decided,
)
from bus.nats.session import Message, NatsUnavailable, Opening, Server, Session
from bus.nats.settings import NoMetrics
from bus.nats.subjects import PREFIX, intent_subject, message_id, submit_subject
from bus.nats.tls import Tls
from bus.nats.watching import Event, Following, Gap, Watch, event_subjects
from domain.names import Ref

__all__ = [
    "Answer",
    "Change",
    "Conditions",
    "Conflict",
    "Credentials",
    "Event",
    "Gap",
    "Invalid",
    "NotAllowed",
    "NotThere",
    "Producer",
    "Refused",
    "Submitted",
    "Tls",
    "Unanswered",
    "Watch",
]

PATIENCE: Final = 60.0  # seconds, in which an answer is tried for
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
FIRST_SILENCE: Final = 10.0  # seconds without an outcome, until it is submitted once more
LONGEST_SILENCE: Final = 600.0
EVENTS_WAITING: Final = 1_000


class Conditions(TypedDict, total=False):
    """An intent is refused unless the resource is still at `generation`, and after `expires`."""

    generation: int
    expires: datetime


@final
class Producer(Part):
    """A program that is connected while its context lasts, for ever trying to be.

    Args:
        servers: of one cluster, as `nats://HOST:PORT` or `tls://HOST:PORT`; any of them will do.
        actor: the program's name: that of its user, and the token of its subjects.
        random: for jitter, so that many programs do not come back at once.
        credentials: how it logs in.
        tls: authorities and certificates.
        source: named in each message as where it comes from; the actor if empty.
        opening: how a session is opened.
    """

    def __init__(
        self,
        servers: Sequence[str],
        actor: str,
        *,
        random: Random,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        source: str = "",
        opening: Opening = NatsSession.open,
    ) -> None:
        self.name = f"producer {actor}"
        self._actor = actor
        self._source = source or f"/{actor}"
        self._random = random
        login, tls = credentials or Credentials(), tls or Tls()
        where = [Server(url=url, name=actor, credentials=login, tls=tls) for url in servers]
        self._connection = NatsConnection(
            opening, lambda: where, _admitted, (self,), random=random, metrics=NoMetrics()
        )
        self._running: asyncio.Task[None] | None = None
        self._submitted: WeakValueDictionary[str, Submitted] = WeakValueDictionary()
        self._followings: dict[Following, None] = {}

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._connection.run(), name=self.name)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        assert self._running is not None
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    @override
    async def attach(self, session: Session) -> None:
        for what in ("accepted", "refused"):
            await session.subscribe_ready(f"{PREFIX}.{what}.{self._actor}.>", self._decided)
        for following in list(self._followings):
            await following.attach(session)

    async def ask(
        self,
        verb: str,
        resource: str,
        data: object = None,
        *,
        key: str,
        patience: float = PATIENCE,
        **conditions: Unpack[Conditions],
    ) -> Answer:
        """Ask for something, and return once it is on disk.

        Args:
            verb: `apply`, `scale`, ..., as the reference of intents names them.
            resource: as `App/shop/web`.
            data: of `apply` the manifest, or those of a project; else the verb's parameters.
            key: the idempotency key; the same with the same content is done once.
            patience: seconds, in which it is sent again and again under this key.
            conditions: what else must be so.

        Raises:
            Refused: nothing changed.
            Unanswered: nobody knows.
            BadValue: the resource cannot be written so.
        """
        ref = Ref.parse(resource)
        envelope = intent_envelope(verb, ref, data, key=key, source=self._source, **conditions)

        async def once(session: Session) -> Answer:
            return answered(await session.ask(intent_subject(self._actor, ref), envelope))

        return await self._patiently(once, key, patience)

    async def submit(
        self,
        verb: str,
        resource: str,
        data: object = None,
        *,
        key: str,
        patience: float = PATIENCE,
        **conditions: Unpack[Conditions],
    ) -> Submitted:
        """Leave an intent in the submit stream, and return once it is kept there.

        It is decided after all earlier ones of its resource. The arguments are those of `ask`.

        Raises:
            Unanswered: nobody knows whether it is kept.
            BadValue: the resource cannot be written so.
        """
        ref = Ref.parse(resource)
        envelope = intent_envelope(verb, ref, data, key=key, source=self._source, **conditions)
        submitted = self._submitted.get(key)
        if submitted is None or submitted.envelope != envelope:
            submitted = Submitted(key, submit_subject(self._actor, ref), envelope)
            self._submitted[key] = submitted
        await self._store(submitted, 1, patience)
        return submitted

    async def outcome(self, submitted: Submitted, *, patience: float = PATIENCE) -> Answer:
        """Wait for what became of a submission.

        Outcomes are told once. After a silence it is submitted again under the same key, whose
        first answer is then told anew.

        Raises:
            Refused: nothing changed.
            Unanswered: it is not decided yet, or nobody could tell.
        """
        silence, round_ = FIRST_SILENCE, 1
        try:
            async with asyncio.timeout(patience):
                while not submitted.decided.done():
                    await asyncio.wait({submitted.decided}, timeout=self._jittered(silence))
                    if not submitted.decided.done():
                        silence, round_ = min(2 * silence, LONGEST_SILENCE), round_ + 1
                        await self._store(submitted, round_, patience)
        except TimeoutError:
            why = self._connection.reason or "it is not decided yet"
            raise Unanswered(submitted.key, patience, why) from None
        return accepted(submitted.decided.result())

    @asynccontextmanager
    async def watch(
        self,
        resource: str = "",
        *,
        project: str = "",
        after: int = 0,
        waiting: int = EVENTS_WAITING,
    ) -> AsyncIterator[Watch]:
        """Watch what happens from now on: to one resource, in a project, or everywhere.

        Args:
            resource: as `App/shop/web`.
            project: its name.
            after: the position up to which all is known already, for the first gap.
            waiting: how many events may wait to be taken before some are dropped, as a gap.
        """
        following = Following(event_subjects(resource, project), after=after, waiting=waiting)
        self._followings[following] = None  # before it listens, lest a new session passes it by
        try:
            while True:
                session = await self._connection.opened()
                try:
                    await following.attach(session)
                    break
                except NatsUnavailable:
                    await asyncio.sleep(self._jittered(FIRST_PAUSE))
            yield Watch(following)
        finally:
            del self._followings[following]
            await following.leave()

    async def _store(self, submitted: Submitted, round_: int, patience: float) -> None:
        # By its content, too: of another under the same key, somebody has to say that it is wrong.
        content = f"{crc32(submitted.envelope):08x}"
        identity = message_id(self._actor, f"{submitted.key}:{content}:{round_}")

        async def once(session: Session) -> int:
            return await session.store(submitted.subject, submitted.envelope, identity)

        submitted.sequence = await self._patiently(once, submitted.key, patience)

    async def _patiently[T](
        self, once: Callable[[Session], Awaitable[T]], key: str, patience: float
    ) -> T:
        """Try until it is done, or declined for good."""
        why, pause = "", FIRST_PAUSE
        try:
            async with asyncio.timeout(patience):
                while True:
                    await self._connection.ready()  # or an outcome might come before it is heard
                    session = await self._connection.opened()
                    try:
                        return await once(session)
                    except NatsUnavailable as error:
                        why = str(error)
                    except Refused as refused:
                        if not refused.problem.retry:
                            raise
                        why = str(refused)
                    await asyncio.sleep(self._jittered(pause))
                    pause = min(2 * pause, LONGEST_PAUSE)
        except TimeoutError:
            raise Unanswered(key, patience, why or self._connection.reason) from None

    async def _decided(self, message: Message) -> None:
        told = decided(message.data)
        submitted = self._submitted.get(told.key or "") if told else None
        if told and submitted and not submitted.decided.done():
            submitted.decided.set_result(told.outcome)

    def _jittered(self, pause: float) -> float:
        return pause * self._random.uniform(0.5, 1.5)


async def _admitted(_session: Session) -> None:
    """Any server will do: whose streams those are is the control plane's concern."""
