"""Removal: what is left of deleted apps, and of apps that moved to another target, goes.

Only replicas whose uid the log has given away are touched; those of an orphaned app, of a frozen
stream and of any other installation are not.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import final

from domain import events as e
from domain.names import Ref
from projections.desired import DesiredApp, DesiredState, Removal
from reconcilers.journal import Journal
from reconcilers.places import Places
from reconcilers.ports import Engine, Replica
from reconcilers.status import StatusStore
from reconcilers.targets import Targets, TargetView

GRACE_SECONDS = 10.0  # of an app whose spec is gone with it


@final
class Remover:
    """Args: `may_write` is False while nothing may be taken away."""

    def __init__(
        self,
        desired: DesiredState,
        journal: Journal,
        status: StatusStore,
        *,
        places: Places,
        targets: Targets,
        may_write: Callable[[], bool],
    ) -> None:
        self._desired, self._journal, self._status = desired, journal, status
        self._places, self._targets = places, targets
        self._may_write = may_write

    async def remove(self, removal: Removal, view: TargetView) -> str:
        """Take away what is left of a deleted app, and record when nothing is.

        Raises:
            EngineUnavailable: the target does not answer.
        """
        if not self._may_write():
            return "deleted; nothing may be taken away now"
        ref = removal.ref
        listed = await view.look((ref.project, ref.name))
        left = [one for one in listed if one.uid == removal.uid]
        if left:
            await self._end(view.engine, left)
            return f"took away {len(left)} replicas"
        successor = self._desired.app(ref.stream)
        if removal.volumes and listed:  # the volumes are found by name
            spared = {*self._desired.orphans(ref.stream), successor.uid if successor else 0}
            if not any(one.uid in spared for one in listed):
                return "its volumes wait until the other former lives of it are gone"
        elif removal.volumes:
            await view.engine.grounds.remove_volumes(ref.project, ref.name)
        await self._clear_ground(view, ref.project)
        self._journal.record(
            ref, e.RemovalCompleted, cause=removal.position, place=removal.uid, uid=removal.uid
        )
        if successor is None:
            self._status.drop(ref.stream)
        return "nothing is left of it"

    async def leftovers(self, ref: Ref, app: DesiredApp | None, view: TargetView) -> str:
        """Take away replicas of an app where it should not run (any more).

        An app that moved leaves its former target only when it is ready on the new one.
        """
        if not self._may_write():
            return "kept what is left: nothing may be taken away now"
        if app is not None:
            status = self._status.get(ref.stream)
            there = status is not None and status.uid == app.uid
            if status is None or not there or status.updated < app.wanted:
                return f"kept what runs on {view.name} until it is ready on {app.target}"
        left = self._places.strays(view, await view.look((ref.project, ref.name)))
        if left:
            await self._end(view.engine, left)
        else:
            await self._clear_ground(view, ref.project)
        return f"took away {len(left)} replicas from {view.name}"

    async def _end(self, engine: Engine, replicas: Sequence[Replica]) -> None:
        async def one(replica: Replica) -> None:
            await engine.replicas.stop(replica, grace=GRACE_SECONDS)
            await engine.replicas.remove(replica)

        await asyncio.gather(*(one(replica) for replica in replicas))

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
        """Remove the project's network when its last app on this target is gone."""
        if self._may_write() and not self._inhabited(view, {project}, removals=False):
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
