"""The NATS micro protocol, so that `nats micro ls` finds the intent service and sees its numbers.

Spoken here rather than through nats-py's own class: that one takes an intent for done when it is
merely queued, so its numbers would be wrong.
"""

from datetime import datetime
from typing import Any, Final, final

import msgspec

from bus.nats.session import Message, NatsUnavailable, Session
from bus.nats.subjects import DISCOVERY, INTENTS, may_answer

NAME: Final = "stateward-intents"
VERSION: Final = "1.0.0"
QUEUE: Final = "stateward"
DESCRIPTION: Final = "Takes intents as CloudEvents and answers once they are on disk"
_TYPE: Final = "io.nats.micro.v1.{}_response"


@final
class Discovery:
    """Answers who, what and how busy. `count` is told of every intent.

    Args:
        instance: names this process among those that answer intents.
        started: when it began.
    """

    def __init__(self, instance: str, started: datetime) -> None:
        self._instance = instance
        self._started = started
        self._requests = 0
        self._errors = 0
        self._nanoseconds = 0
        self._last_error = ""

    def count(self, seconds: float, error: str = "") -> None:
        self._requests += 1
        self._nanoseconds += int(seconds * 1_000_000_000)
        if error:
            self._errors += 1
            self._last_error = error

    async def attach(self, session: Session) -> None:
        for verb, tell in (("PING", self._ping), ("INFO", self._info), ("STATS", self._stats)):

            async def asked(message: Message, tell: Any = tell, verb: str = verb) -> None:
                if may_answer(message.reply):
                    told = self._identity(verb) | tell()
                    try:
                        await session.publish(message.reply, msgspec.json.encode(told))
                    except NatsUnavailable:
                        return  # who asked will ask again

            for who in ("", f".{NAME}", f".{NAME}.{self._instance}"):
                await session.subscribe_ready(f"{DISCOVERY}.{verb}{who}", asked)

    def _identity(self, verb: str) -> dict[str, object]:
        return {
            "type": _TYPE.format(verb.lower()),
            "name": NAME,
            "id": self._instance,
            "version": VERSION,
            "metadata": {},
        }

    def _ping(self) -> dict[str, object]:
        return {}

    def _info(self) -> dict[str, object]:
        endpoint = {"name": "intent", "subject": INTENTS, "queue_group": QUEUE, "metadata": {}}
        return {"description": DESCRIPTION, "endpoints": [endpoint]}

    def _stats(self) -> dict[str, object]:
        endpoint = {
            "name": "intent",
            "subject": INTENTS,
            "queue_group": QUEUE,
            "num_requests": self._requests,
            "num_errors": self._errors,
            "last_error": self._last_error,
            "processing_time": self._nanoseconds,
            "average_processing_time": self._nanoseconds // max(self._requests, 1),
        }
        return {"started": self._started, "endpoints": [endpoint]}
