"""Caddy's admin API over its Unix socket: read the configuration, replace it.

Whoever replaces says what they read, so a change by somebody else in between is never lost
unseen. The tag of what was read comes after the body, as a trailer, which clients hide; so reading
is done by hand here.
"""

import asyncio
import os
import re
from pathlib import Path
from typing import Any, Final, NamedTuple, final

import httpx
import msgspec

from adapters.caddy.render import ORIGIN
from reconcilers.router_ports import RouterRefused, RouterUnavailable

JSON = dict[str, Any]

_CONFIG: Final = "/config/"
_TIMEOUT: Final = 30.0  # a change waits about a second for clients of HTTP/2 to take notice


class Overtaken(Exception):
    """What was read is no longer so; read again."""


class _Upstream(msgspec.Struct):
    address: str
    num_requests: int


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

    async def requests(self) -> dict[str, int]:
        """How many requests each upstream, `HOST:PORT`, has in hand; those without may be missing.

        Raises:
            RouterUnavailable: nobody answers, or not that.
        """
        answer = await self._ask("GET", "/reverse_proxy/upstreams")
        try:
            found = msgspec.json.decode(answer.content, type=list[_Upstream] | None)
        except msgspec.DecodeError as error:
            raise self._unavailable(error) from error
        return {one.address.replace(".:", ":"): one.num_requests for one in found or ()}

    async def read(self) -> Reading:
        """The whole configuration.

        Raises:
            RouterUnavailable: nobody answers.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                head, body, tag = _unchunked(await self._read())
        except (TimeoutError, OSError, ValueError) as error:
            raise self._unavailable(error) from error
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RouterUnavailable(f"Caddy does not tell its configuration: {body[:200]!r}")
        return Reading(msgspec.json.decode(body) or {}, tag)

    async def _read(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._place())
        try:
            asked = f"GET {_CONFIG} HTTP/1.1\r\nHost: {ORIGIN}\r\nConnection: close\r\n\r\n"
            writer.write(asked.encode())
            return await reader.read()
        finally:
            writer.close()

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
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> RouterUnavailable:
        why = str(error) or type(error).__name__
        return RouterUnavailable(f"Caddy does not answer at {self._socket}: {why}")

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._place()),
            base_url=f"http://{ORIGIN}",
            timeout=_TIMEOUT,
        )

    def _place(self) -> str:
        """Through the open directory: the path of a socket has 107 bytes at most."""
        if self._folder is None:
            self._folder = os.open(self._socket.parent, os.O_PATH)
        return f"/proc/self/fd/{self._folder}/{self._socket.name}"

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def _unchunked(answer: bytes) -> tuple[bytes, bytes, str]:
    """Head, body and tag of an answer in chunks; raises `ValueError` for any other."""
    head, _, rest = answer.partition(b"\r\n\r\n")
    parts, at = [], 0
    while True:
        end = rest.index(b"\r\n", at)
        size = int(rest[at:end], 16)
        if not size:
            break
        parts.append(rest[end + 2 : end + 2 + size])
        at = end + 4 + size
    tag = re.search(rb"(?im)^etag: (.+?)\r$", rest[end:])
    return head, b"".join(parts), tag[1].decode() if tag else ""


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text.strip()}"
