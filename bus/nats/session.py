"""One connection to a server, from its opening to its end; there is no reconnecting inside.

Errors of nats-py end here: what cannot be done raises `NatsUnavailable`. A session that has ended
stays ended; `bus.nats.connection` opens the next one, and all that listens is attached anew.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.nats.credentials import BadCredentials, Credentials, login
from bus.nats.subjects import own_inbox
from bus.nats.versions import check_version

CONNECT_SECONDS: Final = 5
CLOSE_SECONDS: Final = 2
ASK_SECONDS: Final = 5.0
PING_SECONDS: Final = 10  # three unanswered ones end the session
PENDING_BYTES: Final = 8 << 20

_log = structlog.get_logger(__name__)


class NatsUnavailable(Exception):
    """The server cannot be reached, or did not do it; it may later."""


class Message(NamedTuple):
    """A message as it arrived. `reply` is empty when nobody waits for an answer."""

    subject: str
    reply: str
    data: bytes
    headers: Mapping[str, str]


type Handler = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect, and as whom."""

    url: str
    credentials: Credentials = field(default_factory=Credentials)
    tls_ca: Path | None = None


@final
class Session:
    """An open connection. Made by `open`."""

    def __init__(self) -> None:
        self._client = Client()
        self._reason = ""
        self.ended = asyncio.Event()
        self.version = ""

    @classmethod
    async def open(cls, server: Server, *, name: str = "stateward") -> Self:
        """Connect to a server.

        Raises:
            NatsUnavailable: it is not there, or does not let us in.
            UnsupportedServer: it is too old.
        """
        session = cls()
        try:
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                await session._connect(server, name)
            check_version(session.version)
        except (nats.errors.Error, OSError, ValueError, BadCredentials) as error:
            await session.close()
            raise NatsUnavailable(session._reason or str(error) or "no answer") from error
        except BaseException:
            await session.close()
            raise
        return session

    async def _connect(self, server: Server, name: str) -> None:
        options, public_nkey = login(server.credentials)
        self._client._public_nkey = public_nkey  # noqa: SLF001 -- its own way needs another library
        if server.tls_ca is not None:
            options["tls"] = ssl.create_default_context(cafile=server.tls_ca)
        await self._client.connect(
            server.url,
            name=name,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            pending_size=PENDING_BYTES,
            flush_timeout=ASK_SECONDS,
            inbox_prefix=own_inbox(name),
            error_cb=self._note,
            closed_cb=self._end,
            **options,
        )
        self.version = str(self._client._server_info.get("version", ""))  # noqa: SLF001 -- no other way

    async def _note(self, error: Exception) -> None:
        self._reason = str(error) or type(error).__name__
        if self._client.is_connected:
            _log.warning("NATS reported an error", error=self._reason)

    async def _end(self) -> None:
        self.ended.set()

    @property
    def is_open(self) -> bool:
        return self._client.is_connected and not self.ended.is_set()

    @property
    def reason(self) -> str:
        """The last thing that went wrong."""
        return self._reason

    async def publish(
        self, subject: str, data: bytes, headers: dict[str, str] | None = None
    ) -> None:
        """Hand a message to the connection; it may still be lost."""
        try:
            await self._client.publish(subject, data, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise NatsUnavailable(str(error) or type(error).__name__) from error
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # While its buffer is full, nats-py swallows the cancellation of who publishes.
            raise asyncio.CancelledError

    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Send a request, and return its answer."""
        async with _translated():
            answer = await self._client.request(subject, data, timeout=ASK_SECONDS, headers=headers)
        return answer.data

    async def ask_api(self, endpoint: str, request: object = None) -> dict[str, Any]:
        """Call JetStream's API, e.g. `STREAM.INFO.name`.

        Raises:
            NatsUnavailable: it refused, or there is no JetStream.
        """
        data = b"" if request is None else msgspec.json.encode(request)
        answer = msgspec.json.decode(
            await self.ask(f"$JS.API.{endpoint}", data), type=dict[str, Any]
        )
        if "error" in answer:
            raise JetStreamRefused(endpoint, answer["error"])
        return answer

    async def store(self, subject: str, data: bytes, message_id: str) -> None:
        """Publish to a JetStream stream, and return once it is stored there."""
        answer = msgspec.json.decode(
            await self.ask(subject, data, {"Nats-Msg-Id": message_id}), type=dict[str, Any]
        )
        if "error" in answer:
            raise JetStreamRefused(subject, answer["error"])

    async def subscribe_ready(self, subject: str, handler: Handler, *, queue: str = "") -> None:
        """Subscribe, and return when the server knows: nothing sent from now on is missed.

        `handler` is called for one message after the other, so it must return soon.
        """

        async def arrived(message: Msg) -> None:
            await handler(
                Message(message.subject, message.reply, message.data, message.headers or {})
            )

        async with _translated():
            await self._client.subscribe(subject, queue=queue, cb=arrived)
            # One flush is no barrier: its PING may overtake the SUB, which another task writes.
            await self._client.flush()
            await self._client.flush()

    def new_inbox(self) -> str:
        return self._client.new_inbox()

    async def close(self) -> None:
        """End it; what was published before is sent if that is possible soon."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            _log.debug("closing the NATS connection failed", error=str(error))
        self.ended.set()


class JetStreamRefused(NatsUnavailable):
    """JetStream declined what was asked of its API."""

    def __init__(self, asked: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"JetStream declined {asked}: {error.get('description', error)}")
        self.code = int(error.get("code", 0))


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (nats.errors.Error, OSError) as error:
        raise NatsUnavailable(str(error) or type(error).__name__) from error
