"""A copy of all objects of a kind, kept true by a watch: list once, then follow every change.

list in pages → tell what differs from the copy → watch from the list's version → on a cut, watch
again from the last version seen; on "410 Gone", list again. Failures back off, with jitter, for
ever; the copy stays readable meanwhile, with its age. Changes are told as keys: look, then compare.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, final

import msgspec
import structlog

from adapters.k8s.cluster import Cluster, Page, WatchEvent
from adapters.k8s.errors import Forbidden, Gone, KindMissing, Throttled
from adapters.k8s.held import Held, Key, Trimming, hold, version_of
from adapters.k8s.kinds import Kind
from reconcilers.ports import EngineError

_SLICE: Final = 256 * 1024  # bytes taken in before others get a turn: about a millisecond
_log = structlog.get_logger(__name__)


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
    before: Held | None
    after: Held | None


class Health(NamedTuple):
    """`state`: `syncing` until the first list, then `following`, or `cut` with the last `error`.

    `absent`: there is nothing to follow, `error` is why. `seen` is when the cluster last said
    anything, by the clock of the loop.
    """

    state: Literal["syncing", "following", "cut", "absent"]
    error: EngineError | None
    seen: float


@final
class Reflector:
    """Follows one kind. `run` does the work; everything else may be read at any time.

    With `switched`, a cluster may do without the kind, or not show it to us: then there is none of
    it, until it comes. It is called when that changes.
    """

    def __init__(  # noqa: PLR0913 -- what of a kind is followed, and how
        self,
        cluster: Cluster,
        kind: Kind,
        rng: random.Random,
        *,
        selector: str = "",
        fields: str = "",
        namespace: str = "",
        trimming: Trimming | None = None,
        changed: Callable[[Change], None] = lambda _: None,
        switched: Callable[[], None] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.kind = kind
        self.lists = 0
        self.watches = 0
        self._cluster = cluster
        self._rng = rng
        self._selector, self._fields, self._namespace = selector, fields, namespace
        self._trimming, self._changed = trimming or Trimming(), changed
        self._switched = switched
        self._pace = pace or Pace()
        self._objects: dict[Key, Held] = {}
        self._synced = asyncio.Event()
        self._version = ""  # empty: list first
        self._listed = 0.0
        self._failures = 0
        self.health = Health("syncing", None, 0.0)

    @property
    def objects(self) -> Mapping[Key, Held]:
        """The copy."""
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
            except (KindMissing, Forbidden) as error:
                if self._switched is None:
                    await self._back_off(error)
                else:
                    self._do_without(error, self._switched)
                    await self._pause(0.0)
            except EngineError as error:
                await self._back_off(error)

    # --- listing ------------------------------------------------------------------------------

    async def _list(self) -> None:
        seen: set[Key] = set()
        version = ""
        self.lists += 1
        async for page in self._cluster.pages(
            self.kind, selector=self._selector, fields=self._fields, namespace=self._namespace
        ):
            version = page.metadata.resource_version
            async for item in _in_slices(page):
                held = hold(item, self.kind, self._trimming)
                seen.add(held.key)
                if self._objects.get(held.key) != held:
                    self._take(held)
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
                self.kind,
                self._version,
                selector=self._selector,
                fields=self._fields,
                namespace=self._namespace,
                opened=self._following,
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
        if event.type == "BOOKMARK":
            self._advance(version_of(event.object))
        else:
            held = hold(event.object, self.kind, self._trimming)
            self._advance(held.version)
            stored = self._objects.get(held.key)
            if event.type == "DELETED":
                if stored is not None and stored.uid == held.uid:
                    self._drop(held.key)
            elif stored is None or held.is_newer(stored):
                self._take(held)
        self._following()

    def _advance(self, version: str) -> None:
        """Raises: Gone, when versions went back: the cluster was restored from a backup."""
        if int(version) < int(self._version):
            raise Gone(
                f"the cluster at {self._cluster.address} went back from version {self._version} "
                f"to {version} of {self.kind.resource}; it is listed anew"
            )
        self._version = version

    # --- the copy -----------------------------------------------------------------------------

    def _take(self, held: Held) -> None:
        before = self._objects.get(held.key)
        self._objects[held.key] = held
        self._changed(Change(held.key, before, held))

    def _drop(self, key: Key) -> None:
        self._changed(Change(key, self._objects.pop(key), None))

    # --- health -------------------------------------------------------------------------------

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _following(self) -> None:
        was_absent = self.health.state == "absent"
        self.health = Health("following", None, self._now())
        if was_absent and self._switched is not None:
            self._switched()

    def _do_without(self, error: EngineError, switched: Callable[[], None]) -> None:
        was_absent = self.health.state == "absent"
        self._version = ""
        for key in list(self._objects):
            self._drop(key)
        self.health = Health("absent", error, self._now())
        self._synced.set()
        if not was_absent:
            _log.info("a cluster does without a kind", kind=self.kind.resource, error=str(error))
            switched()

    async def _back_off(self, error: EngineError) -> None:
        state: Literal["syncing", "cut"] = "cut" if self._synced.is_set() else "syncing"
        if self.health.state != "absent":
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


async def _in_slices(page: Page) -> AsyncIterator[msgspec.Raw]:
    """The items of a page, with a turn for others between slices of them."""
    taken = 0
    for item in page.items:
        yield item
        taken += len(memoryview(item))
        if taken > _SLICE:
            taken = 0
            await asyncio.sleep(0)
