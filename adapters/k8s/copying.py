"""The copy of what is ours in a cluster: one reflector a kind, sorted by whose the objects are.

Everything is found by labels, so nothing of others is ever seen; only the Events of the cluster
have none, and belong to the objects they are about. Each change moves the mark of its owner: equal
marks mean that nothing has to be looked at.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Final, final

import msgspec

from adapters.k8s.cluster import Cluster
from adapters.k8s.grants import EVENTS, FOLLOWED, OWNED
from adapters.k8s.held import Held, Trimming
from adapters.k8s.kinds import BUILT_IN, OF_ROUTES, Kind
from adapters.k8s.reflector import Change, Pace, Reflector
from reconcilers.object_labels import APP, INSTALLATION, POSITION, PROJECT, TARGET
from reconcilers.object_ports import HANDOVER, MANAGER, Json, ObjectEvent, ObjectKey
from reconcilers.ports import EngineError, EngineUnavailable

type Owner = tuple[str, str]
type Place = tuple[str, str, str]  # kind, namespace, name

AWAY_SECONDS: Final = 10.0  # for which a kind that is not followed still counts as known
DECODED: Final = 32  # owners whose objects are kept as they were last read; as many as passes
BEHIND_SECONDS: Final = 5.0  # that a write may take to come back by the watch

_PACE: Final = Pace(most=3.0)  # seconds; a cluster that comes back is soon known again, whole
_ASKING: Final = Pace(most=15.0)  # seconds; how often a kind is looked for that is not there
_TRIMMING: Final = Trimming(
    ours=frozenset({MANAGER, HANDOVER}), without=frozenset({"data", "stringData"})
)


class _About(msgspec.Struct, frozen=True):
    uid: str = ""


class _Event(msgspec.Struct, frozen=True, rename="camel"):
    involved_object: _About


_ABOUT = msgspec.json.Decoder(_Event)


@final
class Copy:
    """Start it with `begin`; all else may be asked at any time."""

    def __init__(
        self, cluster: Cluster, rng: random.Random, *, installation: str, target: str
    ) -> None:
        self._cluster = cluster
        self._objects: dict[Owner, dict[Place, Held]] = {}
        self._owners: dict[str, Owner] = {}  # by uid
        self._told: dict[str, dict[Place, Held]] = {}  # Events, by the uid of what they are about
        self._decoded: dict[Owner, list[Json]] = {}  # of who was asked for lately
        self._marks: dict[Owner, int] = {}
        self._changes = 0
        self.position = 0
        """The highest head of the log that an object was seen to tell."""
        self._dirty: dict[Owner, None] = {}
        self._news, self._moved = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        selector = f"{INSTALLATION}={installation},{TARGET}={target}"
        self._reflectors = {
            name: Reflector(
                cluster,
                BUILT_IN[name],
                random.Random(rng.getrandbits(64)),
                pace=_PACE,
                selector=selector,
                # without its values a Secret says enough, and a ConfigMap is named by its content
                trimming=_TRIMMING if name[1] == "Secret" else Trimming(ours=_TRIMMING.ours),
                changed=self._changed_of(BUILT_IN[name]),
            )
            for name in (*OWNED, *FOLLOWED)
        }
        for name, kind in OF_ROUTES.items():
            self._reflectors[name] = Reflector(
                cluster,
                kind,
                random.Random(rng.getrandbits(64)),
                pace=_ASKING,
                selector=selector,
                trimming=Trimming(ours=_TRIMMING.ours),
                changed=self._changed_of(kind),
                switched=self._touch_all,
            )
        self._reflectors[EVENTS] = Reflector(
            cluster,
            BUILT_IN[EVENTS],
            random.Random(rng.getrandbits(64)),
            pace=_PACE,
            fields="type=Warning",
            changed=self._event_changed,
        )

    # -- life ---------------------------------------------------------------------------------

    async def begin(self, within: float) -> None:
        """Follow the cluster; return once all was seen.

        Raises:
            EngineUnavailable: that takes longer, or something may not be seen; the message says
                what. It is followed all the same.
        """
        self._tasks = [asyncio.create_task(one.run()) for one in self._reflectors.values()]
        try:
            async with asyncio.timeout(within):
                await asyncio.gather(*(one.synced() for one in self._reflectors.values()))
        except TimeoutError:
            raise EngineUnavailable(self._trouble() or self._unseen()) from None

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- what is known ------------------------------------------------------------------------

    def check(self) -> None:
        """Raises: EngineUnavailable, when not everything is known as it lately was."""
        if (trouble := self._trouble()) is not None:
            raise EngineUnavailable(trouble)

    def _trouble(self) -> str | None:
        for reflector in self._reflectors.values():
            state, error, seen = reflector.health
            if state in {"following", "absent"}:
                continue
            if state == "syncing" and error is None:
                return self._unseen()
            away = asyncio.get_running_loop().time() - seen
            if state == "syncing" or away >= AWAY_SECONDS:
                return str(error)
        return None

    def _unseen(self) -> str:
        return f"not everything in the cluster at {self._cluster.address} has been listed yet"

    def owners(self) -> Iterator[Owner]:
        yield from list(self._objects)

    def places(self, owner: Owner) -> Mapping[Place, Held]:
        """What is there of one owner, but for Events."""
        return self._objects.get(owner, {})

    def bodies(self, owner: Owner) -> Sequence[Json]:
        """All that is there of one owner, Events included; a pass asks again and again."""
        found = self._decoded.pop(owner, None)
        if found is None:
            held = self._objects.get(owner, {})
            found = [one.body for one in held.values()]
            for one in held.values():
                found += [event.body for event in self._told.get(one.uid, {}).values()]
        self._decoded[owner] = found
        if len(self._decoded) > DECODED:
            del self._decoded[next(iter(self._decoded))]
        return found

    def held(self, key: ObjectKey) -> Held | None:
        reflector = self._reflectors.get((key.api_version, key.kind))
        return reflector.objects.get((key.namespace, key.name)) if reflector else None

    def absent(self, api_version: str, kind: str) -> EngineError | None:
        """Why the cluster has nothing of a kind; None if it can."""
        reflector = self._reflectors.get((api_version, kind))
        if reflector is None or reflector.health.state != "absent":
            return None
        return reflector.health.error

    def has_passed(self, key: ObjectKey, version: int) -> bool:
        """Whether all is seen of an object's kind that had happened by a version."""
        if self.absent(key.api_version, key.kind) is not None:
            return True
        reflector = self._reflectors.get((key.api_version, key.kind))
        known = reflector.version if reflector else ""
        return bool(known) and int(known) >= version

    def mark(self, owner: Owner) -> int:
        """Another number after each change of what is there; 0 of who never had anything."""
        return self._marks.get(owner, 0)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the copy shows what was written.

        Raises:
            EngineUnavailable: it does not come; the copy is behind.
        """
        if holds():  # mostly, and a timer costs as much as all of it
            return
        try:
            async with asyncio.timeout(BEHIND_SECONDS):
                while not holds():
                    await self._moved.wait()
        except TimeoutError:
            raise EngineUnavailable(
                f"the cluster at {self._cluster.address} was written to, and tells nothing of it; "
                "it is looked at again when its news come"
            ) from None

    async def watch(self) -> AsyncIterator[ObjectEvent]:
        """Whose objects changed, each once until it is taken; at first everybody's."""
        self._dirty.clear()
        yield ObjectEvent(None)
        while True:
            while self._dirty:
                yield ObjectEvent(self._dirty.popitem()[0])
            self._news.clear()
            await self._news.wait()

    # -- changes ------------------------------------------------------------------------------

    def _changed_of(self, kind: Kind) -> Callable[[Change], None]:
        def changed(change: Change) -> None:
            for held in (change.before, change.after):
                if held is not None:
                    self._take_out(kind, held)
            if change.after is not None and (owner := _owner(change.after)):
                self.position = max(self.position, _told(change.after.labels))
                place = (kind.name, *change.key)
                self._objects.setdefault(owner, {})[place] = change.after
                self._owners[change.after.uid] = owner
            for held in (change.before, change.after):
                if held is not None and (owner := _owner(held)):
                    self._touch(owner)

        return changed

    def _take_out(self, kind: Kind, held: Held) -> None:
        owner = self._owners.pop(held.uid, None)
        if owner is not None:
            found = self._objects.get(owner, {})
            found.pop((kind.name, *held.key), None)
            if not found:
                self._objects.pop(owner, None)

    def _event_changed(self, change: Change) -> None:
        place = ("Event", *change.key)
        if change.before is not None:
            about = _ABOUT.decode(change.before.encoded).involved_object.uid
            found = self._told.get(about, {})
            found.pop(place, None)
            if (owner := self._owners.get(about)) is not None:
                self._decoded.pop(owner, None)
            if not found:
                self._told.pop(about, None)
        if change.after is not None:
            about = _ABOUT.decode(change.after.encoded).involved_object.uid
            self._told.setdefault(about, {})[place] = change.after
            if (owner := self._owners.get(about)) is not None:
                self._touch(owner)

    def _touch_all(self) -> None:
        for owner in self.owners():
            self._touch(owner)

    def _touch(self, owner: Owner) -> None:
        self._decoded.pop(owner, None)
        self._changes += 1
        self._marks[owner] = self._changes
        self._dirty[owner] = None
        self._news.set()
        self._moved.set()
        self._moved = asyncio.Event()


def _owner(held: Held) -> Owner | None:
    project = held.labels.get(PROJECT)
    return (project, held.labels.get(APP, "")) if project else None


def _told(labels: Mapping[str, str]) -> int:
    """The head of the log by an object's label; one that somebody made up may be no number."""
    told = labels.get(POSITION, "")
    return int(told) if told.isascii() and told.isdecimal() else 0
