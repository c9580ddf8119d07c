"""Requests to one cluster: JSON out, bytes in, every failure an error of `adapters.k8s.errors`.

The SDK brings address, TLS and credentials; its models, retries and requests are not used. What was
throttled is repeated when the cluster said so, a few times; anything else is for callers.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Never, final
from urllib.parse import urlencode

import aiohttp
import msgspec

from adapters.k8s.access import Access, Way, is_renewed, open_way
from adapters.k8s.connecting import explained
from adapters.k8s.errors import (
    Asked,
    ClusterUnavailable,
    Disconnected,
    KubernetesError,
    Status,
    Throttled,
    Unauthorized,
    refusal,
    status_of,
)
from adapters.k8s.grants import permit
from adapters.k8s.patience import Patience

ANSWER_TIMEOUT: Final = 30.0  # seconds; API servers give up on a request after 60
CONNECT_TIMEOUT: Final = 10.0  # seconds
TRIES: Final = 5  # of a request that is throttled
WORTH_WAITING: Final = 10.0  # seconds; who is asked for more patience is told, and may say so
RETIRED: Final = 2  # ways with older credentials that are kept; whoever still reads there goes on
RENEWAL: Final = 30.0  # seconds between two readings of credentials that were not accepted

type Query = Mapping[str, str]


class Sent(NamedTuple):
    """A request as HTTP has it. `body` is JSON, whatever the content type."""

    method: str
    path: str
    query: Query = MappingProxyType({})
    body: Any = None
    content_type: str = "application/json"
    accept: str = "application/json"


class Response(NamedTuple):
    code: int
    body: bytes
    warnings: tuple[str, ...]


@final
class Transport:
    """The connections to one cluster. Close it when the target goes.

    What `permit` raises for is not sent. `now` is seconds since the epoch.
    """

    def __init__(
        self,
        access: Access,
        patience: Patience,
        *,
        user_agent: str,
        now: Callable[[], float],
        permit: Callable[[Asked], None] = permit,
    ) -> None:
        self._access = access
        self._permit, self._now = permit, now
        self._patience = patience
        self._user_agent = user_agent
        self._way: Way | None = None
        self._retired: list[Way] = []  # with older credentials; answers may still come
        self._opening = asyncio.Lock()
        self._renewed = float("-inf")

    async def close(self) -> None:
        current = [] if self._way is None else [self._way]
        for way in (*self._retired, *current):
            await way.close()

    @property
    def address(self) -> str:
        """Where the cluster is, once something was asked."""
        return "?" if self._way is None else self._way.host

    async def request(self, asked: Asked, sent: Sent, within: float = ANSWER_TIMEOUT) -> Response:
        """Send a request and read its whole answer.

        Raises:
            AccessRefused: there is no way to the cluster as configured.
            KubernetesError: as its tree says; `ClusterUnavailable` also after `within` seconds.
        """
        self._permit(asked)
        for left in reversed(range(TRIES)):
            try:
                async with self._patience:
                    return await self._request(asked, sent, within)
            except Throttled as throttled:
                self._patience.pause(throttled.retry_after)
                if not left or throttled.retry_after > WORTH_WAITING:
                    raise
            except (Unauthorized, Disconnected) as error:
                if not left or not await self._renew(error):
                    self._blame(error)
                    raise
        raise AssertionError("the last try returns or raises")

    @asynccontextmanager
    async def stream(
        self, asked: Asked, sent: Sent, *, silence: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a request whose answer goes on; yields its pieces as they come.

        Takes no turn from other requests. Raises, also while reading: as `request`; `Throttled`
        while the cluster asked for a pause; `ClusterUnavailable` when nothing came for `silence`
        seconds.
        """
        self._permit(asked)
        if (left := self._patience.left) > 0:
            why = f"it asked for patience, for {left:.0f} s more"
            raise Throttled(self._told(asked, why), code=0, retry_after=left)
        way = await self._open()
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=silence)
        try:
            with self._translated(asked):
                response = await self._send(way, sent, limits)
        except Disconnected as error:
            await self._renew(error)
            self._blame(error)
            raise
        try:
            if response.status >= 400:
                with self._translated(asked):
                    await self._refuse(asked, response)
            yield self._pieces(asked, response)
        except Throttled as throttled:
            self._patience.pause(throttled.retry_after)
            raise
        except Unauthorized as error:
            await self._renew(error)  # for who tries again
            self._blame(error)
            raise
        finally:
            response.close()

    @asynccontextmanager
    async def socket(
        self, asked: Asked, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a WebSocket. Raises, also while it is read: as `request`."""
        self._permit(asked)
        way = await self._open()
        headers = await way.headers("GET", path)
        with self._translated(asked):
            try:
                opened = way.session.ws_connect(
                    f"{way.host}{path}",
                    params=query,
                    headers=headers,
                    protocols=protocols,
                    proxy=way.proxy,
                    server_hostname=way.server_name,
                )
                async with opened as socket:
                    yield socket
            except aiohttp.WSServerHandshakeError as error:
                raise await self._handshake(asked, path, query, error) from error

    async def _handshake(
        self,
        asked: Asked,
        path: str,
        query: Sequence[tuple[str, str]],
        error: aiohttp.WSServerHandshakeError,
    ) -> KubernetesError:
        """What a refused handshake meant: its words are lost, so they are asked for without one."""
        try:
            await self._request(asked, Sent("GET", path, dict(query)), ANSWER_TIMEOUT)
        except KubernetesError as told:
            if told.code == error.status:
                return told
        return refusal(self.address, asked, error.status, Status(message=error.message), {})

    async def _pieces(self, asked: Asked, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        while True:
            with self._translated(asked):
                piece = await response.content.readany()
            if not piece:
                return
            yield piece

    async def _request(self, asked: Asked, sent: Sent, within: float) -> Response:
        way = self._way or await self._open()
        with self._translated(asked):
            response = await self._send(way, sent, _limits(within))
            try:
                if response.status >= 400:
                    await self._refuse(asked, response)
                body = await response.read()
            finally:
                response.release()
        warnings = tuple(response.headers.getall("Warning", ()))
        return Response(response.status, body, tuple(map(_warning, warnings)))

    async def _send(
        self, way: Way, sent: Sent, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = await way.headers(sent.method, sent.path)
        headers["Accept"] = sent.accept
        body = None
        if sent.body is not None:
            headers["Content-Type"] = sent.content_type
            body = msgspec.json.encode(sent.body)
        return await way.session.request(
            sent.method,
            f"{way.host}{sent.path}{_query(tuple(sent.query.items()))}",
            headers=headers,
            data=body,
            timeout=limits,
            proxy=way.proxy,
            server_hostname=way.server_name,
        )

    async def _refuse(self, asked: Asked, response: aiohttp.ClientResponse) -> Never:
        body = await response.read()
        raise refusal(self.address, asked, response.status, status_of(body), response.headers)

    @contextmanager
    def _translated(self, asked: Asked) -> Iterator[None]:
        """Turn failures of the way to the cluster into `ClusterUnavailable`."""
        try:
            yield
        except TimeoutError as error:
            raise self._unavailable(asked, "it did not answer in time") from error
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise Disconnected(self._told(asked, explained(error))) from error

    def _unavailable(self, asked: Asked, why: str) -> ClusterUnavailable:
        return ClusterUnavailable(self._told(asked, why))

    def _told(self, asked: Asked, why: str) -> str:
        return f"could not {asked}: the cluster at {self.address}: {why}"

    # --- credentials --------------------------------------------------------------------------

    async def _open(self) -> Way:
        async with self._opening:
            if self._way is None:
                self._way = await open_way(self._access, user_agent=self._user_agent)
            return self._way

    def _blame(self, error: KubernetesError) -> None:
        """Raises `ClusterUnavailable` if it was for our certificate: servers do not say that."""
        certificate = self._way.certificate if self._way is not None else None
        trouble = certificate.trouble(self._now()) if certificate is not None else ""
        if trouble:
            raise ClusterUnavailable(f"{error}; {trouble}", code=error.code) from error

    async def _renew(self, error: KubernetesError) -> bool:
        """Read the credentials again, as they may have been replaced; whether that was done.

        At once when their files are others; else only what was not accepted, and now and then.
        """
        async with self._opening:
            way, now = self._way, asyncio.get_running_loop().time()
            if way is not None and not await asyncio.to_thread(is_renewed, self._access, way):
                is_due = now - self._renewed >= RENEWAL
                if not isinstance(error, Unauthorized) or not is_due:
                    return False
            self._renewed = now
            if way is not None:
                self._retired.append(way)
            self._way = None
            while len(self._retired) > RETIRED:
                await self._retired.pop(0).close()
            return True


@lru_cache(maxsize=16)
def _limits(within: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=within, sock_connect=CONNECT_TIMEOUT)


@lru_cache(maxsize=64)  # most requests are applies, and ask for the same
def _query(asked: tuple[tuple[str, str], ...]) -> str:
    return f"?{urlencode(asked)}" if asked else ""


def _warning(header: str) -> str:
    """The text of a `Warning` header: `299 - "text"`."""
    return header.partition(" - ")[2].strip('"').replace('\\"', '"') or header
