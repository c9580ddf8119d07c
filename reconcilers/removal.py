"""Removal: what is left of deleted apps, and of apps that moved to another target, goes.

Only replicas whose uid the log has given away are touched; those of an orphaned app, of a frozen
stream and of any other installation are not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import final

import msgspec
import structlog

from bus.log import LogUnavailable
from domain import events as e
from domain.names import Ref
from projections.desired import DesiredApp, DesiredState, Removal
from reconcilers import object_removal
from reconcilers.ending import Patience, end, pause
from reconcilers.journal import Journal
from reconcilers.judging import claim, dated
from reconcilers.object_ports import Objects
from reconcilers.places import Places
from reconcilers.ports import EngineError, EngineUnavailable, Replica
from reconcilers.routing import Routing
from reconcilers.sharing import Sharing
from reconcilers.status import AppStatus, StatusStore
from reconcilers.targets import Located, Targets, TargetView

type _Ended = tuple[Located, str]
"""Where a replica is, and its id there."""

_log = structlog.get_logger("removal")


@final
class Remover:
    """Takes away what should not be there.

    Args: `may_write` is False while nothing may be taken away; `again` queues a stream; `reach_end`
    returns when all is known that the log has now.
    """

    def __init__(  # noqa: PLR0913 -- the assembly hands in one of each part
        self,
        desired: DesiredState,
        journal: Journal,
        status: StatusStore,
        *,
        places: Places,
        targets: Targets,
        sharing: Sharing,
        routing: Routing,
        may_write: Callable[[], bool],
        again: Callable[[str], None],
        reach_end: Callable[[], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._now = now
        self._routing, self._reach_end = routing, reach_end
        self._desired, self._journal, self._status = desired, journal, status
        self._places, self._targets, self._sharing = places, targets, sharing
        self._may_write, self._again = may_write, again
        self._ending: dict[_Ended, asyncio.Task[None]] = {}
        self._failures: dict[_Ended, int] = {}
        self._told: set[tuple[str, int]] = set()  # over, and not yet read back from the log

    async def remove(self, removal: Removal, view: TargetView) -> str:
        """Take away what is left of a deleted app, and record when nothing is.

        Returns what was done; nothing when all that is left ends already. What keeps it is in the
        status meanwhile.

        Raises:
            EngineUnavailable: the target does not answer.
        """
        try:
            done = await self._remove(removal, view)
            if not done and view.objects is not None:
                self._tell(removal, await object_removal.lingering(view.objects, removal))
        except EngineError as error:
            self._tell(removal, str(error))
            raise
        return done

    def _tell(self, removal: Removal, why: str) -> None:
        """Say why a deleted app is still there, to who asks for it; of one made anew, nobody."""
        stream = removal.ref.stream
        if not why or self._desired.app(stream) is not None:
            return
        there = self._status.get(stream)
        if there is None or there.uid != removal.uid:
            there = AppStatus(
                uid=removal.uid,
                observed_generation=removal.position,
                observed_at=0.0,
                revision=0,
                serving=0,
                wanted=0,
                ready=0,
                updated=0,
                conditions=(),
            )
        now = self._now()
        going = dated(claim("Deleting", "True", "RemovalPending", why), there, now)
        if (before := there.condition("Deleting")) is None or before.message != why:
            there = msgspec.structs.replace(there, observed_at=now, conditions=(going,))
            self._status.put(stream, there)

    async def _remove(self, removal: Removal, view: TargetView) -> str:
        if not self._may_write():
            return "deleted; nothing may be taken away now"
        ref = removal.ref
        if view.objects is not None:
            alive = self._desired.app(ref.stream)
            spared = {*self._desired.orphans(ref.stream), alive.uid if alive else 0}
            number = view.use.listing()
            done = await object_removal.remove(view.objects, removal, spared)
            view.use.listed(number, (ref.project, ref.name))
            if done is not None:
                return done
            view.replicas.pop((ref.project, ref.name), None)
            return await self._over(removal, view)
        listed = await view.look((ref.project, ref.name))
        left = [one for one in listed if one.uid == removal.uid]
        if left:
            patience = Patience.of(removal.drain, removal.stop_grace)
            begun = self._end(view, ref, left, patience)
            return f"ends {begun} replicas" if begun else ""
        successor = self._desired.app(ref.stream)
        if removal.volumes and listed:  # the volumes are found by name
            spared = {*self._desired.orphans(ref.stream), successor.uid if successor else 0}
            if not any(one.uid in spared for one in listed):
                return "its volumes wait until the other former lives of it are gone"
        elif removal.volumes:
            await view.engine.grounds.remove_volumes(ref.project, ref.name)
        return await self._over(removal, view)

    async def _over(self, removal: Removal, view: TargetView) -> str:
        """Nothing is left of a deleted app: say so."""
        ref, successor = removal.ref, self._desired.app(removal.ref.stream)
        await self._clear_ground(view, ref.project)
        self._told &= {(one.ref.stream, one.uid) for one in self._desired.removals()}
        if (ref.stream, removal.uid) in self._told:
            return ""
        if self._journal.record(
            ref, e.RemovalCompleted, cause=removal.position, place=removal.uid, uid=removal.uid
        ):
            self._told.add((ref.stream, removal.uid))
        if successor is None:
            self._status.drop(ref.stream)
        return "nothing is left of it"

    async def leftovers(self, ref: Ref, app: DesiredApp | None, view: TargetView) -> str:
        """Take away replicas of an app where it should not run (any more).

        Returns what was done, if anything was. An app that moved leaves its former target only when
        it is ready on the new one.
        """
        if not self._may_write():
            return "kept what is left: nothing may be taken away now"
        if app is not None and app.wanted:  # one that should not run needs to be nowhere first
            status = self._status.get(ref.stream)
            if status is None or not _is_there(app, status):
                return f"kept what runs on {view.name} until it is ready on {app.target}"
            if app.spec.routes and app.reached_at == view.name != app.target:
                return f"kept what runs on {view.name} until requests lead to {app.target}"
        removals = self._desired.removals_of(ref.stream)
        deleted = {one.uid for one in removals if self._places.leads_to(one, view)}
        if view.objects is not None:
            return await self._leave(view.objects, ref, app, deleted, view)
        strays = self._places.strays(view, await view.look((ref.project, ref.name)))
        left = [one for one in strays if one.uid not in deleted]
        if left:
            spec = app.spec if app is not None else None
            patience = Patience.of(spec.rollout.drain, spec.stop_grace) if spec else Patience()
            begun = self._end(view, ref, left, patience)
            return f"ends {begun} replicas on {view.name}" if begun else ""
        if not strays:
            await self._clear_ground(view, ref.project)
        return ""

    async def _leave(
        self,
        objects: Objects,
        ref: Ref,
        app: DesiredApp | None,
        deleted: set[int],
        view: TargetView,
    ) -> str:
        owner = (ref.project, ref.name)
        spared = deleted.union(self._desired.orphans(ref.stream))
        shown = await self._shown(app, view, owner)
        done = await object_removal.leave(objects, owner, spared, shown)
        number = view.use.listing()
        live = {one["metadata"]["uid"] for one in await objects.engine.list(owner)}
        view.use.listed(number, owner)
        if done is None and not live & shown:
            view.replicas.pop(owner, None)
            await self._clear_ground(view, ref.project)
        return f"{done} on {view.name}" if done else ""

    async def _shown(
        self, app: DesiredApp | None, view: TargetView, owner: tuple[str, str]
    ) -> set[str]:
        """The uids of what an app has where its target leads now: that may be the same cluster.

        Raises:
            EngineUnavailable: it cannot be asked.
        """
        now = self._targets.get(view.name)
        if app is None or app.target != view.name or now is None or now is view:
            return set()
        assert now.engine  # one that is not open says why
        found = await now.objects.engine.list(owner) if now.objects is not None else ()
        return {one["metadata"]["uid"] for one in found}

    def _end(
        self, view: TargetView, ref: Ref, replicas: Sequence[Replica], patience: Patience
    ) -> int:
        """Begin to end those that do not end yet; return how many these are."""
        begun = 0
        for replica in replicas:
            key = (view.located, replica.id)
            if key in self._ending:
                continue
            begun += 1
            task = asyncio.create_task(self._end_one(key, view, replica, patience))
            self._ending[key] = task
            task.add_done_callback(partial(self._ended, key, ref.stream))
        return begun

    async def _end_one(
        self, key: _Ended, view: TargetView, replica: Replica, patience: Patience
    ) -> None:
        stream = f"App/{replica.name.project}/{replica.name.app}"
        goes = partial(self._goes, stream, view, replica)
        try:
            why = await end(
                replica,
                view.engine,
                patience,
                may_write=lambda: self._may_write() and goes(),
                withdrawn=partial(self._routing.withdrawn, view.name, stream, replica, goes),
                answered=partial(self._routing.answered, view.name, replica),
            )
        except EngineUnavailable as error:  # it was closed meanwhile
            why = str(error)
        if not goes():
            self._routing.stay(view.name, replica, "removal")
        if not why:
            self._failures.pop(key, None)
            return
        self._failures[key] = self._failures.get(key, 0) + 1
        await pause(self._failures[key])

    def _goes(self, stream: str, view: TargetView, replica: Replica) -> bool:
        """Whether it still is to end: an app that moved may have come back meanwhile."""
        is_deleted = any(one.uid == replica.uid for one in self._desired.removals_of(stream))
        return is_deleted or bool(self._places.strays(view, [replica]))

    def _ended(self, key: _Ended, stream: str, done: asyncio.Task[None]) -> None:
        del self._ending[key]
        if not done.cancelled():
            if (error := done.exception()) is not None:
                _log.error("end broke", replica=key[1], error=repr(error))
            self._again(stream)

    async def close(self) -> None:
        """Cancel what is under way; whoever comes next finds it half done and finishes it."""
        tasks = list(self._ending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def tidy(self, view: TargetView) -> None:
        """Clear the grounds that were left behind, as by a crash after the last replica went.

        To be called after a sweep, so that it is known what is there.

        Raises:
            EngineError: they cannot be listed or cleared.
        """
        if not self._may_write() or f"Target/{view.name}" in self._desired.frozen:
            return
        left = set(await view.engine.grounds.projects())
        for project in sorted(left - self._inhabited(view, left)):
            await self._clear_ground(view, project)

    async def _clear_ground(self, view: TargetView, project: str) -> None:
        """Remove the project's network when its last app on this target is gone.

        Of all workers that share the target, one does this, once it knows of what the others may
        have begun.
        """
        if not self._sharing.holds(view.name, f"Project/{project}"):
            return
        if not self._sharing.holds_all(view.name):
            try:
                await self._reach_end()
            except LogUnavailable:
                return  # a later sweep tidies up
        if not self._may_write() or self._inhabited(view, {project}, removals=False):
            return
        uses = [other.use for other in self._places.sharing(view)]
        if all(use.is_free(project) for use in uses):
            with ExitStack() as stack:
                for use in uses:
                    stack.enter_context(use.clearing(project))
                await view.engine.grounds.clear(project)

    def _inhabited(
        self, view: TargetView, projects: set[str], *, removals: bool = True
    ) -> set[str]:
        """Those of some projects that have an app or a replica there, or (`removals`) had one."""
        sharing = self._places.sharing(view)
        found = {key[0] for other in sharing for key in other.replicas} & projects
        if removals:
            names = {other.name for other in sharing}
            found |= {one.ref.project for one in self._desired.removals() if one.target in names}
        found |= {name for name in projects if f"Project/{name}" in self._desired.frozen}
        if found >= projects:
            return found
        for stream in self._desired.streams("App"):
            project = stream.split("/", 2)[1]
            if project in projects and project not in found:
                app = self._desired.app(stream)
                if app is None or self._targets.get(app.target) in sharing:
                    found.add(project)
        return found


def _is_there(app: DesiredApp, status: AppStatus) -> bool:
    """Whether an app is up where it should be now; a status may be older than its last move."""
    is_current = status.uid == app.uid and status.observed_generation == app.generation
    is_known = all(condition.status != "Unknown" for condition in status.conditions[:1])
    return is_current and is_known and status.updated >= app.wanted
