"""Fencing: no call that changes anything on an engine starts after the lease of its key has ended.

The lease is looked at right before each call, by a clock that counts suspension: a worker that was
paused wakes up here. A call that was sent before may land late; it names what it is about for ever,
so the next pass of whoever decides now repairs what it did. Pulling an image is not fenced.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, final, override

from reconcilers.object_ports import (
    MANAGER,
    Applied,
    Json,
    Manifest,
    ObjectEngine,
    ObjectEvent,
    ObjectKey,
    Propagation,
)
from reconcilers.ports import (
    EngineError,
    EngineUnavailable,
    Foreign,
    ForeignReplica,
    Grounds,
    LeaseEnded,
    Replica,
    ReplicaName,
    Replicas,
    StartReplica,
)
from reconcilers.sharing import Sharing
from reconcilers.targets import OpenedEngine

CALL_SECONDS: Final = 120.0  # that any call may take beside the grace of what it ends


def fenced(opened: OpenedEngine, target: str, sharing: Sharing) -> OpenedEngine:
    """An engine whose writes need the lease of what they are about."""
    fence, engine, objects = _Fence(target, sharing), opened.engine, opened.objects
    if objects is not None:
        objects = objects._replace(engine=_Objects(objects.engine, fence))
    guarded = engine._replace(
        replicas=_Replicas(engine.replicas, fence),
        grounds=_Grounds(engine.grounds, fence),
        foreign=_Foreign(engine.foreign, fence),
    )
    return OpenedEngine(guarded, opened.close, objects)


@final
class _Fence:
    def __init__(self, target: str, sharing: Sharing) -> None:
        self._target, self._sharing = target, sharing

    async def about(
        self, name: ReplicaName, verb: str, call: Callable[[], Awaitable[None]], grace: float = 0.0
    ) -> None:
        """Start a call about one app.

        Raises:
            LeaseEnded: it may not start any more.
            EngineUnavailable: it did not end in time.
        """
        stream = f"App/{name.project}/{name.app}"
        may_call = self._sharing.may_call(self._target, stream)
        await self._call(f"{verb} {stream}", grace, call, may_call=may_call)

    async def shared(self, verb: str, call: Callable[[], Awaitable[None]]) -> None:
        """Start a call about what several apps share. Raises as `about`."""
        may_call = self._sharing.may_call_any(self._target)
        await self._call(verb, 0.0, call, may_call=may_call)

    async def ground(self, project: str, verb: str, call: Callable[[], Awaitable[None]]) -> None:
        """Start a call about all that the apps of a project share, which one worker does."""
        may_call = self._sharing.may_call(self._target, f"Project/{project}")
        await self._call(verb, 0.0, call, may_call=may_call)

    async def owned[T](
        self, owner: tuple[str, str], asked: str, call: Callable[[], Awaitable[T]]
    ) -> T:
        """A call about an object of an app, or of what a project shares. Raises as `about`."""
        project, app = owner
        if app:
            may_call = self._sharing.may_call(self._target, f"App/{project}/{app}")
        else:
            may_call = self._sharing.may_call_any(self._target)
        return await self._call(asked, 0.0, call, may_call=may_call)

    async def _call[T](
        self, asked: str, grace: float, call: Callable[[], Awaitable[T]], *, may_call: bool
    ) -> T:
        if not may_call:
            raise LeaseEnded(
                f"{asked} on target {self._target} was not begun: the lease of this worker has "
                "ended; whoever holds it now goes on"
            )
        allowed = CALL_SECONDS + grace
        deadline = asyncio.timeout(allowed)
        try:
            async with deadline:
                return await call()
        except TimeoutError as error:
            if not deadline.expired():
                raise
            message = f"target {self._target} did not {asked} within {allowed:.0f} s"
            raise EngineUnavailable(message) from error


@final
class _Replicas(Replicas):
    def __init__(self, inner: Replicas, fence: _Fence) -> None:
        self._inner, self._fence = inner, fence

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        return await self._inner.list(app)

    @override
    async def start(self, order: StartReplica) -> None:
        await self._fence.about(order.name, "start", lambda: self._inner.start(order))

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        def call() -> Awaitable[None]:
            return self._inner.stop(replica, grace=grace, keep=keep)

        await self._fence.about(replica.name, "stop", call, grace)

    @override
    async def remove(self, replica: Replica) -> None:
        await self._fence.about(replica.name, "remove", lambda: self._inner.remove(replica))


@final
class _Grounds(Grounds):
    def __init__(self, inner: Grounds, fence: _Fence) -> None:
        self._inner, self._fence = inner, fence

    @override
    async def prepare(self, project: str) -> None:
        await self._fence.shared(f"prepare {project}", lambda: self._inner.prepare(project))

    @override
    async def clear(self, project: str) -> None:
        await self._fence.ground(project, f"clear {project}", lambda: self._inner.clear(project))

    @override
    async def projects(self) -> Sequence[str]:
        return await self._inner.projects()

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        def call() -> Awaitable[None]:
            return self._inner.remove_volumes(project, app)

        await self._fence.about(ReplicaName(project, app, 0, 0, 0), "remove volumes of", call)


@final
class _Foreign(Foreign):
    def __init__(self, inner: Foreign, fence: _Fence) -> None:
        self._inner, self._fence = inner, fence

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        return await self._inner.list(app)

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        def call() -> Awaitable[None]:
            return self._inner.end(replica, grace=grace)

        await self._fence.about(replica.name, "end what is foreign of", call, grace)

    @override
    async def clear(self, installation: str, project: str) -> None:
        def call() -> Awaitable[None]:
            return self._inner.clear(installation, project)

        await self._fence.shared(f"clear {project} of {installation}", call)


@final
class _Objects(ObjectEngine):
    def __init__(self, inner: ObjectEngine, fence: _Fence) -> None:
        self._inner, self._fence = inner, fence

    @override
    async def apply(
        self,
        manifest: Manifest,
        *,
        owner: tuple[str, str],
        uid: str | None,
        position: int,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Applied:
        def call() -> Awaitable[Applied]:
            return self._inner.apply(
                manifest, owner=owner, uid=uid, position=position, manager=manager, dry_run=dry_run
            )

        return await self._fence.owned(owner, f"apply {manifest.key}", call)

    @override
    async def delete(
        self, key: ObjectKey, *, owner: tuple[str, str], uid: str, propagation: Propagation
    ) -> None:
        def call() -> Awaitable[None]:
            return self._inner.delete(key, owner=owner, uid=uid, propagation=propagation)

        await self._fence.owned(owner, f"delete {key}", call)

    @override
    async def list(self, owner: tuple[str, str] | None = None) -> Sequence[Json]:
        return await self._inner.list(owner)

    @override
    def marks(
        self, owners: Iterable[tuple[str, str]] | None = None
    ) -> Mapping[tuple[str, str], int]:
        return self._inner.marks(owners)

    @override
    def lacks(self, api_version: str, kind: str) -> EngineError | None:
        return self._inner.lacks(api_version, kind)

    @override
    def position(self) -> int:
        return self._inner.position()

    @override
    def watch(self) -> AsyncIterator[ObjectEvent]:
        return self._inner.watch()
