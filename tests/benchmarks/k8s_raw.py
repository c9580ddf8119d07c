"""Kubernetes without Stateward: raw aiohttp, the floor that it is measured against."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from adapters.k8s.cluster import APPLY, METADATA_ONLY, PAGE
from adapters.k8s.kinds import BUILT_IN
from tests.support.kubernetes.server import ADMIN_TOKEN

type Body = Mapping[str, Any]

IN_FLIGHT: Final = 16
_DEPLOYMENTS: Final = BUILT_IN["apps/v1", "Deployment"].path("")
_APPLIES: Final = {"fieldManager": "raw", "force": "true", "fieldValidation": "Strict"}


class Raw:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def apply(self, body: Body) -> dict[str, Any]:
        kind = BUILT_IN[body["apiVersion"], body["kind"]]
        metadata = body["metadata"]
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        async with self._session.patch(
            path, params=_APPLIES, data=json.dumps(body), headers={"Content-Type": APPLY}
        ) as answer:
            applied: dict[str, Any] = json.loads(await answer.read())
            assert answer.status < 300, applied
            return applied

    async def apply_all(self, bodies: Sequence[Body]) -> None:
        """Apply them, so many at once."""
        waiting = iter(bodies)
        await asyncio.gather(*(self._apply_some(waiting) for _ in range(IN_FLIGHT)))

    async def _apply_some(self, waiting: Iterator[Body]) -> None:
        for body in waiting:
            await self.apply(body)

    async def list(self, *, metadata_only: bool = False) -> int:
        """All Deployments, decoded; how many there are."""
        accept = METADATA_ONLY if metadata_only else "application/json"
        query, count = {"limit": str(PAGE)}, 0
        while True:
            async with self._session.get(
                _DEPLOYMENTS, params=query, headers={"Accept": accept}
            ) as answer:
                page = json.loads(await answer.read())
            count += len(page["items"])
            if not page["metadata"].get("continue"):
                return count
            query["continue"] = page["metadata"]["continue"]


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with aiohttp.ClientSession(url, headers=headers) as session:
        yield Raw(session)
