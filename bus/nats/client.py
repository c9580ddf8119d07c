"""A `Session` over nats-py, whose errors and types end here: nothing else imports it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Self, final, override

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from bus.nats.credentials import BadCredentials, login
from bus.nats.session import (
    ASK_SECONDS,
    CONNECT_SECONDS,
    PING_SECONDS,
    UNANSWERED_PINGS,
    Handler,
    Leave,
    Message,
    NatsUnavailable,
    Server,
    Session,
)
from bus.nats.subjects import own_inbox
from bus.nats.troubles import SILENT, Greeting, refusal
from bus.nats.versions import check_version

CLOSE_SECONDS: Final = 2
PENDING_BYTES: Final = 8 << 20

_log = structlog.get_logger(__name__)


@final
class _Client(Client):
    """Tells that it is closed even when closing failed half-way, and never goes without TLS.

    nats-py writes what is pending before it calls `closed_cb`, and if the server is already gone,
    that write raises: then it is closed, nobody is ever told, and what waits for messages waits for
    ever. And to an address with `tls://`
    it sends credentials in the clear if whoever answers there does not ask for TLS.
    """

    def __init__(self, ended: asyncio.Event) -> None:
        super().__init__()
        self._ended = ended
        self._server: Server | None = None

    def admit(self, server: Server, public_nkey: str | None) -> None:
        """Say where it will connect, and with the key of which user."""
        self._server = server
        self._public_nkey = public_nkey  # nats-py's own way needs another library

    @property
    def greeting(self) -> Greeting:
        info = self._server_info
        return Greeting(bool(info.get("auth_required")), bool(info.get("tls_verify")))

    @override
    def _connect_command(self) -> bytes:
        assert self._server is not None
        if self._server.demands_tls and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server offers no TLS, and nothing is sent in the clear")
        if self.greeting.wants_certificate and self._server.tls.certificate is None:
            raise nats.errors.Error("the server wants a certificate of its clients")
        return super()._connect_command()

    @override
    async def _close(self, status: int, do_cbs: bool = True) -> None:
        try:
            await super()._close(status, do_cbs)
        except OSError as error:  # nobody would look at it in the task that reads
            _log.debug("closing the NATS connection failed", error=str(error))
        finally:
            if self.is_closed:
                for left in self._subs.values():
                    left._stop_processing()  # noqa: SLF001 -- as it does itself, unless it failed
                self._subs.clear()
                if self._transport is not None:
                    self._transport.close()  # type: ignore[no-untyped-call]
                self._ended.set()


@final
class NatsSession(Session):
    """Made by `open`."""

    def __init__(self) -> None:
        self._reason = ""
        self.ended = asyncio.Event()
        self._client = _Client(self.ended)
        self.version = ""
        self.is_clustered = False

    @classmethod
    async def open(cls, server: Server) -> Self:
        """Connect to a server.

        Raises:
            NatsUnavailable: it is not there, or does not let us in.
            UnsupportedServer: it is too old.
        """
        try:
            options, public_nkey = login(server.credentials)
            context = server.tls.context() if server.tls.is_set else None
        except BadCredentials as error:
            raise NatsUnavailable(str(error)) from error
        session = cls()
        session._client.admit(server, public_nkey)
        try:
            async with asyncio.timeout(2 * CONNECT_SECONDS):
                await session._connect(server, {**options, "tls": context})
            check_version(session.version)
        except (nats.errors.Error, OSError, ValueError) as error:
            await session.close()
            is_silent = isinstance(error, TimeoutError)
            said = SILENT if is_silent else session._reason or str(error) or SILENT
            raise refusal(said, server, session._client.greeting) from error
        except BaseException:
            await session.close()
            raise
        return session

    async def _connect(self, server: Server, options: dict[str, Any]) -> None:
        await self._client.connect(
            server.url,
            name=server.name,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_SECONDS,
            ping_interval=PING_SECONDS,
            max_outstanding_pings=UNANSWERED_PINGS,
            pending_size=PENDING_BYTES,
            flush_timeout=ASK_SECONDS,
            inbox_prefix=own_inbox(server.name),
            error_cb=self._note,
            **options,
        )
        info = self._client._server_info  # noqa: SLF001 -- no other way
        self.version = str(info.get("version", ""))
        self.is_clustered = bool(info.get("cluster"))

    async def _note(self, error: Exception) -> None:
        self._reason = str(error) or type(error).__name__
        if self._client.is_connected:
            _log.warning("NATS reported an error", error=self._reason)

    @property
    @override
    def is_open(self) -> bool:
        return self._client.is_connected and not self.ended.is_set()

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
        try:
            await self._client.publish(subject, data, reply, headers=headers)
        except (nats.errors.Error, OSError) as error:
            raise NatsUnavailable(str(error) or type(error).__name__) from error
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # While its buffer is full, nats-py swallows the cancellation of who publishes.
            raise asyncio.CancelledError

    @override
    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        async with _translated():
            answer = await self._client.request(subject, data, timeout=ASK_SECONDS, headers=headers)
        return answer.data

    @override
    async def subscribe_ready(self, subject: str, handler: Handler, *, queue: str = "") -> Leave:
        async def arrived(message: Msg) -> None:
            await handler(
                Message(message.subject, message.reply, message.data, message.headers or {})
            )

        async with _translated():
            subscription = await self._client.subscribe(subject, queue=queue, cb=arrived)
            # One flush is no barrier: its PING may overtake the SUB, which another task writes.
            await self._client.flush()
            await self._client.flush()

        async def leave() -> None:
            with suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

        return leave

    @override
    def new_inbox(self) -> str:
        return self._client.new_inbox()

    @override
    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._client.close()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            _log.debug("closing the NATS connection failed", error=str(error))
        self.ended.set()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (nats.errors.Error, OSError) as error:
        raise NatsUnavailable(str(error) or type(error).__name__) from error
