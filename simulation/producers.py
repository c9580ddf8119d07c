"""Programs that hand in intents over the bus: some wait for the answer, some do not."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final, final

import msgspec

from bus.intents import Answer
from bus.nats.session import NatsUnavailable, Session
from bus.nats.subjects import intent_subject, message_id, submit_subject
from domain.names import Ref
from simulation.broker import Broker

ACTOR: Final = "robot"
AGAIN_SECONDS: Final = 1.0

type Answered = Callable[[str, str, Answer], None]
"""Told of every answer: of which actor, under which key, and what it says."""


def envelope(verb: str, ref: Ref, key: str, data: object) -> bytes:
    """An intent as a CloudEvent."""
    return json.dumps(
        {
            "specversion": "1.0",
            "type": f"stateward.{ref.kind.lower()}.{verb}.v1",
            "id": key,
            "source": f"/{ACTOR}",
            "subject": ref.stream,
            "data": data,
        }
    ).encode()


@final
class Producer:
    """One program. `submitted` are the keys that JetStream took and nobody has answered for."""

    def __init__(self, broker: Broker, answered: Answered) -> None:
        self._broker, self._answered = broker, answered
        self._session: Session | None = None
        self.submitted: dict[str, Ref] = {}
        self.refused: dict[str, str] = {}

    async def request(self, verb: str, ref: Ref, key: str, data: object) -> None:
        """Ask until there is an answer, under one key."""
        await self.send(ref, key, envelope(verb, ref, key, data))

    async def send(self, ref: Ref, key: str, message: bytes) -> None:
        """Ask in any words until there is an answer, which is kept under the key."""
        while True:
            try:
                session = await self._open()
                raw = await session.ask(intent_subject(ACTOR, ref), message)
            except NatsUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            said: dict[str, Any] = json.loads(raw)
            if "position" in said:
                answer = msgspec.convert(said, Answer)
                self._answered(f"program:{ACTOR}", key, answer)
                return
            if not said.get("retry"):
                self.refused[key] = str(said.get("detail"))
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def submit(self, verb: str, ref: Ref, key: str, data: object) -> None:
        """Store it in the submit stream, and wait for no answer."""
        await self.store(ref, key, envelope(verb, ref, key, data))

    async def store(self, ref: Ref, key: str, message: bytes) -> None:
        """Store any words in the submit stream."""
        while True:
            try:
                session = await self._open()
                await session.store(submit_subject(ACTOR, ref), message, message_id(ACTOR, key))
            except NatsUnavailable:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            self.submitted[key] = ref
            return

    async def _open(self) -> Session:
        if self._session is None or not self._session.is_open:
            self._session = await self._broker.open(ACTOR)
        return self._session
