"""The truth of a world, as no control plane sees it: what the log says, and what really runs."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, final

from bus import codec
from bus.log import StoredEvent
from domain import events as e
from domain.quantities import seconds
from projections.desired import DesiredApp, DesiredState
from reconcilers import orders
from reconcilers.orders import Revision
from reconcilers.ports import ReplicaState
from simulation.cluster.cluster import Cluster
from simulation.disk import Disk
from simulation.machine import Machine, Running
from simulation.program import MISSING, Program, program_of_words

PROBES_LAG: Final = 60.0  # seconds after which every check has noticed what changed


class Place(NamedTuple):
    """A machine and the name it has as a target."""

    target: str
    machine: Machine


@final
class Truth:
    """What should run and what does. `desired` follows the disk, event by event."""

    def __init__(
        self,
        disk: Disk,
        machines: Mapping[str, Machine],
        installation: str,
        clusters: Mapping[str, Cluster] = MappingProxyType({}),
    ) -> None:
        self.disk, self.machines, self.installation = disk, machines, installation
        self.clusters = clusters
        self.desired = DesiredState(codec.decode)
        self.disturbed: dict[str, float] = {}
        """When somebody else last laid hands on an app's replicas, by stream."""
        self.emptied: set[str] = set()
        """Apps that somebody else once scaled to nothing on a cluster."""

    def follow(self, events: Sequence[StoredEvent]) -> None:
        self.desired.fold(events)

    @property
    def frozen(self) -> list[str]:
        """The streams that cannot be read, by name."""
        for stream in list(self.desired.streams("App")):
            self.desired.app(stream)  # found out when asked
        return sorted(self.desired.frozen)

    def disturb(self, stream: str, at: float) -> None:
        """Somebody else laid hands on an app's replicas."""
        self.disturbed[stream] = at

    def reread(self) -> None:
        """The disk lost something, or the code that reads it is another."""
        self.desired = DesiredState(codec.decode)
        self.desired.fold(self.disk.events)

    def apps(self) -> Iterator[DesiredApp]:
        """All apps that exist and can be read, by name."""
        for stream in sorted(self.desired.streams("App")):
            app = self.desired.app(stream)
            if app is not None:
                yield app

    def running(self, project: str, app: str) -> list[tuple[str, Running]]:
        """The owned replicas of an app that run, with the target of each, by name."""
        found = [
            (target, one)
            for target, machine in sorted(self.machines.items())
            for one in machine.owned(self.installation, (project, app))
            if one.seen.state is ReplicaState.RUNNING
        ]
        return sorted(found, key=lambda pair: pair[1].order.name)

    def served_lately(self, project: str, app: str, seconds: float) -> list[Running]:
        """The owned replicas of an app that served until they ended, no longer ago than this."""
        return [
            one
            for machine in self.machines.values()
            for one in machine.owned(self.installation, (project, app))
            if one.seen.finished_at is not None
            and one.seen.finished_at > machine.now() - seconds
            and not one.program.deaf
            and one.program.is_well(one.seen.finished_at - (one.seen.started_at or 0.0))
        ]

    def owned(self) -> list[tuple[str, Running]]:
        """Every owned replica, whatever its state."""
        return [
            (target, one)
            for target, machine in sorted(self.machines.items())
            for one in machine.owned(self.installation, None)
        ]

    def is_well(self, running: Running) -> bool:
        """Whether it serves now: it runs, and passes what checks it has."""
        program = running.program
        runs = running.seen.state is ReplicaState.RUNNING
        return runs and not program.deaf and program.is_well(running.age)

    def revision(self, app: DesiredApp, number: int) -> Revision | None:
        """A revision of the app, from the log."""
        if number == app.revision:
            return orders.of(app)
        return orders.among(self.disk.stream(app.ref.stream), number)

    def can_run(self, revision: Revision, machine: Machine) -> bool:
        """Whether its replicas become ready and stay so on a machine that works."""
        spec = revision.spec
        if spec.image is not None and not _has(machine, revision.image or spec.image):
            return False
        if spec.command and spec.command[0].startswith(MISSING):
            return False
        program = self.program(revision)
        steady = program.lives == float("inf") and program.sick == float("inf")
        well = not program.refused and not program.deaf and not program.failing
        waits = spec.health.startup or spec.health.readiness
        deadline = seconds(spec.rollout.progress_deadline)
        return steady and well and (not waits or program.unready < min(deadline, 300.0))

    def is_doomed(self, target: str, one: Running) -> bool:
        """Whether a pod's end is decided already, though it has not come."""
        cluster = self.clusters.get(target)
        return cluster is not None and cluster.nodes.is_doomed(one)

    def is_of(self, target: str, one: Running, revision: Revision) -> bool:
        """Whether a replica is what a revision asks for; a pod says it by what it runs."""
        if one.order.name.revision != revision.number:
            return False
        if target not in self.clusters:
            return one.order.digest == revision.digest
        asked = revision.spec
        words = asked.env.get("SIMULATED", "")
        image = revision.image or asked.image
        return (one.order.image, one.order.env.get("SIMULATED", "")) == (image, words)

    def runs_as_held(self, app: DesiredApp) -> bool:
        """Whether the revision that an app is held at can run where it should."""
        machine = self.machines.get(app.target)
        number = app.paused.revision if app.paused else app.revision
        held = self.revision(app, number)
        return held is not None and machine is not None and self.can_run(held, machine)

    def went_with_volumes(self, stream: str, target: str) -> bool:
        """Whether the app was last deleted with its volumes, on the target where they are."""
        last = [r for r in self.disk.stream(stream) if r.type == e.AppDeleted.type][-1:]
        here = f'"target":"{target}"'.encode()
        return bool(last) and b'"volumes":true' in last[0].data and here in last[0].data

    def is_refused(self, app: DesiredApp) -> bool:
        """Whether a cluster takes nothing of the app, so that not even a stop gets through."""
        held = self.revision(app, app.paused.revision if app.paused else app.revision)
        on_cluster = app.target in self.clusters
        return on_cluster and held is not None and self.program(held).refused

    def was_down(self, app: DesiredApp) -> bool:
        """Whether the app has once been asked to have no replica at all, by whomever."""
        if app.ref.stream in self.emptied:
            return True
        rows = self.disk.stream(app.ref.stream)
        return any(row.type == e.AppStopped.type or b'"replicas":0' in row.data for row in rows)

    def program(self, revision: Revision) -> Program:
        chosen = revision.spec.env.get("SIMULATED")
        return program_of_words(chosen if isinstance(chosen, str) else "")


def _has(machine: Machine, image: str) -> bool:
    """Whether the machine has an image, or can get it."""
    return image in machine.present_images or image not in machine.missing_images
