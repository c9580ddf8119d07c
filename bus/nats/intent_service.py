"""Intents by request and reply: answered when they are on disk, or refused with a problem.

The callback of a subscription runs for one message at a time, so it only starts a task; a bounded
number of them run, and who comes on top is told to come again.
"""

import asyncio
from typing import Final, final, override

import msgspec
import structlog

from bus.intents import Answer
from bus.log import LogError
from bus.nats.connection import Part
from bus.nats.discovery import QUEUE, Discovery
from bus.nats.reception import Reception
from bus.nats.session import Message, NatsUnavailable, Session
from bus.nats.settings import BusMetrics
from bus.nats.subjects import INTENTS, may_answer
from bus.problems import Overloaded, Problem, problem
from domain.refusals import Refusal

ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
GRACE_SECONDS: Final = 5.0  # for what is being decided when the service stops

_log = structlog.get_logger(__name__)
_INTERNAL: Final = Problem(
    type="urn:stateward:problem:Internal",
    title="Something is wrong with Stateward itself",
    status=500,
    detail="the intent could not be decided because of a fault; send it again under the same key",
    code="Internal",
    retry=True,
)


@final
class NatsIntentService(Part):
    """Answers requests on `stateward.v1.intent.>`.

    Args:
        reception: reads and hands in.
        discovery: tells of this service.
        metrics: told of every answer.
        at_once: how many intents may be in the making.
    """

    def __init__(
        self, reception: Reception, discovery: Discovery, metrics: BusMetrics, *, at_once: int
    ) -> None:
        self.name = "intent service"
        self._reception = reception
        self._discovery = discovery
        self._metrics = metrics
        self._at_once = at_once
        self._session: Session | None = None
        self._running: dict[asyncio.Task[None], None] = {}  # in the order of their beginning
        self._stopping = False

    @override
    async def attach(self, session: Session) -> None:
        self._session = session
        await session.subscribe_ready(INTENTS, self._arrived, queue=QUEUE)
        await self._discovery.attach(session)

    async def stop(self) -> None:
        """Take no more, and wait a while for what is being decided."""
        self._stopping = True
        if not self._running:
            return
        await asyncio.wait(self._running, timeout=GRACE_SECONDS)
        for task in list(self._running):
            task.cancel()

    async def _arrived(self, message: Message) -> None:
        if len(self._running) >= self._at_once or self._stopping:
            full = Overloaded(
                f"{len(self._running)} intents are being decided and no more are taken; "
                "send it again a little later, under the same key"
            )
            await self._respond(message, problem(full), 0.0)
            return
        task = asyncio.create_task(self._serve(message))
        self._running[task] = None
        task.add_done_callback(lambda done: self._running.pop(done, None))

    async def _serve(self, message: Message) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer: Answer | Problem
        try:
            received = self._reception.read(message.subject, message.data)
            answer = await self._reception.hand_in(received)
        except (Refusal, LogError) as error:
            answer = problem(error)
        except Exception:
            _log.exception("an intent could not be decided", subject=message.subject)
            answer = _INTERNAL
        await self._respond(message, answer, loop.time() - began)

    async def _respond(self, message: Message, answer: Answer | Problem, seconds: float) -> None:
        headers: dict[str, str] | None = None
        if isinstance(answer, Problem):
            self._metrics.answered("intent", answer.code, seconds)
            self._discovery.count(seconds, answer.detail)
            headers = {ERROR: _line(answer.detail), ERROR_CODE: str(answer.status)}
        else:
            self._metrics.answered("intent", "repeated" if answer.repeated else "accepted", seconds)
            self._discovery.count(seconds)
        if not may_answer(message.reply) or self._session is None:
            self._metrics.dropped("answers", 1)
            return
        try:
            # Whoever asked on a session that has ended is reached over the present one.
            await self._session.publish(message.reply, msgspec.json.encode(answer), headers)
        except NatsUnavailable:
            self._metrics.dropped("answers", 1)


def _line(text: str) -> str:
    """A header's value: one line of printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:1024]
