"""The submit stream: intents of producers that do not wait for an answer.

Each is decided after all earlier ones of the same resource, and appended; its outcome is kept on
its `accepted` or `refused` subject, and only then is it acknowledged. Nothing is lost: what was not
acknowledged comes again, and the idempotency key makes the second time harmless.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Final, final, override

import msgspec
import structlog

from bus.envelopes import MAX_KEY
from bus.intents import Answer
from bus.log import KeyReused, LogError
from bus.manifests import SecretManifest
from bus.nats import streams
from bus.nats.connection import Part
from bus.nats.lanes import Lanes
from bus.nats.outcomes import Outcomes
from bus.nats.reception import Received, Reception
from bus.nats.session import Message, NatsUnavailable, Session
from bus.nats.settings import BusMetrics
from bus.nats.subjects import (
    accepted_subject,
    intent_subject,
    message_id,
    refused_subject,
    sender,
)
from bus.problems import problem
from domain.refusals import BadValue, NotPossible, Overtaken, Refusal

FIRST_PAUSE: Final = 0.1  # seconds before a submission is tried again
LONGEST_PAUSE: Final = 5.0
AT_ONCE: Final = 64
MESSAGE_ID: Final = "Nats-Msg-Id"
REMEMBERED: Final = 50_000  # resources whose last submission is known

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Delivery:
    """A submission in our hands. `reply` acknowledges it, and changes when it comes again."""

    sequence: int
    reply: str
    message: Message


class _Id(msgspec.Struct):
    """All that is needed of a message to tell its sender that it is refused."""

    id: str


@final
class SubmitConsumer(Part):
    """Decides what is on `stateward.v1.submit.>`. One process at a time may be attached.

    Args:
        reception: reads and hands in.
        installation: owner of the streams, and named as the source of outcomes.
        metrics: told of every decision.
        now: aware UTC time.
        random: for jitter between attempts.
        replicas: of the streams, on a cluster.
    """

    def __init__(
        self,
        reception: Reception,
        installation: str,
        metrics: BusMetrics,
        *,
        now: Callable[[], datetime],
        random: Random,
        replicas: int = 1,
    ) -> None:
        self.name = "submit stream"
        self._reception = reception
        self._installation = installation
        self._outcomes = Outcomes(installation, now)
        self._metrics = metrics
        self._random = random
        self._replicas = replicas
        self._session: Session | None = None
        self._inbox = ""
        self._lanes = Lanes()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._held: dict[int, _Delivery] = {}
        self._applied: OrderedDict[str, int] = OrderedDict()

    @override
    async def attach(self, session: Session) -> None:
        for config in (streams.SUBMIT, streams.REFUSED, streams.ACCEPTED):
            await streams.ensure_stream(session, config, self._installation, self._replicas)
        inbox = session.new_inbox()
        await session.subscribe_ready(inbox, self.arrived)
        self._session, self._inbox = session, inbox
        await streams.renew_consumer(session, inbox)

    async def run(self) -> None:
        """Keep the server patient about what takes long, and the consumer ours, until cancelled."""
        while True:
            await asyncio.sleep(streams.ACK_SECONDS / 3)
            for delivery in list(self._held.values()):
                await self._say(delivery, b"+WPI")
            await self._take_over()

    async def _take_over(self) -> None:
        """Renew the consumer if nobody takes care of it any more."""
        session = self._session
        if session is None or not session.is_open:
            return
        try:
            if not await streams.is_heard(session):
                _log.warning("nobody took care of the submit stream; it is taken over")
                await streams.renew_consumer(session, self._inbox)
        except NatsUnavailable as error:
            _log.debug("the submit stream cannot be looked at", reason=str(error))

    async def stop(self) -> None:
        """Let go of what is not decided; it comes again at the next start."""
        await self._lanes.stop()

    async def arrived(self, message: Message) -> None:
        """Take a delivery, once: a repeat of what is in the making only renews its reply."""
        sequence = streams.sequence(message.reply)
        if sequence is None:
            return
        known = self._held.get(sequence)
        if known is not None:
            known.reply = message.reply
            return
        delivery = _Delivery(sequence, message.reply, message)
        self._held[sequence] = delivery
        try:
            _check_identity(message)
            received = self._reception.read(message.subject, message.data)
            _check_no_values(received)
        except Refusal as refusal:
            refused = refusal
            self._lanes.add((), lambda: self._refuse(delivery, None, refused))
            return
        lanes = [item.ref.stream for item in received.submission.asked]
        self._lanes.add(lanes, lambda: self._process(delivery, received, lanes))

    async def _process(self, delivery: _Delivery, received: Received, lanes: list[str]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._slots:
                    answer = await self._reception.hand_in(
                        received, lambda: self._check_order(delivery, received, lanes)
                    )
            except (Refusal, KeyReused) as refusal:
                await self._refuse(delivery, received, refusal)
                return
            except LogError as error:
                _log.warning("a submission has to wait for the log", reason=str(error))
            except Exception:
                _log.exception("a submission could not be decided", sequence=delivery.sequence)
            else:
                self._remember(lanes, delivery.sequence)
                self._metrics.answered("submit", _result(answer), loop.time() - began)
                notice = self._outcomes.accepted(delivery.sequence, received.submission, answer)
                await self._conclude(delivery, accepted_subject(delivery.message.subject), notice)
                return
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_PAUSE)

    def _check_order(self, delivery: _Delivery, received: Received, lanes: list[str]) -> None:
        latest = max((self._applied.get(lane, 0) for lane in lanes), default=0)
        if latest > delivery.sequence:
            raise Overtaken(received.submission.ref, delivery.sequence, latest)

    def _remember(self, lanes: list[str], sequence: int) -> None:
        for lane in lanes:
            self._applied[lane] = max(sequence, self._applied.pop(lane, 0))
        while len(self._applied) > REMEMBERED:
            self._applied.popitem(last=False)

    async def _refuse(
        self, delivery: _Delivery, received: Received | None, error: Refusal | KeyReused
    ) -> None:
        why = problem(error)
        self._metrics.answered("submit", why.code, 0.0)
        message = delivery.message
        key = received.submission.key if received else _key(message)
        subject = str(received.submission.ref) if received else message.subject
        notice = self._outcomes.refused(delivery.sequence, subject, key, why)
        await self._conclude(delivery, refused_subject(message.subject), notice)

    async def _conclude(self, delivery: _Delivery, subject: str, notice: bytes) -> None:
        """Keep the outcome, however long that takes, and then let go of the submission."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._store(delivery, subject, notice)
            except NatsUnavailable as trouble:
                _log.warning("an outcome could not be stored yet", reason=str(trouble))
                await asyncio.sleep(pause * self._random.uniform(0.5, 1.5))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                await self._settle(delivery)
                return

    async def _store(self, delivery: _Delivery, subject: str, notice: bytes) -> None:
        if self._session is None:
            raise NatsUnavailable("nothing was ever connected")
        # The sequence makes it unique for as long as the stream lives.
        await self._session.store(subject, notice, f"{subject}:{delivery.sequence}")

    async def _settle(self, delivery: _Delivery) -> None:
        """Acknowledge it. If that is lost it comes again, and gets its first answer."""
        await self._say(delivery, b"+ACK")
        self._held.pop(delivery.sequence, None)

    async def _say(self, delivery: _Delivery, word: bytes) -> None:
        if self._session is None:
            return
        try:
            await self._session.publish(delivery.reply, word)
        except NatsUnavailable as error:
            _log.debug("the submit stream could not be told", reason=str(error))


def _check_identity(message: Message) -> None:
    """Refuse a `Nats-Msg-Id` that is not the sender's own.

    All producers share the window in which a repeated one is dropped: with the id of another, a
    submission would take the place of that one's.
    """
    actor, given = sender(message.subject).actor, message.headers.get(MESSAGE_ID)
    if given is not None and not given.startswith(message_id(actor, "")):
        rule = f"it begins with who sends: write {message_id(actor, '<idempotency key>')}"
        raise BadValue(MESSAGE_ID, given, rule)


def _key(message: Message) -> str | None:
    """The idempotency key of what could not be read: its `id`, or by its `Nats-Msg-Id`."""
    try:
        return msgspec.json.decode(message.data, type=_Id).id[:MAX_KEY]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        given = message.headers.get(MESSAGE_ID)
        return given and given.partition(":")[2]


def _check_no_values(received: Received) -> None:
    """Refuse Secrets: what waits in the stream lies on its disk as it was sent, unencrypted."""
    for item in received.submission.asked:
        if isinstance(item, SecretManifest):
            subject = intent_subject(received.actor.name.rpartition(":")[2], item.ref)
            raise NotPossible(
                f"{item.ref}: a Secret is not taken from the submit stream, where its values would "
                f"lie unencrypted; ask on {subject} or over HTTP, and change these values, "
                "for they were in the stream",
                resource=str(item.ref),
            )


def _result(answer: Answer) -> str:
    return "repeated" if answer.repeated else "accepted"
