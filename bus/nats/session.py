"""One connection to a server, from its opening to its end, as a port.

There is no reconnecting inside: a session that has ended stays ended, `bus.nats.connection` opens
the next one, and all that listens is attached anew. Whatever cannot be done raises
`NatsUnavailable`. Real sessions are those of `bus.nats.client`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from bus.nats.credentials import CONTROL_PLANE, Credentials
from bus.nats.tls import Tls

CONNECT_SECONDS: Final = 5
ASK_SECONDS: Final = 5.0
PING_SECONDS: Final = 10
UNANSWERED_PINGS: Final = 2  # the next one ends the session


class NatsUnavailable(Exception):
    """The server cannot be reached, or did not do it; it may later.

    `remedy` says what a person can do about it, if that is known; it ends the message.
    """

    def __init__(self, found: str, remedy: str = "") -> None:
        super().__init__(f"{found}: {remedy}" if remedy else found)
        self.found, self.remedy = found, remedy


class JetStreamRefused(NatsUnavailable):
    """JetStream declined what was asked of its API."""

    def __init__(self, asked: str, error: Mapping[str, Any]) -> None:
        super().__init__(f"JetStream declined {asked}: {error.get('description', error)}")
        self.code = int(error.get("code", 0))
        self.error_code = int(error.get("err_code", 0))


class Message(NamedTuple):
    """A message as it arrived. `reply` is empty when nobody waits for an answer."""

    subject: str
    reply: str
    data: bytes
    headers: Mapping[str, str]


type Handler = Callable[[Message], Awaitable[None]]

type Leave = Callable[[], Awaitable[None]]
"""Ends a subscription; never raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where to connect, and as whom. `name` is what our inbox is named after."""

    url: str
    name: str = CONTROL_PLANE
    credentials: Credentials = field(default_factory=Credentials)
    tls: Tls = field(default_factory=Tls)

    @property
    def demands_tls(self) -> bool:
        """Whether nothing may be sent in the clear."""
        return self.tls.is_set or self.url.startswith("tls://")


class Session(Protocol):
    """An open connection.

    ended: set once it has ended, by whomever.
    version: what the server calls its own.
    """

    ended: asyncio.Event
    version: str

    @property
    def is_open(self) -> bool: ...

    @property
    def reason(self) -> str:
        """The last thing that went wrong."""
        ...

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        reply: str = "",
    ) -> None:
        """Hand a message to the connection; it may still be lost. `reply` is where answers go.

        Raises:
            NatsUnavailable: the session has ended.
        """
        ...

    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Send a request, and return its answer.

        Raises:
            NatsUnavailable: nobody listens there, or answered within `ASK_SECONDS`. Whoever was
                asked may have done it all the same.
        """
        ...

    async def subscribe_ready(self, subject: str, handler: Handler, *, queue: str = "") -> Leave:
        """Subscribe, and return when the server knows: nothing sent from now on is missed.

        `handler` is called for one message after the other, so it must return soon. What it raises
        is noted as the `reason`. What is returned ends the subscription; a session's end does, too.

        Raises:
            NatsUnavailable: the server did not say that it knows.
        """
        ...

    def new_inbox(self) -> str:
        """A subject that nobody else uses."""
        ...

    async def close(self) -> None:
        """End it; what was published before is sent if that is possible soon."""
        ...

    async def ask_api(self, endpoint: str, request: object = None) -> dict[str, Any]:
        """Call JetStream's API, e.g. `STREAM.INFO.name`.

        Raises:
            NatsUnavailable: it refused (`JetStreamRefused`), or there is no JetStream.
        """
        data = b"" if request is None else msgspec.json.encode(request)
        return _accepted(endpoint, await self.ask(f"$JS.API.{endpoint}", data))

    async def store(self, subject: str, data: bytes, message_id: str) -> int:
        """Publish to a JetStream stream, and return its place there once it is stored.

        Raises:
            NatsUnavailable: it was not, or nobody knows.
        """
        kept = _accepted(subject, await self.ask(subject, data, {"Nats-Msg-Id": message_id}))
        return int(kept.get("seq", 0))


def shown_address(url: str) -> str:
    """An address without the credentials that may stand in it."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


type Opening = Callable[[Server], Awaitable[Session]]
"""Connects to a server. Raises `NatsUnavailable`, or `UnsupportedServer`: it is too old."""


def _accepted(asked: str, answer: bytes) -> dict[str, Any]:
    decoded = msgspec.json.decode(answer, type=dict[str, Any])
    if "error" in decoded:
        raise JetStreamRefused(asked, decoded["error"])
    return decoded
