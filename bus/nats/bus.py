"""The bus on NATS as one thing: a server of our own or another's, and all that speaks over it.

`start` returns at once and `publish` never waits: with NATS down everything else works, and the
bus comes back by itself when NATS does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from random import Random
from typing import Final, final

import structlog

from bus.intents import IntentService
from bus.log import StoredEvent
from bus.nats.client import NatsSession
from bus.nats.connection import NatsConnection, Part
from bus.nats.discovery import Discovery
from bus.nats.hints import Hinted, HintSubscriber
from bus.nats.intent_service import NatsIntentService
from bus.nats.publisher import Publisher
from bus.nats.reception import ActorOf, Reception
from bus.nats.server import EmbeddedServer, ServerTrouble
from bus.nats.session import Opening, Server, shown_address
from bus.nats.settings import BusMetrics, BusStatus, NatsSettings, NoMetrics
from bus.nats.streams import check_owner
from bus.nats.submit import SubmitConsumer

AGAIN_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


@final
class NatsBus:
    """Intents in, events and hints out and in.

    Args:
        settings: which NATS.
        intents: where intents go.
        actor_of: the actor of a subject's token.
        hinted: told where to look; must not block.
        installation: whose events these are.
        now: aware UTC time.
        random: for jitter.
        metrics: told what happens.
        opening: how a session is opened.
        is_gateway: intents come in here.
        parts: what else listens on every session.
    """

    def __init__(  # noqa: PLR0913 -- the assembly hands in one of each part
        self,
        settings: NatsSettings,
        intents: IntentService,
        *,
        actor_of: ActorOf,
        hinted: Hinted,
        installation: str,
        now: Callable[[], datetime],
        random: Random,
        metrics: BusMetrics | None = None,
        opening: Opening = NatsSession.open,
        is_gateway: bool = True,
        parts: Sequence[Part] = (),
    ) -> None:
        self._settings = settings
        self._metrics = metrics or NoMetrics()
        self._server = (
            EmbeddedServer(settings.directory, restarted=self._restarted)
            if settings.directory is not None
            else None
        )
        reception = Reception(intents, actor_of)
        self._service = NatsIntentService(
            reception,
            Discovery(settings.instance, now()),
            self._metrics,
            at_once=settings.intents_at_once,
        )
        self._submit = SubmitConsumer(
            reception,
            installation,
            self._metrics,
            now=now,
            random=random,
            replicas=settings.replicas,
        )
        self._connection = NatsConnection(
            opening,
            self._servers,
            lambda session: check_owner(session, installation),
            (
                *((self._service, self._submit) if is_gateway else ()),
                HintSubscriber(hinted, self._metrics),
                *parts,
            ),
            random=random,
            metrics=self._metrics,
        )
        self._publisher = Publisher(
            lambda: self._connection.session,
            installation,
            self._metrics,
            waiting=settings.events_waiting,
            partitions=settings.hint_partitions,
        )
        self._trouble = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the server, if it is ours, and begin to connect.

        A server that cannot be started is no reason to fail: `status` says why, and what can be
        done about it.
        """
        if self._server is not None:
            try:
                await self._server.start()
            except (ServerTrouble, OSError) as error:
                self._trouble = str(error)
                _log.error("there is no bus", reason=self._trouble)
        for name, work in (
            ("connection", self._connection.run),
            ("publisher", self._publisher.run),
            ("submit stream", self._submit.run),
        ):
            self._tasks.append(asyncio.create_task(_supervised(name, work), name=f"nats {name}"))

    async def ready(self) -> None:
        """Wait until connected, with everything listening."""
        await self._connection.ready()

    async def stop(self) -> None:
        """Finish what is being decided, disconnect, and end the server if it is ours."""
        await self._service.stop()
        await self._submit.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._server is not None:
            await self._server.stop()

    def publish(self, events: Sequence[StoredEvent]) -> None:
        """Tell of the events of one group commit, soon. Never blocks or raises."""
        self._publisher.publish(events)

    def status(self) -> BusStatus:
        connection = self._connection
        return BusStatus(
            embedded=self._server is not None,
            connected=connection.session is not None,
            url=self._address(),
            reason=self._trouble or connection.reason,
            server_version=connection.server_version,
            server_restarts=0 if self._server is None else self._server.restarts,
            reconnects=max(connection.sessions - 1, 0),
            parts=tuple(sorted(connection.attached)),
            published=self._publisher.published,
            dropped=self._publisher.dropped,
        )

    def _servers(self) -> Sequence[Server]:
        if self._server is not None:
            return (Server(url=self._server.url, credentials=self._server.credentials),)
        return self._settings.external

    def _address(self) -> str:
        """The server that is used, or all that might be."""
        if self._connection.session is not None:
            return shown_address(self._connection.url)
        return ", ".join(shown_address(server.url) for server in self._servers())

    def _restarted(self) -> None:
        self._metrics.server_restarted()
        self._connection.hurry()


async def _supervised(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a part that never ends, and again if it does by a fault, which is logged."""
    while True:
        try:
            await work()
        except Exception:
            _log.exception("a part of the bus failed and is started again", part=name)
        await asyncio.sleep(AGAIN_SECONDS)
