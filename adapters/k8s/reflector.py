"""A copy of all objects of a kind, kept true by a watch: list once, then follow every change.

list in pages → tell what differs from the copy → watch from the list's version → on a cut, watch
again from the last version seen; on "410 Gone", list again. Failures back off, with jitter, for
ever; the copy stays readable meanwhile, with its age. Changes are told as keys: look, then compare.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, final

import msgspec
import structlog

from adapters.k8s.cluster import Cluster, Json, Page, WatchEvent
from adapters.k8s.errors import Gone, Throttled
from adapters.k8s.kinds import Kind
from reconcilers.ports import EngineError

_SLICE: Final = 256 * 1024  # bytes decoded before others get a turn: about 3 ms
_log = structlog.get_logger(__name__)

type Key = tuple[str, str]  # namespace and name
type Trim = Callable[[Json], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When to try again. Seconds."""

    first: float = 0.2
    most: float = 30.0
    healthy: float = 10.0  # a watch that lasted so long ends the counting of failures
    relist: float = 900.0  # a list at least so often: no server is trusted never to lose an event


class Change(NamedTuple):
    """What happened to one object; `before` or `after` is None when it is new or gone."""

    key: Key
    before: Json | None
    after: Json | None


class Health(NamedTuple):
    """`state`: `syncing` until the first list, then `following`, or `cut` with the last `error`.

    `seen` is when the cluster last said anything, by the clock of the loop.
    """

    state: Literal["syncing", "following", "cut"]
    error: EngineError | None
    seen: float


def forget_managers(written: Json) -> None:
    """Drop `managedFields`: more than half of the bytes of most objects."""
    written["metadata"].pop("managedFields", None)


def keep_foreign_managers(ours: frozenset[str]) -> Trim:
    """Keep of `managedFields` what others own of the spec: by that, drift has a name."""

    def trim(written: Json) -> None:
        metadata = written["metadata"]
        entries = metadata.get("managedFields") or ()
        kept = [
            one for one in entries if one.get("manager") not in ours and "subresource" not in one
        ]
        if kept:
            metadata["managedFields"] = kept
        else:
            metadata.pop("managedFields", None)

    return trim


@final
class Reflector:
    """Follows one kind. `run` does the work; everything else may be read at any time."""

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        rng: random.Random,
        *,
        selector: str = "",
        namespace: str = "",
        trim: Trim = forget_managers,
        changed: Callable[[Change], None] = lambda _: None,
        pace: Pace | None = None,
    ) -> None:
        self.kind = kind
        self.lists = 0
        self.watches = 0
        self._cluster = cluster
        self._rng = rng
        self._selector, self._namespace = selector, namespace
        self._trim, self._changed = trim, changed
        self._pace = pace or Pace()
        self._objects: dict[Key, Json] = {}
        self._synced = asyncio.Event()
        self._version = ""  # empty: list first
        self._listed = 0.0
        self._failures = 0
        self.health = Health("syncing", None, 0.0)

    @property
    def objects(self) -> Mapping[Key, Json]:
        """The copy. Do not alter what is in it."""
        return self._objects

    @property
    def version(self) -> str:
        """The version up to which the copy is known to be true; empty when it is listed anew."""
        return self._version

    async def synced(self) -> None:
        """Wait until everything has been seen once."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow for ever.

        Never raises for what a cluster does: see `health`.
        """
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone as gone:
                self._version = ""
                await self._back_off(gone)
            except EngineError as error:
                await self._back_off(error)

    # --- listing ------------------------------------------------------------------------------

    async def _list(self) -> None:
        seen: set[Key] = set()
        version = ""
        self.lists += 1
        async for page in self._cluster.pages(
            self.kind, selector=self._selector, namespace=self._namespace
        ):
            version = page.metadata.resource_version
            async for written in _decoded(page):
                seen.add(_key(written))
                self._take(written)
        for key in self._objects.keys() - seen:
            self._drop(key)
        self._version, self._listed = version, self._now()
        self._following()
        self._synced.set()

    # --- watching -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        self.watches += 1
        began = self._now()
        try:
            async for event in self._cluster.watch(
                self.kind, self._version, selector=self._selector, namespace=self._namespace
            ):
                self._follow(event)
        finally:
            if self._now() - began > self._pace.healthy:
                self._failures = 0
        if self._now() - self._listed > self._pace.relist:
            self._version = ""
        if self._now() - began < self._pace.first:  # a server that ends every watch at once
            await self._pause(0.0)

    def _follow(self, event: WatchEvent) -> None:
        written: Json = msgspec.json.decode(event.object)
        if event.type == "DELETED":
            stored = self._objects.get(_key(written))
            if stored is not None and _uid(stored) == _uid(written):
                self._drop(_key(written))
        elif event.type in {"ADDED", "MODIFIED"}:
            self._take(written)
        self._version = written["metadata"]["resourceVersion"]
        self._following()

    # --- the copy -----------------------------------------------------------------------------

    def _take(self, written: Json) -> None:
        key = _key(written)
        stored = self._objects.get(key)
        if stored is not None and _is_older(written, stored):
            return
        self._trim(written)
        self._objects[key] = written
        self._changed(Change(key, stored, written))

    def _drop(self, key: Key) -> None:
        self._changed(Change(key, self._objects.pop(key), None))

    # --- health -------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _following(self) -> None:
        self.health = Health("following", None, self._now())

    async def _back_off(self, error: EngineError) -> None:
        state: Literal["syncing", "cut"] = "cut" if self._synced.is_set() else "syncing"
        self.health = Health(state, error, self.health.seen)
        _log.warning(
            "watch of a cluster broke off",
            kind=self.kind.resource,
            cluster=self._cluster.address,
            failures=self._failures + 1,
            error=str(error),
        )
        asked = error.retry_after if isinstance(error, Throttled) else 0.0
        await self._pause(asked)

    async def _pause(self, least: float) -> None:
        self._failures += 1
        pace = self._pace
        longest = min(pace.most, pace.first * 2.0 ** min(self._failures - 1, 20))
        await asyncio.sleep(max(least, longest * self._rng.uniform(0.5, 1.0)))


async def _decoded(page: Page) -> AsyncIterator[Json]:
    """The items of a page, with a turn for others between slices of them."""
    decoded = 0
    for item in page.items:
        written: Json = msgspec.json.decode(item)
        yield written
        decoded += len(memoryview(item))
        if decoded > _SLICE:
            decoded = 0
            await asyncio.sleep(0)


def _key(written: Json) -> Key:
    metadata: Any = written["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _uid(written: Json) -> Any:
    return written["metadata"]["uid"]


def _is_older(written: Json, stored: Json) -> bool:
    """Versions compare as numbers within one kind (KEP-5504); of two uids the later told is new."""
    versions = [int(one["metadata"]["resourceVersion"]) for one in (written, stored)]
    return _uid(written) == _uid(stored) and versions[0] <= versions[1]
