"""What the server has stored, and the one history of all changes, by resource version.

Stored objects are never altered: a change stores another one. So a list is a snapshot, and an event
of the history can hold what was there before and after.
"""

import asyncio
import functools
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from tests.support.kubernetes.kinds import Kind
from tests.support.kubernetes.schema import Object

FIRST_VERSION = 1000  # so that version 1 is always too old to watch from
HISTORY = 20_000  # events kept; older ones answer "410 Expired"


class Place(NamedTuple):
    """Where an object is: `namespace` is empty for cluster-wide kinds."""

    group: str
    plural: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Stored:
    """An object as stored, with `apiVersion` and `kind`. Never alter it: use `copied`."""

    object: Object

    @property
    def metadata(self) -> Object:
        found: Object = self.object["metadata"]
        return found

    @property
    def version(self) -> int:
        return int(self.metadata["resourceVersion"])

    def copied(self) -> Object:
        copy: Object = msgspec.json.decode(self.encoded)
        return copy

    @functools.cached_property
    def encoded(self) -> bytes:
        return msgspec.json.encode(self.object)

    @functools.cached_property
    def as_item(self) -> bytes:
        """As it stands in a list: without its type."""
        bare = {key: of for key, of in self.object.items() if key not in {"apiVersion", "kind"}}
        return msgspec.json.encode(bare)


type Backup = tuple[int, dict[tuple[str, str], dict[tuple[str, str], Stored]]]


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    place: Place
    before: Stored | None
    after: Stored | None  # of a deletion: None
    last: Stored  # the object with the version of this change


class Feed:
    """The changes of one kind from a moment on, each kept until it is taken."""

    def __init__(self) -> None:
        self._kept: list[Change] = []
        self._come = asyncio.Event()

    def tell(self, change: Change) -> None:
        self._kept.append(change)
        self._come.set()

    async def come(self) -> None:
        """Wait until there is something to take."""
        await self._come.wait()

    def take(self) -> list[Change]:
        taken, self._kept = self._kept, []
        self._come.clear()
        return taken


class Store:
    def __init__(self) -> None:
        self.version = FIRST_VERSION
        self.oldest = FIRST_VERSION  # changes after this one are known
        self.history: list[Change] = []
        self.followers: list[deque[Change]] = []  # each gets every change, also forgotten ones
        self._objects: dict[tuple[str, str], dict[tuple[str, str], Stored]] = {}
        self._feeds: dict[tuple[str, str], list[Feed]] = defaultdict(list)
        self._changed = asyncio.Event()
        self.writes = 0

    def get(self, place: Place) -> Stored | None:
        return self._objects.get(place[:2], {}).get(place[2:])

    def all(self, group: str, plural: str, namespace: str = "") -> list[tuple[Place, Stored]]:
        """All objects of a kind, in one namespace or in all, ordered by namespace and name."""
        found = self._objects.get((group, plural), {})
        return [
            (Place(group, plural, *key), found[key])
            for key in sorted(found)
            if not namespace or key[0] == namespace
        ]

    def inside(self, namespace: str) -> Iterator[tuple[Place, Stored]]:
        for group, plural in list(self._objects):
            yield from self.all(group, plural, namespace)

    def put(self, place: Place, written: Object) -> Stored:
        """Store an object; its resource version is set here."""
        before = self.get(place)
        stored = self._versioned(written)
        self._objects.setdefault(place[:2], {})[place[2:]] = stored
        self._record(Change(self.version, place, before, stored, stored))
        return stored

    def remove(self, place: Place) -> Stored:
        """Delete an object for good.

        Raises:
            KeyError: it is not there.
        """
        before = self._objects[place[:2]].pop(place[2:])
        last = self._versioned(before.copied())
        self._record(Change(self.version, place, before, None, last))
        return last

    def after(self, version: int) -> list[Change]:
        start = bisect_right(self.history, version, key=lambda change: change.version)
        return self.history[start:]

    @contextmanager
    def feed(self, group: str, plural: str) -> Iterator[Feed]:
        """What comes of one kind; as in a real server, who waits for it sleeps through all else."""
        feed, feeds = Feed(), self._feeds[group, plural]
        feeds.append(feed)
        try:
            yield feed
        finally:
            feeds.remove(feed)

    def forget_history(self) -> None:
        """Let every version but the present one be too old, as after a compaction."""
        self.history.clear()
        self.oldest = self.version

    def backed_up(self) -> Backup:
        return self.version, {key: dict(found) for key, found in self._objects.items()}

    def restore(self, backup: Backup) -> None:
        """Go back to a backup, versions and all, as after a restore of etcd."""
        self.version, kept = backup
        self._objects = {key: dict(found) for key, found in kept.items()}
        self.history.clear()
        self.oldest = self.version
        self.wake()

    async def changed(self) -> None:
        """Wait for the next change. Look at `after` again behind it."""
        await self._changed.wait()

    def wake(self) -> None:
        """Let all who wait for a change look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _versioned(self, written: Object) -> Stored:
        self.version += 1
        written["metadata"]["resourceVersion"] = str(self.version)
        return Stored(written)

    def _record(self, change: Change) -> None:
        self.writes += 1
        self.history.append(change)
        for follower in self.followers:
            follower.append(change)
        for feed in self._feeds[change.place[:2]]:
            feed.tell(change)
        if len(self.history) > HISTORY:
            self.oldest = self.history[HISTORY // 10 - 1].version
            del self.history[: HISTORY // 10]
        self.wake()


def kind_key(kind: Kind) -> tuple[str, str]:
    return kind.group, kind.plural


def place_of(kind: Kind, namespace: str, name: str) -> Place:
    return Place(kind.group, kind.plural, namespace if kind.namespaced else "", name)


def without(written: Object, *keys: str) -> dict[str, Any]:
    return {key: of for key, of in written.items() if key not in keys}
