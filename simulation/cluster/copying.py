"""What one control plane has seen of a simulated cluster: a copy that lags, stalls and misses.

The real one is fed by watches (`adapters.k8s.copying`), and so is this: each change comes a moment
later, in order; one that is lost stays unseen until everything is listed anew.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, final, override

from reconcilers.object_labels import APP, INSTALLATION, POSITION, PROJECT, TARGET
from reconcilers.object_ports import Json, ObjectEvent, ObjectKey
from reconcilers.ports import EngineUnavailable
from simulation.cluster.cluster import Cluster, Follower
from simulation.cluster.store import Change

type Owner = tuple[str, str]

AWAY_SECONDS: Final = 10.0  # for which a cluster that is away still counts as known
BEHIND_SECONDS: Final = 5.0  # that a write may take to come back
RELIST_SECONDS: Final = 270.0  # after which a watch ends, and another begins
_CLAIM: Final = "PersistentVolumeClaim"


@final
class Copy(Follower):
    """The objects of an installation and target. It follows while `is_alive`."""

    def __init__(
        self,
        cluster: Cluster,
        installation: str,
        *,
        is_alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._cluster, self._is_alive = cluster, is_alive
        self._ours = {INSTALLATION: installation, TARGET: cluster.name}.items()
        self._objects: dict[ObjectKey, Json] = {}
        self._marks: dict[Owner, int] = {}
        self._changes = 0
        self.position = 0
        """The highest head of the log that an object was seen to tell."""
        self._coming: deque[Change] = deque()
        self._passed: dict[ObjectKey, int] = {}  # versions at which objects were seen to go
        self._listed_at = 0  # version
        self._due = self._listed = cluster.clock()
        self._away_since: float | None = None
        self._news: dict[Owner | None, None] = {None: None}
        self._moved = asyncio.Event()
        cluster.store.followers.append(self._follow)
        cluster.copies.append(self)
        self.relist()

    @property
    def installation(self) -> str:
        return dict(self._ours)[INSTALLATION]

    def close(self) -> None:
        if self in self._cluster.copies:
            self._cluster.copies.remove(self)
            self._cluster.store.followers.remove(self._follow)

    # -- following ----------------------------------------------------------------------------

    @override
    def beat(self) -> None:
        """A second has passed: notice that the cluster went or came, and that a watch is over."""
        now = self._cluster.clock()
        if not self._is_alive():
            self.close()
        elif self._cluster.machine.faults.unavailable:
            self._away_since = now if self._away_since is None else self._away_since
        elif self._away_since is not None or now > self._listed + RELIST_SECONDS:
            self.relist()

    @override
    def relist(self) -> None:
        """See everything anew, as after a version that has expired."""
        self._away_since, self._listed = None, self._cluster.clock()
        self._coming.clear()
        self._listed_at = self._cluster.store.version
        truth = dict(self._cluster.store.all())
        for key in {**self._objects, **truth}:
            self._take(Change(key, self._objects.get(key), truth.get(key), self._listed_at))
        self._news[None] = None
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _follow(self, change: Change) -> None:
        """A change has happened; it will be seen."""
        if (
            self._away_since is not None
            or self._cluster.machine.faults.unavailable
            or self._cluster.watching.loses(change)
        ):
            return
        now = self._cluster.clock()
        self._due = max(
            self._due, now + self._cluster.watching.lags(), self._cluster.watching.stalled_until
        )
        self._coming.append(change)
        asyncio.get_running_loop().call_later(self._due - now, self._arrive, change)

    def _arrive(self, change: Change) -> None:
        if self._coming and self._coming[0] is change:  # else all was listed meanwhile
            self._coming.popleft()
            if change.after is None:
                self._passed[change.key] = change.version
            self._take(change)

    def _take(self, change: Change) -> None:
        before = self._objects.get(change.key)
        after = change.after if change.after is not None and self._is_ours(change.after) else None
        if before is after:
            return
        self._objects.pop(change.key, None)
        if after is not None:
            self._objects[change.key] = after
            self.position = max(self.position, int(after["metadata"]["labels"].get(POSITION, 0)))
        for body in (before, after):
            if body is not None:
                self._touch(_owner(body))

    def _is_ours(self, body: Json) -> bool:
        labels: Mapping[str, str] = body["metadata"].get("labels", {})
        return self._ours <= labels.items()

    def _touch(self, owner: Owner) -> None:
        self._changes += 1
        self._marks[owner] = self._changes
        self._news[owner] = None
        self._wake()

    # -- what is known ------------------------------------------------------------------------

    def check(self) -> None:
        """Raises `EngineUnavailable` when the cluster is away for too long to be known."""
        since = self._away_since
        if since is not None and self._cluster.clock() > since + AWAY_SECONDS:
            raise EngineUnavailable(f"cluster {self._cluster.name} does not answer")

    def bodies(self, owner: Owner | None) -> list[Json]:
        """What is seen of one owner, or of all; without the values of Secrets."""
        return [
            _shown(body)
            for body in self._objects.values()
            if owner is None or _owner(body) == owner
        ]

    def get(self, key: ObjectKey) -> Json | None:
        return self._objects.get(key)

    def has_passed(self, key: ObjectKey, version: int) -> bool:
        """Whether what happened to an object by a version is seen, though it may be gone."""
        return max(self._listed_at, self._passed.get(key, 0)) >= version

    def owners(self) -> Iterator[Owner]:
        yield from dict.fromkeys(map(_owner, self._objects.values()))

    def marks(self) -> Mapping[Owner, int]:
        there = {_owner(b): None for key, b in self._objects.items() if key.kind != _CLAIM}
        return {owner: self._marks[owner] for owner in there}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what was written is seen; raises `EngineUnavailable` if it does not come."""
        try:
            async with asyncio.timeout(BEHIND_SECONDS):
                while not holds():
                    await self._moved.wait()
        except TimeoutError:
            raise EngineUnavailable("what was written does not come back by the watch") from None

    async def watch(self) -> AsyncIterator[ObjectEvent]:
        while True:
            for owner in list(self._news):
                del self._news[owner]
                yield ObjectEvent(owner)
            if not self._news:
                await self._moved.wait()


def _owner(body: Json) -> Owner:
    labels = body["metadata"]["labels"]
    return labels[PROJECT], labels.get(APP, "")


def _shown(body: Json) -> dict[str, Any]:
    return {
        name: value for name, value in body.items() if body["kind"] != "Secret" or name != "data"
    }


def pods(bodies: Sequence[Json]) -> list[Json]:
    """The pods among objects, by name."""
    found = [body for body in bodies if body["kind"] == "Pod"]
    return sorted(found, key=lambda body: str(body["metadata"]["name"]))
