"""What a daemon tells by itself, as hints.

The daemon keeps few past events, so a broken subscription may have missed any: after each new one
everything is to be listed again. The subscription begins a moment in the past, because the daemon
says it has begun a moment before it has.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import final, override

import msgspec
import structlog
from docker.errors import APIError

from adapters.docker import labels
from adapters.docker.connection import ANSWER_TIMEOUT, Connection, check, url
from adapters.docker.facts import Facts
from adapters.docker.feed import Feed, Lines
from reconcilers.ports import EngineEvent, EngineEvents, EngineUnavailable

OVERLAP = 1.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds between attempts to connect
ACTIONS = (
    "start",
    "die",
    "oom",
    "stop",
    "kill",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "health_status",
)

_log = structlog.get_logger(__name__)


class _Actor(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(default="", name="ID")
    attributes: dict[str, str] = {}


class _Happening(msgspec.Struct, rename="pascal"):
    actor: _Actor


@final
class DockerEvents(EngineEvents):
    def __init__(
        self,
        connection: Connection,
        installation: str,
        facts: Facts,
        *,
        now: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._docker = connection
        self._installation = installation
        self._facts = facts
        self._now = now
        self._rng = rng

    @override
    async def watch(self) -> AsyncGenerator[EngineEvent]:
        pause = FIRST_PAUSE
        while True:
            feed = Feed(self._subscribe)
            try:
                async for happening in feed:
                    pause = FIRST_PAUSE
                    yield self._hint(happening)
            except (EngineUnavailable, APIError) as error:
                _log.info("events.broken", host=self._docker.host, error=str(error))
            finally:
                feed.close()
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.5))
            pause = min(2 * pause, LONGEST_PAUSE)

    def _hint(self, happening: _Happening | None) -> EngineEvent:
        if happening is None:
            return EngineEvent(None)
        self._facts.call_off(happening.actor.id)
        about = happening.actor.attributes
        project, app = about.get(labels.PROJECT), about.get(labels.APP)
        return EngineEvent((project, app) if project and app else None)

    def _subscribe(self) -> "_Subscription":
        wanted = {
            "type": ["container"],
            "label": [f"{labels.INSTALLATION}={self._installation}"],
            "event": list(ACTIONS),
        }
        with self._docker.connected() as client:
            answer = client.get(
                url(client, "/events"),
                params={
                    "filters": json.dumps(wanted),
                    "since": f"{self._now() - OVERLAP:.6f}",
                },
                stream=True,
                timeout=(ANSWER_TIMEOUT, None),
            )
            check(answer)
        return _Subscription(self._docker, Lines(answer))


@final
class _Subscription:
    """First None, for whatever happened before; then what happens."""

    def __init__(self, connection: Connection, lines: Lines) -> None:
        self._docker = connection
        self._lines = lines
        self.cancel = lines.cancel
        self.close = lines.close

    def __iter__(self) -> Iterator[_Happening | None]:
        yield None
        with self._docker.connected():
            for line in self._lines:
                yield msgspec.json.decode(line, type=_Happening)
