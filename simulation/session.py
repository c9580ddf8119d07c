"""A session with the simulated broker, which behaves as one over nats-py does.

Each subscription is a task that calls its handler for one message after the other; all end with
the session, in the middle of what they do. Who waits for an answer then waits in vain until it is
late.
"""

import asyncio
from itertools import count
from typing import Final, final, override

from bus.nats.session import (
    ASK_SECONDS,
    UNANSWERED_PINGS,
    Handler,
    Leave,
    Message,
    NatsUnavailable,
    Session,
)
from bus.nats.subjects import own_inbox
from simulation.exchange import Exchange, Interest, Party
from simulation.message_faults import MessageFaults
from simulation.witness import Witness

VERSION: Final = "2.11.0"
FLUSH_SECONDS: Final = 10.0  # until a server that does not answer counts as not having subscribed


@final
class SimulatedSession(Session, Party):
    """Made by `simulation.broker.Broker.open`; `number` tells it from all others."""

    def __init__(
        self, name: str, number: int, exchange: Exchange, faults: MessageFaults, witness: Witness
    ) -> None:
        self.name = name
        self.number = number
        self.is_known = True
        self.version = VERSION
        self.ended = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self._exchange = exchange
        self._faults = faults
        self._witness = witness
        self._inboxes = count(1)
        self._unanswered = 0
        self._reason = ""

    @property
    @override
    def is_open(self) -> bool:
        return not self.ended.is_set()

    @property
    @override
    def reason(self) -> str:
        return self._reason

    @override
    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        reply: str = "",
    ) -> None:
        self._check_open()
        self._exchange.send(self, Message(subject, reply, data, dict(headers or {})))

    @override
    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        self._check_open()
        answers: asyncio.Queue[Message] = asyncio.Queue()
        inbox = Interest(self, self.new_inbox(), answers.put_nowait)
        self._exchange.listen(inbox)
        try:
            asked = Message(subject, inbox.subject, data, dict(headers or {}))
            if not self._exchange.send(self, asked):
                self._witness.happened["unheard"] += 1
                raise NatsUnavailable("no responders available for request")
            async with asyncio.timeout(ASK_SECONDS):
                return (await answers.get()).data
        except TimeoutError as error:
            self._witness.note(f"{self.name} has no answer on {subject}", "unanswered")
            raise NatsUnavailable("timeout") from error
        finally:
            self._exchange.leave(inbox)

    @override
    async def subscribe_ready(self, subject: str, handler: Handler, *, queue: str = "") -> Leave:
        self._check_open()
        if self.name in self._faults.cut or not self.is_known:
            await asyncio.sleep(FLUSH_SECONDS)
            raise NatsUnavailable("timeout")
        arrived: asyncio.Queue[Message] = asyncio.Queue()
        task = asyncio.create_task(self._hand_over(arrived, handler))
        self.tasks.append(task)
        interest = Interest(self, subject, arrived.put_nowait, queue)
        self._exchange.listen(interest)
        await asyncio.sleep(0)
        self._check_open()

        async def leave() -> None:
            self._exchange.leave(interest)
            task.cancel()

        return leave

    @override
    def new_inbox(self) -> str:
        return f"{own_inbox(self.name)}.{self.number}.{next(self._inboxes)}"

    @override
    async def close(self) -> None:
        self.end("closed")
        await asyncio.sleep(0)

    def end(self, reason: str) -> None:
        """Let it end, as the last thing that the client hears of the server."""
        if self.is_open:
            self._reason = reason
            self.ended.set()
            self._witness.note(f"session {self.number} of {self.name} ends: {reason}", "ended")
            for task in self.tasks:
                task.cancel()

    def ping(self) -> None:
        """See whether the server is there; the third time in a row that it is not is the end."""
        is_answered = self.name not in self._faults.cut and self.is_known
        self._unanswered = 0 if is_answered else self._unanswered + 1
        if self._unanswered > UNANSWERED_PINGS:
            self.end("stale connection")

    async def _hand_over(self, arrived: asyncio.Queue[Message], handler: Handler) -> None:
        while True:
            message = await arrived.get()
            try:
                await handler(message)
            except Exception as error:  # noted, as nats-py does, and the next one comes
                self._reason = str(error) or type(error).__name__
                self._witness.note(f"{self.name} fails at {message.subject}: {error!r}", "failed")

    def _check_open(self) -> None:
        if not self.is_open:
            raise NatsUnavailable("connection closed")
