"""Targets as reconcilers see them: an engine, what it last reported, and whether it answers.

A target that does not answer delays no other: its keys fail and back off by themselves.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, final

import structlog

from domain.routing import Routing
from domain.target import Place, TargetSpec, place
from reconcilers.fingerprints import seen_fingerprint
from reconcilers.grounding import AppKey, GroundUse
from reconcilers.object_ports import Objects
from reconcilers.ports import (
    Engine,
    EngineError,
    EngineUnavailable,
    Replica,
)
from reconcilers.status import StatusStore, TargetStatus

_log = structlog.get_logger("targets")

type Mark = tuple[int, int]
"""Moves whenever an object of an app moves, or one that its project shares."""
type Located = tuple[str, Place]
"""A target's name and where it leads: what is left there is found by both."""

LIST_SECONDS: Final = 60.0  # after which an engine that lists nothing counts as gone
OPEN_SECONDS: Final = 1.0  # that others wait for one that opens


class OpenedEngine(NamedTuple):
    """An engine; `objects` if it keeps objects, and runs them itself."""

    engine: Engine
    close: Callable[[], Awaitable[None]]
    objects: Objects | None = None


class EngineOpener(Protocol):
    async def __call__(self, name: str, spec: TargetSpec) -> OpenedEngine:
        """Connect to a target's engine.

        Raises:
            EngineUnavailable: it cannot be reached now.
        """
        ...


def router_of(view: "TargetView") -> str:
    """Which router serves the routes of a target."""
    return (view.spec.routing or Routing()).router_for(view.spec.engine)


@final
class TargetView:
    """One target. `replicas` and `fingerprints` are what it reported last, by app and stream.

    `ended` are the streams of apps of which nothing runs and something is left: replicas that have
    ended, objects without pods.

    `is_served` says whether this worker may work there: if not, it is never opened.

    `check` is told the highest position found on any replica of each list, or on any object, before
    anybody acts on it: one above the log's head means that the log went backwards.
    """

    def __init__(
        self,
        name: str,
        spec: TargetSpec,
        *,
        now: Callable[[], float],
        check: Callable[[int, str], None],
        is_served: bool = True,
    ) -> None:
        self.name, self.spec = name, spec
        self._now, self._check = now, check
        self.is_served = is_served
        self._failed_lists = 0  # since the last one that did not fail
        self.opened: OpenedEngine | None = None
        self.replicas: dict[AppKey, tuple[Replica, ...]] = {}
        self.fingerprints: dict[str, str] = {}
        self.ended: dict[str, None] = {}
        self._settled: dict[str, tuple[Mark, str]] = {}
        self.trouble = "it was not asked yet"
        self.observed_at = 0.0
        self.is_listed = False
        """Whether everything there was listed once: a look at one app says nothing of others."""
        self.use = GroundUse()

    @property
    def located(self) -> Located:
        return self.name, place(self.spec)

    @property
    def is_reached(self) -> bool:
        """Whether its engine is open and did not fail twice when it was last asked."""
        return self.opened is not None and self._failed_lists < 2

    @property
    def is_in_doubt(self) -> bool:
        """Whether its engine is open and failed when it was last asked."""
        return self.opened is not None and self._failed_lists > 0

    @property
    def engine(self) -> Engine:
        """Raises `EngineUnavailable` while there is no connection."""
        return self._connection().engine

    def _connection(self) -> OpenedEngine:
        if self.opened is None:
            raise EngineUnavailable(f"target {self.name} does not answer: {self.trouble}")
        return self.opened

    @property
    def objects(self) -> Objects | None:
        """What is kept there instead of replicas; None where replicas are started one by one."""
        return self.opened.objects if self.opened is not None else None

    @property
    def reached_objects(self) -> Objects | None:
        """The same for who has to know; raises `EngineUnavailable` if a cluster is not reached."""
        return self._connection().objects if self.spec.engine == "k8s" else None

    async def sweep(self) -> None:
        """List everything that is ours there, in one call.

        Raises:
            EngineUnavailable: it could not be listed; what was known stays.
        """
        self.take(await self._list(None))
        self.check_objects()
        self.is_listed = True
        if self.objects is not None:
            self._compare_marks(self.objects.engine.marks())
        self._answered()

    def _compare_marks(self, marks: Mapping[AppKey, int]) -> None:
        """Of apps whose objects did not move since they were found as they should be, say that."""
        self.replicas = {key: self.replicas.get(key, ()) for key in marks if key[1]}
        self.fingerprints, self.ended = {}, {}
        for project, app in self.replicas:
            stream = f"App/{project}/{app}"
            mark = (marks[project, app], marks.get((project, ""), 0))
            known = self._settled.get(stream)
            shown = known[1] if known is not None and known[0] == mark else "moved"
            if shown:
                self.fingerprints[stream] = shown
            else:  # a stopped app keeps its objects, also where it should not be any more
                self.ended[stream] = None
        for stream in self._settled.keys() - {f"App/{key[0]}/{key[1]}" for key in self.replicas}:
            del self._settled[stream]

    def mark(self, stream: str) -> Mark:
        """Where the objects of an app are now, to compare with later."""
        assert self.objects is not None, "only objects have marks"
        _, project, app = stream.split("/")
        marks = self.objects.engine.marks([(project, app), (project, "")])
        return marks.get((project, app), 0), marks.get((project, ""), 0)

    def settle(self, stream: str, mark: Mark, shown: str) -> None:
        """As of `mark`, all is as it should be: `shown` is the fingerprint of that."""
        self._settled[stream] = mark, shown
        if shown:
            self.fingerprints[stream] = shown
        else:
            self.fingerprints.pop(stream, None)

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
            EngineUnavailable: they could not be listed.
        """
        found = tuple(await self._list(key))
        if self.objects is not None:
            self.check_objects()
            if found:
                self.replicas[key] = found
            return found
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
        engine, number = self.engine, self.use.listing()
        try:
            async with asyncio.timeout(LIST_SECONDS):
                listed = await engine.replicas.list(key)
        except TimeoutError as error:
            self._failed_lists += 1
            self.trouble = f"it did not list its replicas within {LIST_SECONDS:.0f} s"
            raise EngineUnavailable(f"target {self.name}: {self.trouble}") from error
        except EngineError as error:
            self._failed_lists += 1
            self.trouble = str(error)
            if isinstance(error, EngineUnavailable):
                raise
            raise EngineUnavailable(self.trouble) from error
        self.use.listed(number, key)
        return listed

    def _check_positions(self, replicas: Sequence[Replica]) -> None:
        highest = max((one.position for one in replicas), default=0)
        self._check(highest, f"a replica on target {self.name}")

    def check_objects(self) -> None:
        """Compare what objects there tell of the log's head, as `check` says."""
        if self.objects is not None:
            self._check(self.objects.engine.position(), f"an object on target {self.name}")

    def _answered(self) -> None:
        self.trouble, self._failed_lists = "", 0
        self.observed_at = self._now()


@final
class Targets:
    """The targets of the desired state, opened when they appear and closed when they go.

    To look at all of them includes where they led before, as long as something is left there;
    `get` only finds what a name means now.

    Args: `fence` is put around each engine; `serves` says on which targets this worker may work.
    """

    def __init__(
        self,
        opener: EngineOpener,
        *,
        status: StatusStore,
        now: Callable[[], float],
        check: Callable[[int, str], None],
        fence: Callable[[str, OpenedEngine], OpenedEngine],
        serves: Callable[[str, TargetSpec], bool],
    ) -> None:
        self._opener, self._status, self._now = opener, status, now
        self._check, self._fence, self._serves = check, fence, serves
        self._views: dict[Located, TargetView] = {}
        self._present: dict[str, TargetView] = {}
        self._opening: dict[TargetView, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._views)

    def __iter__(self) -> Iterator[TargetView]:
        return iter(list(self._views.values()))

    def get(self, name: str) -> TargetView | None:
        return self._present.get(name)

    def at(self, name: str, spec: TargetSpec) -> TargetView | None:
        """The view of where a target leads, or led, by one of its definitions."""
        return self._views.get((name, place(spec)))

    async def follow(
        self,
        present: Mapping[str, TargetSpec],
        former: Mapping[Located, TargetSpec],
        opened: Callable[[TargetView], None],
    ) -> None:
        """Close what went or changed, and open what is new: `opened` is told of each.

        One that takes its time to open is not waited for.
        """
        wanted = {(name, place(spec)): spec for name, spec in present.items()}
        for located, spec in former.items():
            known = self._views.get(located)
            wanted.setdefault(located, known.spec if known is not None else spec)
        gone = [view for at, view in self._views.items() if wanted.get(at) != view.spec]
        for view in gone:
            del self._views[view.located]
        for located, spec in wanted.items():
            if located not in self._views:
                self._views[located] = self._view(located[0], spec)
        self._present = {name: self._views[name, place(spec)] for name, spec in present.items()}
        for view in gone:
            await self._close(view)
        await self._open_all(opened)

    def _view(self, name: str, spec: TargetSpec) -> TargetView:
        is_served = self._serves(name, spec)
        view = TargetView(name, spec, now=self._now, check=self._check, is_served=is_served)
        if not is_served:
            view.trouble = "this worker does not serve it, as its settings say"
        return view

    async def _open_all(self, opened: Callable[[TargetView], None]) -> None:
        begun = []
        for view in list(self._views.values()):
            if view.is_served and view.opened is None and view not in self._opening:
                task = asyncio.create_task(self._open(view, opened))
                self._opening[view] = task
                begun.append(task)
        if begun:
            await asyncio.wait(begun, timeout=OPEN_SECONDS)

    async def _open(self, view: TargetView, opened: Callable[[TargetView], None]) -> None:
        try:
            view.opened = self._fence(view.name, await self._opener(view.name, view.spec))
        except Exception as error:  # whatever is wrong with one target delays no other
            view.trouble = str(error) or repr(error)
            if not isinstance(error, EngineUnavailable):
                _log.exception("target cannot be opened", target=view.name)
            self.publish(view)
            return
        finally:
            del self._opening[view]
        if self._views.get(view.located) is not view:  # it went meanwhile
            await self._close(view)
            return
        view.check_objects()
        _log.info("target opened", target=view.name, engine=view.spec.engine)
        opened(view)

    async def _close(self, view: TargetView) -> None:
        if view.opened is not None:
            await view.opened.close()
            view.opened = None

    def publish(self, view: TargetView) -> None:
        """Say how the target is, if this is where it leads now."""
        if self._present.get(view.name) is not view:
            return
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
        self._present.clear()
