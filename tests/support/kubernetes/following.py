"""A reflector that runs, what it told, and ConfigMaps that come and go before its eyes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from adapters.k8s.cluster import Cluster
from adapters.k8s.kinds import Kind
from adapters.k8s.reflector import Change, Pace, Reflector
from tests.support.kubernetes.server import KubernetesServer

QUICK = Pace(first=0.01, most=0.05)
PATIENCE = 60.0  # seconds


class Followed:
    """A reflector that runs, and what it told."""

    def __init__(self, cluster: Cluster, kind: Kind, **how: Any) -> None:
        self.changes: list[Change] = []
        self._news = asyncio.Event()
        self.reflector = Reflector(
            cluster, kind, random.Random(3), changed=self._note, **{"pace": QUICK, **how}
        )

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        self._news.set()

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.reflector.objects)

    def told(self, name: str) -> list[str]:
        """What happened to an object, in order."""
        words = {(False, True): "new", (True, True): "changed", (True, False): "gone"}
        return [
            words[change.before is not None, change.after is not None]
            for change in self.changes
            if change.key[1] == name
        ]

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await self._news.wait()


@asynccontextmanager
async def following(cluster: Cluster, kind: Kind, **how: Any) -> AsyncIterator[Followed]:
    """Follow a kind; inside, everything was seen once unless `how` says not to wait."""
    wait = how.pop("wait", True)
    followed = Followed(cluster, kind, **how)
    task = asyncio.create_task(followed.reflector.run())
    try:
        if wait:
            async with asyncio.timeout(PATIENCE):
                await followed.reflector.synced()
        yield followed
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def make(server: KubernetesServer, *names: str, **labels: str) -> None:
    for name in names:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": "1"}}
        server.inside.create("ConfigMap", "shop", body)


def change(server: KubernetesServer, name: str, value: str = "2") -> None:
    server.inside.patch("ConfigMap", "shop", name, {"data": {"k": value}})


def remove(server: KubernetesServer, name: str) -> None:
    server.inside.delete("ConfigMap", "shop", name)


def watches(server: KubernetesServer) -> int:
    return len(server.faults.watches)
