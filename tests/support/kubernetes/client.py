"""Raw requests to a Kubernetes API, real or not: JSON in, JSON out, nothing retried or hidden."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from tests.support.kubernetes.requests import APPLY, MERGE
from tests.support.kubernetes.schema import Object

PATIENCE = 60.0  # seconds for anything that is to come


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    body: Object
    headers: Mapping[str, str]

    @property
    def metadata(self) -> Object:
        found: Object = self.body["metadata"]
        return found

    @property
    def version(self) -> str:
        return str(self.metadata["resourceVersion"])

    @property
    def reason(self) -> str:
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))

    @property
    def causes(self) -> list[Object]:
        return list(self.body.get("details", {}).get("causes", ()))

    @property
    def names(self) -> list[str]:
        """Of a list: the names of its items."""
        return [item["metadata"]["name"] for item in self.body["items"]]


@dataclass(slots=True)
class Watch:
    """An open watch: what it tells, in order."""

    response: aiohttp.ClientResponse

    async def events(self, count: int) -> list[Object]:
        """Wait for so many events; fewer only when the stream ended."""
        found: list[Object] = []
        async with asyncio.timeout(PATIENCE):
            while len(found) < count and (line := await self.response.content.readline()):
                found.append(msgspec.json.decode(line))
        return found

    async def rest(self) -> list[Object]:
        """All events until the server ends the stream."""
        return await self.events(1_000_000)


@dataclass(slots=True)
class KubernetesClient:
    url: str
    token: str | None = None
    tls: ssl.SSLContext | None = None
    session: aiohttp.ClientSession = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connector = aiohttp.TCPConnector(ssl=self.tls or True, limit=0)
        self.session = aiohttp.ClientSession(
            self.url, headers=headers, connector=connector, read_bufsize=4 * 1024 * 1024
        )

    async def close(self) -> None:
        await self.session.close()

    async def request(  # one function for all that HTTP can say
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = None if body is None else io.BytesIO(encoded)
        told = {} if body is None else {"Content-Type": kind}
        params = {key: str(of) for key, of in query.items()}
        async with (
            asyncio.timeout(PATIENCE),
            self.session.request(
                method, path, data=sent, params=params, headers={**told, **(headers or {})}
            ) as response,
        ):
            text = await response.read()
            decoded = msgspec.json.decode(text) if _is_json(response) else {"text": text.decode()}
            return Answer(response.status, decoded, response.headers)

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.request("GET", path, **query)

    async def post(self, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("POST", path, body, **query)

    async def put(self, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("PUT", path, body, **query)

    async def delete(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.request("DELETE", path, body, **query)

    async def merge(self, path: str, body: Any, **query: Any) -> Answer:
        return await self.request("PATCH", path, body, kind=MERGE, **query)

    async def apply(self, path: str, body: Any, manager: str = "m1", **query: Any) -> Answer:
        """Server-side apply as a field manager."""
        return await self.request("PATCH", path, body, kind=APPLY, fieldManager=manager, **query)

    @asynccontextmanager
    async def watch(self, path: str, **query: Any) -> AsyncIterator[Watch]:
        """Watch; inside, the server has accepted it, so no later change is missed."""
        params = {"watch": "1", **{key: str(of) for key, of in query.items()}}
        endless = aiohttp.ClientTimeout(total=None)
        async with self.session.get(path, params=params, timeout=endless) as response:
            assert response.status == 200, await response.text()
            yield Watch(response)


def _is_json(response: aiohttp.ClientResponse) -> bool:
    return response.content_type == "application/json"
