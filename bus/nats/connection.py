"""Being connected: sessions one after the other, for ever, with all parts attached to each.

Of several servers any will do: each attempt goes through all of them in a new order, so that the
clients of a server that went are divided among the others. Nothing waits for NATS: parts that want
to say something look whether there is a session, and do without if there is none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, Protocol, final

import structlog

from bus.nats.session import NatsUnavailable, Opening, Server, Session, shown_address
from bus.nats.settings import BusMetrics
from bus.nats.streams import ForeignStream
from bus.nats.versions import UnsupportedServer

FIRST_PAUSE: Final = 0.1  # seconds between two attempts
LONGEST_PAUSE: Final = 5.0

_log = structlog.get_logger(__name__)


class Part(Protocol):
    """Something that listens: attached to every new session."""

    name: str

    async def attach(self, session: Session) -> None:
        """Start to listen on a session. Raises `NatsUnavailable`: it is tried again."""
        ...


@final
class NatsConnection:
    """Keeps a session open.

    Args:
        opening: how a session is opened.
        servers: where to connect; asked before every attempt, for they may have moved.
        admit: looks whether this NATS is for us, before anything is said or listened to there;
            raises `NatsUnavailable` if not.
        parts: attached to every session, in order.
        random: for jitter, so that many clients do not come back at once.
        metrics: told when the connection comes and goes.
    """

    def __init__(
        self,
        opening: Opening,
        servers: Callable[[], Sequence[Server]],
        admit: Callable[[Session], Awaitable[None]],
        parts: Sequence[Part],
        *,
        random: Random,
        metrics: BusMetrics,
    ) -> None:
        self._opening = opening
        self._servers = servers
        self._admit = admit
        self._parts = parts
        self._random = random
        self._metrics = metrics
        self._session: Session | None = None
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._attached: set[str] = set()
        self.sessions = 0
        self.reason = "not connected yet"
        self.server_version = ""
        self.url = ""  # of the server that was connected last

    @property
    def session(self) -> Session | None:
        """The session that is open now."""
        session = self._session
        return session if session is not None and session.is_open else None

    @property
    def attached(self) -> frozenset[str]:
        """The names of the parts that listen."""
        return frozenset(self._attached)

    async def ready(self) -> None:
        """Wait until there is a session and every part listens on it."""
        while self.session is None or len(self._attached) < len(self._parts):
            await self._changed.wait()

    async def opened(self) -> Session:
        """Wait until there is a session."""
        while (session := self.session) is None:
            await self._changed.wait()
        return session

    def hurry(self) -> None:
        """Try again now: there is news of the server."""
        self._hurry.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                session = await self._any()
            except NatsUnavailable as error:
                self._say(str(error))
            else:
                pause = FIRST_PAUSE
                await self._use(session)
            await self._wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _any(self) -> Session:
        """A session with any of the servers; raises what keeps us from each of them."""
        servers = list(self._servers())
        self._random.shuffle(servers)
        reasons: dict[str, str] = {}
        for server in servers:
            try:
                session = await self._admitted(server)
            except (NatsUnavailable, UnsupportedServer) as error:
                reasons[shown_address(server.url)] = str(error)
            else:
                self.url = server.url
                return session
        if len(reasons) == 1:
            raise NatsUnavailable(*reasons.values())
        raise NatsUnavailable("; ".join(f"{url}: {why}" for url, why in sorted(reasons.items())))

    async def _admitted(self, server: Server) -> Session:
        session = await self._opening(server)
        try:
            await self._admit(session)
        except NatsUnavailable:
            await session.close()
            raise
        return session

    async def _use(self, session: Session) -> None:
        self._session = session
        self.sessions += 1
        self.server_version = session.version
        self.reason = ""
        self._metrics.connected(is_connected=True)
        self._news()
        try:
            async with asyncio.TaskGroup() as group:
                attaching = [group.create_task(self._attach(p, session)) for p in self._parts]
                try:
                    await session.ended.wait()
                    self._say(session.reason or "the connection ended")
                finally:  # here, for a group that is cancelled cancels in no order
                    for task in attaching:
                        task.cancel()
        finally:
            self._session = None
            self._attached.clear()
            self._metrics.connected(is_connected=False)
            await session.close()

    async def _attach(self, part: Part, session: Session) -> None:
        pause = FIRST_PAUSE
        while session.is_open:
            try:
                await part.attach(session)
            except ForeignStream:  # another was quicker; the next session is not admitted
                await session.close()
            except NatsUnavailable as error:
                self.reason = f"{part.name}: {error}"
                _log.warning("a part of the bus cannot listen", part=part.name, reason=str(error))
                await asyncio.sleep(self._jittered(pause))
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                self._attached.add(part.name)
                self.reason = "" if len(self._attached) == len(self._parts) else self.reason
                self._news()
                return

    def _say(self, reason: str) -> None:
        if reason != self.reason:
            _log.info("not connected to NATS", reason=reason)
        self.reason = reason

    def _news(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, pause: float) -> None:
        try:
            async with asyncio.timeout(self._jittered(pause)):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()

    def _jittered(self, pause: float) -> float:
        return pause * self._random.uniform(0.5, 1.5)
