"""Caddy's admin API over its Unix socket: read the configuration, replace it.

Whoever replaces says what they read, so a change by somebody else in between is never lost
unseen. Caddy tells the tag of what was read only after the body (a trailer, which clients hide);
it is computed here: the path, and FNV-1a of the body.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import httpx
import msgspec

from adapters.caddy.render import ORIGIN
from reconcilers.router_ports import RouterRefused, RouterUnavailable

JSON = dict[str, Any]

_CONFIG: Final = "/config/"
_TIMEOUT: Final = 30.0  # a change waits about a second for clients of HTTP/2 to take notice
_PRIME, _OFFSET, _MASK = 0x01000193, 0x811C9DC5, 0xFFFFFFFF


class Overtaken(Exception):
    """What was read is no longer so; read again."""


class Reading(NamedTuple):
    """A configuration, and the tag under which it may be replaced."""

    config: JSON
    tag: str


@final
class Admin:
    """The admin API at one socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._folder: int | None = None
        self._http: httpx.AsyncClient | None = None

    async def answers(self) -> bool:
        """Whether somebody does."""
        try:
            return (await self._ask("GET", "/config/admin")).is_success
        except RouterUnavailable:
            return False

    async def read(self) -> Reading:
        """The whole configuration.

        Raises:
            RouterUnavailable: nobody answers.
        """
        answer = await self._ask("GET", _CONFIG)
        config = msgspec.json.decode(answer.content)
        return Reading(config or {}, f'"{_CONFIG} {fnv1a(answer.content):08x}"')

    async def replace(self, config: JSON, read: Reading) -> None:
        """Put `config` in place of what was read, whole or not at all.

        Raises:
            Overtaken: somebody changed it since.
            RouterRefused: Caddy does not take it; the message has its reason.
            RouterUnavailable: nobody answers; unknown whether it was taken.
        """
        body = msgspec.json.encode(config)
        answer = await self._ask("POST", _CONFIG, content=body, tag=read.tag)
        if answer.status_code == httpx.codes.PRECONDITION_FAILED:
            raise Overtaken
        if answer.is_error:
            raise RouterRefused(
                f"Caddy does not take its configuration, and goes on with the one before: "
                f"{_reason(answer)}"
            )

    async def _ask(
        self, method: str, path: str, *, content: bytes = b"", tag: str = ""
    ) -> httpx.Response:
        headers = {"Content-Type": "application/json"} | ({"If-Match": tag} if tag else {})
        try:
            client = self._http = self._http or self._client()
            return await client.request(method, path, content=content, headers=headers)
        except (httpx.TransportError, OSError) as error:
            why = str(error) or type(error).__name__
            raise RouterUnavailable(f"Caddy does not answer at {self._socket}: {why}") from error

    def _client(self) -> httpx.AsyncClient:
        """Through the open directory: the path of a socket has 107 bytes at most."""
        self._folder = os.open(self._socket.parent, os.O_PATH)
        place = f"/proc/self/fd/{self._folder}/{self._socket.name}"
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=place),
            base_url=f"http://{ORIGIN}",
            timeout=_TIMEOUT,
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def fnv1a(text: bytes) -> int:
    """The 32-bit hash by which Caddy tags a body."""
    hashed = _OFFSET
    for byte in text:
        hashed = (hashed ^ byte) * _PRIME & _MASK
    return hashed


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text.strip()}"
