"""The outermost ring: who is it, may they come in, how much may they bring, what was answered.

Every request passes here before any route is looked for, so that nothing is open by oversight:
what is not listed in `OPEN` needs a token. Bodies and queries are never logged.
"""

import ipaddress
import re
from typing import Any, Final, final

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.login import PATHS
from gateway.ports import Services
from gateway.problems import Trouble, answer, of_trouble

OPEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Open without a token, while only this host can ask."""
HEALTH: Final = frozenset({"/livez", "/readyz"})
"""Always open to who asks no more than whether it is well: who restarts a process has no token."""

MAX_BODY: Final = 1 << 20
MAX_SET_BODY: Final = 10 << 20
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:\d+)?")
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]

_STARTS: Final = ("http.response.start", "websocket.http.response.start")
_UPGRADE: Final = "UPGRADE"  # what a WebSocket has for a method

log = structlog.get_logger("gateway")


@final
class Edge:
    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._upgrade(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._services)
        refused = exchange.refusal()
        try:
            if refused is not None:
                await refused(scope, receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except TooLarge as error:
            await exchange.fail(of_trouble(error))
        except Exception:
            log.exception("a request failed by a fault of ours", **exchange.facts)
            sorry = "this is a fault of Stateward; its log says more"
            await exchange.fail(answer(500, "Internal", sorry))
        exchange.note()

    async def _upgrade(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Who may not come in is refused before anything is a WebSocket."""
        exchange = _Exchange(scope, receive, send, self._services)
        refused = exchange.refusal()
        try:
            if refused is not None:
                await WebSocket(scope, receive, exchange.send).send_denial_response(refused)
            else:
                await self._app(scope, receive, exchange.send)
        except Exception:
            log.exception("a WebSocket failed by a fault of ours", **exchange.facts)
            raise
        exchange.note()


class TooLarge(Trouble):
    def __init__(self, limit: int) -> None:
        super().__init__(
            413,
            "TooLarge",
            f"the body is larger than {limit} bytes; send it in parts, or take data out of it",
            details={"limit": limit},
        )


@final
class _Exchange:
    """One request and its answer, counted and guarded."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, services: Services) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._services = services
        self._started = services.now()
        self._limit = MAX_SET_BODY if scope["path"] == "/api/v1/apply" else MAX_BODY
        self._received = 0
        self._status = 0
        self._actor = ""

    def refusal(self) -> Response | None:
        """The answer to who may not come in; notes the actor of who may."""
        headers = Headers(scope=self._scope)
        if self._services.loopback and not _is_local(headers.get("host", "")):
            detail = "the Host header names no loopback address; ask for 127.0.0.1 or localhost"
            return answer(421, "WrongHost", detail)
        if not self._admit(headers) and not self._is_open():
            return _unauthenticated(self._services.token_place)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            return of_trouble(TooLarge(self._limit))
        return None

    def _is_open(self) -> bool:
        path = self._scope["path"]
        if self._services.loopback:
            return path in OPEN or (path in PATHS and self._services.login_key is not None)
        return path in HEALTH and not self._scope["query_string"]

    def _admit(self, headers: Headers) -> bool:
        scheme, _, text = headers.get("authorization", "").partition(" ")
        text = text.strip()
        actor = self._services.tokens.who(text) if scheme.lower() == "bearer" and text else None
        if actor is None:
            return False
        state: dict[str, Any] = self._scope.setdefault("state", {})
        state["actor"] = actor
        state["still_valid"] = lambda: self._services.tokens.who(text) == actor
        self._actor = actor.name
        return True

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            if self._received > self._limit:
                raise TooLarge(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] in _STARTS:
            self._status = message["status"]
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await self._send(message)

    async def fail(self, response: Response) -> None:
        """Answer with an error, unless an answer has begun."""
        if not self._status:
            await response(self._scope, self._receive, self.send)

    @property
    def facts(self) -> dict[str, object]:
        return {
            "method": self._scope.get("method", _UPGRADE),
            "path": self._scope["path"],
            "actor": self._actor,
            "status": self._status,
            "seconds": round(self._services.now() - self._started, 6),
        }

    def note(self) -> None:
        """Changes and refusals are worth a line; questions are one only for who debugs."""
        quiet = self.facts["method"] in ("GET", "HEAD", _UPGRADE) and self._status < 400
        (log.debug if quiet else log.info)("request", **self.facts)


def _is_local(host: str) -> bool:
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower() if match else ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _unauthenticated(place: str) -> Response:
    detail = (
        "this needs a token that is known, not expired and not revoked: send "
        f"`Authorization: Bearer TOKEN`; the first one is in {place}"
    )
    headers = {"WWW-Authenticate": 'Bearer realm="stateward"'}
    return answer(401, "Unauthenticated", detail, headers=headers)
