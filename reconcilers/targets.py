"""Targets as reconcilers see them: an engine, what it last reported, and whether it answers.

A target that does not answer delays no other: its keys fail and back off by themselves.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, final

import structlog

from domain.target import TargetSpec
from reconcilers.ports import (
    Engine,
    EngineError,
    EngineUnavailable,
    Replica,
    ReplicaState,
)
from reconcilers.status import StatusStore, TargetStatus

_log = structlog.get_logger("targets")

type AppKey = tuple[str, str]

LIST_SECONDS: Final = 60.0  # after which an engine that lists nothing counts as gone
OPEN_SECONDS: Final = 1.0  # that others wait for one that opens


class OpenedEngine(NamedTuple):
    engine: Engine
    close: Callable[[], Awaitable[None]]


class EngineOpener(Protocol):
    async def __call__(self, name: str, spec: TargetSpec) -> OpenedEngine:
        """Connect to a target's engine.

        Raises:
            EngineUnavailable: it cannot be reached now.
        """
        ...


def fingerprint(uid: int, revision: int, digest: str, replicas: int) -> str:
    """What converged replicas look like, in one string that is cheap to compare."""
    return f"{uid}:{revision}:{digest}:{replicas}" if replicas else ""


def seen_fingerprint(replicas: Sequence[Replica]) -> str:
    """The fingerprint of an app's replicas; one that nothing wanted equals if they are mixed."""
    running = [one for one in replicas if one.state is ReplicaState.RUNNING]
    if not running:
        created = any(one.state is ReplicaState.CREATED for one in replicas)
        return "created" if created else ""
    first = running[0]
    slots = set()
    for one in running:
        if (
            one.uid != first.uid
            or one.digest != first.digest
            or one.name.revision != first.name.revision
            or one.edited
            or one.healthy is False
        ):
            return "mixed"
        slots.add(one.name.slot)
    count = len(running)
    if len(slots) != count or max(slots) != count - 1:
        return "mixed"
    return fingerprint(first.uid, first.name.revision, first.digest, count)


@final
class TargetView:
    """One target. `replicas` and `fingerprints` are what it reported last, by app and stream.

    `ended` are the streams of apps of which nothing runs and something that has ended is left.

    `check` is told the highest position found on any replica of each list, before anybody acts on
    it: one above the log's head means that the log went backwards.
    """

    def __init__(
        self,
        name: str,
        spec: TargetSpec,
        *,
        now: Callable[[], float],
        check: Callable[[int, str], None],
    ) -> None:
        self.name, self.spec = name, spec
        self._now, self._check = now, check
        self.opened: OpenedEngine | None = None
        self.replicas: dict[AppKey, tuple[Replica, ...]] = {}
        self.fingerprints: dict[str, str] = {}
        self.ended: dict[str, None] = {}
        self.trouble = "it was not asked yet"
        self.observed_at = 0.0

    @property
    def engine(self) -> Engine:
        """Raises `EngineUnavailable` while there is no connection."""
        if self.opened is None:
            raise EngineUnavailable(f"target {self.name} does not answer: {self.trouble}")
        return self.opened.engine

    async def sweep(self) -> None:
        """List everything that is ours there, in one call.

        Raises:
            EngineError: as the engine's; what was known stays.
        """
        self.take(await self._list(None))
        self._answered()

    def take(self, listed: Iterable[Replica]) -> None:
        """Replace what is known by a complete list."""
        listed = list(listed)
        self._check_positions(listed)
        apps: dict[AppKey, list[Replica]] = defaultdict(list)
        for one in listed:
            apps[one.name[0], one.name[1]].append(one)
        self.replicas = {key: tuple(found) for key, found in apps.items()}
        marks = {
            f"App/{key[0]}/{key[1]}": seen_fingerprint(found)
            for key, found in self.replicas.items()
        }
        self.fingerprints = {stream: mark for stream, mark in marks.items() if mark}
        self.ended = {stream: None for stream, mark in marks.items() if not mark}

    async def look(self, key: AppKey) -> Sequence[Replica]:
        """List the replicas of one app.

        Raises:
            EngineError: as the engine's.
        """
        found = tuple(await self._list(key))
        self._check_positions(found)
        stream = f"App/{key[0]}/{key[1]}"
        mark = seen_fingerprint(found)
        if found:
            self.replicas[key] = found
        else:
            self.replicas.pop(key, None)
        self.ended.pop(stream, None)
        if mark:
            self.fingerprints[stream] = mark
        else:
            self.fingerprints.pop(stream, None)
            if found:
                self.ended[stream] = None
        self._answered()
        return found

    async def _list(self, key: AppKey | None) -> Sequence[Replica]:
        try:
            async with asyncio.timeout(LIST_SECONDS):
                return await self.engine.replicas.list(key)
        except TimeoutError as error:
            self.trouble = f"it did not list its replicas within {LIST_SECONDS:.0f} s"
            raise EngineUnavailable(f"target {self.name}: {self.trouble}") from error
        except EngineError as error:
            self.trouble = str(error)
            raise

    def _check_positions(self, replicas: Sequence[Replica]) -> None:
        highest = max((one.position for one in replicas), default=0)
        self._check(highest, f"a replica on target {self.name}")

    def _answered(self) -> None:
        self.trouble = ""
        self.observed_at = self._now()


@final
class Targets:
    """The targets of the desired state, opened when they appear and closed when they go."""

    def __init__(
        self,
        opener: EngineOpener,
        *,
        status: StatusStore,
        now: Callable[[], float],
        check: Callable[[int, str], None],
    ) -> None:
        self._opener, self._status, self._now = opener, status, now
        self._check = check
        self._views: dict[str, TargetView] = {}
        self._opening: dict[TargetView, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[TargetView]:
        return iter(list(self._views.values()))

    def get(self, name: str) -> TargetView | None:
        return self._views.get(name)

    async def follow(
        self, specs: Mapping[str, TargetSpec], opened: Callable[[TargetView], None]
    ) -> None:
        """Close what went or changed, and open what is new: `opened` is told of each.

        One that takes its time to open is not waited for.
        """
        for name, view in list(self._views.items()):
            if specs.get(name) != view.spec:
                del self._views[name]
                await self._close(view)
        begun = []
        for name, spec in specs.items():
            if name not in self._views:
                self._views[name] = TargetView(name, spec, now=self._now, check=self._check)
            view = self._views[name]
            if view.opened is None and view not in self._opening:
                task = asyncio.create_task(self._open(view, opened))
                self._opening[view] = task
                begun.append(task)
        if begun:
            await asyncio.wait(begun, timeout=OPEN_SECONDS)

    async def _open(self, view: TargetView, opened: Callable[[TargetView], None]) -> None:
        try:
            view.opened = await self._opener(view.name, view.spec)
        except Exception as error:  # whatever is wrong with one target delays no other
            view.trouble = str(error) or repr(error)
            if not isinstance(error, EngineUnavailable):
                _log.exception("target cannot be opened", target=view.name)
            self.publish(view)
            return
        finally:
            del self._opening[view]
        if self._views.get(view.name) is not view:  # it went meanwhile
            await self._close(view)
            return
        _log.info("target opened", target=view.name, engine=view.spec.engine)
        opened(view)

    async def _close(self, view: TargetView) -> None:
        if view.opened is not None:
            await view.opened.close()
            view.opened = None

    def publish(self, view: TargetView) -> None:
        """Say how the target is."""
        self._status.put_target(
            view.name,
            TargetStatus(
                answers=not view.trouble,
                message=view.trouble or "it answers",
                observed_at=view.observed_at,
                replicas=sum(map(len, view.replicas.values())),
            ),
        )

    async def close(self) -> None:
        for task in self._opening.values():
            task.cancel()
        await asyncio.gather(*(self._close(view) for view in self._views.values()))
        self._views.clear()
