"""The simulated engine: a `simulation.machine.Machine` as one installation sees it.

Every call meets the machine's faults first. An effect is one step without an await in it, so a
call that is cancelled has either taken place or not; but for a start, where the machine takes time
between making a replica and running it, as a daemon does.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import blake2b
from typing import final, override

from domain.names import is_installation
from domain.secret import SecretText
from reconcilers.ports import (
    Engine,
    EngineError,
    EngineEvent,
    EngineEvents,
    Foreign,
    ForeignReplica,
    Grounds,
    Images,
    ImageUnavailable,
    NameTaken,
    Replica,
    ReplicaName,
    Replicas,
    ReplicaState,
    StartFailed,
    StartReplica,
)
from simulation.faults import Trouble
from simulation.looking import SimulatedIO
from simulation.machine import EVENTS, KILLED, STOPPED, Deed, Machine, Running, whom
from simulation.program import MISSING, ImpossibleWorld


def simulated_engine(machine: Machine, installation: str) -> Engine:
    """The engine ports of one installation on a machine."""
    return Engine(
        SimulatedReplicas(machine, installation),
        SimulatedImages(machine),
        SimulatedGrounds(machine, installation),
        SimulatedEvents(machine, installation),
        SimulatedIO(machine, installation),
        SimulatedForeign(machine, installation),
    )


def _time() -> float:
    return asyncio.get_running_loop().time()


@final
class Calling:
    """A call to the machine: counted, and its trouble happens around the effect in the body."""

    def __init__(
        self,
        machine: Machine,
        verb: str,
        about: ReplicaName | str | tuple[str, str] | None,
        *,
        writes: bool = True,
    ) -> None:
        machine.calls[verb] += 1
        if writes:
            machine.writes[verb] += 1
            machine.written[whom(verb, about)] += 1
        self._trouble = machine.faults.meet(verb, about)

    async def __aenter__(self) -> Trouble:
        trouble = self._trouble
        if trouble.delay_seconds:
            await asyncio.sleep(trouble.delay_seconds / 2)
        if trouble.before:
            raise trouble.before
        return trouble

    async def __aexit__(self, failed: type[BaseException] | None, *_of: object) -> None:
        if failed is not None:
            return
        trouble = self._trouble
        if trouble.delay_seconds:
            await asyncio.sleep(trouble.delay_seconds / 2)
        if trouble.after:
            raise trouble.after


@final
class SimulatedReplicas(Replicas):
    def __init__(self, machine: Machine, installation: str) -> None:
        self._machine = machine
        self._installation = installation

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        async with Calling(self._machine, "list", app, writes=False) as trouble:
            seen = [running.seen for running in self._machine.owned(self._installation, app)]
        return trouble.distort(seen) if trouble.distort else seen

    @override
    async def start(self, order: StartReplica) -> None:
        sent = _time()
        async with Calling(self._machine, "start", order.name):
            self._machine.tell_witness(self._installation, "start", order.name, None, sent)
            made = self._make(order)
            if self._machine.gap_seconds:
                await asyncio.sleep(self._machine.gap_seconds)
            self._begin(made)

    def _begin(self, made: Running) -> None:
        """Run what was made, if it is there yet, and what it shares with others is."""
        machine, name = self._machine, made.order.name
        is_there = machine.find(self._installation, name) is made
        if not is_there or made.seen.state is not ReplicaState.CREATED:
            return
        if not machine.ground(self._installation, name.project).is_prepared:
            raise StartFailed(f"the ground of project {name.project!r} is gone; prepare it again")
        machine.begin(made)

    def _make(self, order: StartReplica) -> Running:
        machine = self._machine
        name = order.name.of(self._installation)
        if order.image is not None and order.image not in machine.present_images:
            raise ImageUnavailable(
                f"image {order.image!r} is not on this machine; resolve it first"
            )
        there = machine.named.get(name)
        if name in machine.named:
            if there is None:
                raise NameTaken(f"the name {name!r} belongs to something foreign; left as it is")
            if (there.order.uid, there.order.digest) != (order.uid, order.digest):
                raise NameTaken(f"the name {name!r} belongs to a replica of another order")
        if order.command and order.command[0].startswith(MISSING):
            raise StartFailed(f"no command {order.command[0]!r} on this machine; check the spec")
        if not machine.ground(self._installation, order.name.project).is_prepared:
            raise StartFailed(f"project {order.name.project!r} has no ground; prepare it first")
        kept = None if there else self._kept(order)
        running = there or kept or machine.create(self._installation, order)
        if kept is not None:
            machine.rename(kept, order)
        if running.program.refused:
            raise StartFailed(f"the machine refuses {name!r}: its program says so")
        return running

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        sent = _time()
        async with Calling(self._machine, "stop", replica.name):
            running = self._found(replica)
            if running is None:
                return
            await self._stop(running, replica, grace, sent)
            if keep and self._found(replica) is running:
                self._machine.keep(running)

    async def _stop(self, running: Running, replica: Replica, grace: float, sent: float) -> None:
        if running.seen.state is ReplicaState.RUNNING:
            self._machine.tell_witness(self._installation, "stop", replica.name, running, sent)
            needed = grace if running.program.stubborn else min(grace, running.program.slow)
            await asyncio.sleep(needed)
            is_killed = running.program.stubborn or running.program.slow > grace
            self._machine.finish(running, KILLED if is_killed else STOPPED)

    @override
    async def remove(self, replica: Replica) -> None:
        sent = _time()
        async with Calling(self._machine, "remove", replica.name):
            if running := self._found(replica):
                self._machine.tell_witness(
                    self._installation, "remove", replica.name, running, sent
                )
                self._machine.discard(running)

    def _kept(self, order: StartReplica) -> Running | None:
        """The kept replica that an order reuses, if it is as ordered."""
        name = order.reuses
        found = self._machine.find(self._installation, name) if name is not None else None
        if found is None or found.seen.state is not ReplicaState.KEPT:
            return None
        mine, asked = (
            (one.uid, one.digest, one.image, one.name.slot) for one in (found.order, order)
        )
        return found if mine == asked else None

    def _found(self, replica: Replica) -> Running | None:
        found = self._machine.find(self._installation, replica.name)
        return found if found and found.seen.id == replica.id else None


@final
class SimulatedImages(Images):
    """Every image exists, but for the machine's `missing_images`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @override
    async def resolve(
        self, image: str, *, policy: str, credentials: Mapping[str, SecretText] | None
    ) -> str:
        present = self._machine.present_images.get(image)
        pulls = policy == "Always" or (policy == "IfNotPresent" and present is None)
        async with Calling(self._machine, "resolve", image, writes=pulls):
            if pulls and image in self._machine.missing_images:
                raise ImageUnavailable(f"image {image!r} is in no registry; check its name")
            if pulls:
                present = f"sim@{blake2b(image.encode(), digest_size=16).hexdigest()}"
                self._machine.present_images |= {image: present, present: present}
        if present is None:
            raise ImageUnavailable(f"image {image!r} is not present and its policy is Never")
        return present


@final
class SimulatedGrounds(Grounds):
    def __init__(self, machine: Machine, installation: str) -> None:
        self._machine = machine
        self._installation = installation

    @override
    async def prepare(self, project: str) -> None:
        async with Calling(self._machine, "prepare", project):
            self._machine.ground(self._installation, project).is_prepared = True

    @override
    async def clear(self, project: str) -> None:
        async with Calling(self._machine, "clear", project):
            owned = self._machine.owned(self._installation, None)
            if left := [r for r in owned if r.order.name.project == project]:
                self._refuse(f"the ground of {project!r} is cleared under", left)
            self._machine.ground(self._installation, project).is_prepared = False

    @override
    async def projects(self) -> Sequence[str]:
        async with Calling(self._machine, "projects", None, writes=False):
            return sorted(
                project
                for (owner, project), ground in self._machine.grounds.items()
                if owner == self._installation and ground.is_prepared
            )

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        sent = _time()
        async with Calling(self._machine, "remove_volumes", (project, app)):
            if left := list(self._machine.owned(self._installation, (project, app))):
                self._refuse(f"the volumes of {project}/{app} are removed under", left)
            self._machine.witness(
                Deed(self._installation, "remove_volumes", project, app, None, sent)
            )
            volumes = self._machine.ground(self._installation, project).volumes
            for key in [key for key in volumes if key[0] == app]:
                del volumes[key]

    def _refuse(self, what: str, left: Sequence[Running]) -> None:
        """What has ended is in nobody's way on a real engine, either."""
        if self._machine.is_believed:
            raise ImpossibleWorld(f"{what} {[one.order.name for one in left]}")
        running = [r.order.name for r in left if r.seen.state is ReplicaState.RUNNING]
        if running:
            raise EngineError(f"in use: {what} {running}")


@final
class SimulatedForeign(Foreign):
    def __init__(self, machine: Machine, installation: str) -> None:
        self._machine = machine
        self._installation = installation

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[ForeignReplica]:
        async with Calling(self._machine, "list_foreign", app, writes=False):
            owners = {owner for owner, _, _ in self._machine.apps} - {self._installation}
            others = sorted(filter(is_installation, owners))
            found = [one for owner in others for one in self._machine.owned(owner, app)]
        return [_foreign(one) for one in found]

    @override
    async def end(self, replica: ForeignReplica, *, grace: float) -> None:
        async with Calling(self._machine, "end_foreign", replica.name):
            running = self._found(replica)
            if running is None:
                return
            if running.seen.state is ReplicaState.RUNNING:
                await asyncio.sleep(grace if running.program.stubborn else running.program.slow)
            self._machine.discard(running)

    def _found(self, replica: ForeignReplica) -> Running | None:
        if replica.installation == self._installation:
            return None
        found = self._machine.find(replica.installation, replica.name)
        return found if found and found.seen.id == replica.id else None

    @override
    async def clear(self, installation: str, project: str) -> None:
        async with Calling(self._machine, "clear_foreign", project):
            owned = self._machine.owned(installation, None)
            is_used = any(one.order.name.project == project for one in owned)
            if not is_used and installation != self._installation:
                self._machine.ground(installation, project).is_prepared = False


def _foreign(running: Running) -> ForeignReplica:
    return ForeignReplica(
        id=running.seen.id,
        installation=running.installation,
        name=running.order.name,
        state=running.seen.state,
    )


@final
class SimulatedEvents(EngineEvents):
    def __init__(self, machine: Machine, installation: str) -> None:
        self._machine = machine
        self._installation = installation

    @override
    async def watch(self) -> AsyncIterator[EngineEvent]:
        queue: asyncio.Queue[EngineEvent] = asyncio.Queue(EVENTS)
        queue.put_nowait(EngineEvent(None))
        self._machine.watchers[queue] = self._installation
        try:
            while True:
                yield await queue.get()
        finally:
            del self._machine.watchers[queue]
