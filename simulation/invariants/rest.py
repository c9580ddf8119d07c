"""Invariants of a world at rest: faults have stopped, and so have intents."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Final, final

from domain.names import Ref
from projections.desired import DesiredApp
from reconcilers import orders
from reconcilers.ports import ReplicaState
from reconcilers.status import AppStatus
from simulation.invariants.clusters import ClusterInvariants
from simulation.invariants.routers import RouterInvariants
from simulation.invariants.serving import ServingInvariants
from simulation.invariants.truth import Truth
from simulation.invariants.violations import Invariant
from simulation.machine import Machine, Running

type StatusOf = Callable[[str], AppStatus | None]
type Broken = tuple[Invariant, str]

HOT: Final = 150  # writes on an app at rest that cannot run, while it is watched


@final
class RestInvariants:
    """What keeps a world from being at rest as it should, in sentences. Reports nothing itself."""

    def __init__(
        self,
        truth: Truth,
        clusters: ClusterInvariants | None = None,
        routers: RouterInvariants | None = None,
        serving: ServingInvariants | None = None,
    ) -> None:
        self._truth, self._clusters, self._routers = truth, clusters, routers
        self._serving = serving

    def broken(self, status_of: StatusOf) -> list[Broken]:
        """All that is not (yet) as it should be."""
        objects = self._clusters.broken() if self._clusters is not None else ()
        routes = self._routers.broken(status_of) if self._routers is not None else ()
        served = self._serving.broken(status_of) if self._serving is not None else ()
        return [*self._apps(status_of), *self._left_behind(), *objects, *routes, *served]

    def quiet(self, written: Counter[str]) -> Iterator[Broken]:
        """What was written at rest, though only for what cannot run anything is tried again.

        Args:
            written: how many calls that may change a machine were made, by what they are about.
        """
        truth = self._truth
        restless = [
            app
            for app in truth.apps()
            if (app.wanted or truth.is_refused(app)) and not truth.runs_as_held(app)
        ]
        tried = {a.ref.stream for a in restless} | {f"Project/{a.ref.project}" for a in restless}
        for about, count in sorted(written.items()):
            if about in tried and count > HOT:
                yield Invariant.BOUNDED, f"{count} writes on {about}, which cannot run"
            elif about not in tried and not (restless and about.startswith("image ")):
                yield Invariant.QUIET, f"{count} writes on {about} at rest"

    def summary(self) -> dict[str, list[tuple[str, int, str]]]:
        """What serves, by app that can run: target, revision and digest of each replica.

        Also what each router and each cluster serves.
        """
        truth = self._truth
        frozen = set(truth.frozen)
        routes = self._routers.summary() if self._routers is not None else {}
        routes |= self._serving.summary() if self._serving is not None else {}
        return routes | {
            app.ref.stream: [
                (target, one.order.name.revision, one.order.digest)
                for target, one in truth.running(app.ref.project, app.ref.name)
            ]
            for app in truth.apps()
            if app.ref.stream not in frozen and self._truth.runs_as_held(app)
        }

    def _apps(self, status_of: StatusOf) -> Iterator[Broken]:
        truth = self._truth
        frozen = truth.frozen
        for app in truth.apps():
            if app.ref.stream in frozen:
                continue
            running = truth.running(app.ref.project, app.ref.name)
            if not app.wanted:
                if running:
                    yield Invariant.SETTLED, f"{app.ref} should not run, and {_names(running)} do"
                elif self._awaits_image(app):
                    yield Invariant.SETTLED, f"the image of {app.ref} is not known yet"
            elif self._truth.runs_as_held(app):
                yield from self._as_wanted(app, running, status_of(app.ref.stream))
            else:
                yield from self._as_good_as_can_be(app, running, status_of(app.ref.stream))

    def _awaits_image(self, app: DesiredApp) -> bool:
        """Whether it will be found out, as nobody runs it, in the time of a backoff."""
        truth, is_paused = self._truth, app.paused is not None
        needed = orders.of(app).needs_image and not is_paused and app.target not in truth.clusters
        return needed and truth.runs_as_held(app)

    def _as_wanted(
        self, app: DesiredApp, running: Sequence[tuple[str, Running]], status: AppStatus | None
    ) -> Iterator[Broken]:
        truth = self._truth
        number = app.paused.revision if app.paused else app.revision
        held = truth.revision(app, number)
        assert held is not None, "it runs as held"
        slots = sorted(
            one.order.name.slot
            for target, one in running
            if target == app.target
            and one.order.uid == app.uid
            and truth.is_of(target, one, held)
            and truth.is_well(one)
            and not one.seen.edited
        )
        if app.target in truth.clusters:  # where pods have numbers of their own
            slots = list(range(len(slots)))
        if slots != list(range(app.wanted)) or len(running) != app.wanted:
            wanted = f"{app.wanted} of revision {number} on {app.target}"
            yield Invariant.SETTLED, f"{app.ref} should have {wanted}, and has {_names(running)}"
        elif status is None or not status.is_true("Ready"):
            said = status.conditions[0].message if status else "nothing"
            yield Invariant.SETTLED, f"{app.ref} is ready, and its status says {said!r}"
        elif app.paused is None and app.stable != app.revision:
            yield (
                Invariant.ENDED,
                f"the rollout of revision {app.revision} of {app.ref} has no end in the log",
            )

    def _as_good_as_can_be(
        self, app: DesiredApp, running: Sequence[tuple[str, Running]], status: AppStatus | None
    ) -> Iterator[Broken]:
        truth = self._truth
        stable = truth.revision(app, app.stable) if app.stable else None
        well = [
            one
            for target, one in running
            if one.order.name.revision != app.revision and truth.is_well(one)
        ]
        lasting = stable is not None and all(
            truth.can_run(stable, machine) for machine in truth.machines.values()
        )
        if lasting and app.stable != app.revision and not app.spec.volumes:
            held = truth.revision(app, app.paused.revision) if app.paused else None
            rollout = (held.spec if held is not None else app.spec).rollout
            mine = 1 if rollout.strategy == "stopFirst" else 0  # the probe's slot is its own
            least = app.wanted - max(mine, rollout.max_unavailable)
            is_kept = app.target in truth.clusters
            if is_kept:  # it shares out what is asked for meanwhile, and starts nothing old anew
                has_none = truth.was_down(app) or app.reached_at != app.target
                least = 0 if has_none else min(least, 1)
            here = [one for target, one in running if target == app.target]  # else: as it was left
            probes = sum(one not in well for one in here)
            if len(well) < least:
                serving = f"only {len(well)} of at least {least} serve"
                yield Invariant.PROBED, f"{app.ref} cannot run {app.revision}, and {serving}"
            if probes > 1 and not is_kept:
                yield Invariant.PROBED, f"{app.ref} has {probes} probes: {_names(running)}"
        if status is None or not (status.is_true("Degraded") or not status.is_true("Ready")):
            yield Invariant.ENDED, f"{app.ref} cannot run, and its status does not say so"

    def _left_behind(self) -> Iterator[Broken]:
        truth = self._truth
        frozen = set(truth.frozen)
        apps = {app.ref.stream: app for app in truth.apps()}
        yield from self._replicas_left(apps, frozen)
        yield from self._kept(apps)
        for removal in truth.desired.removals():
            if removal.ref.stream not in frozen:
                yield Invariant.CLEAN, f"the removal of {removal.ref} has no end in the log"
        for target, machine in sorted(truth.machines.items()):
            yield from self._grounds(target, machine, apps)

    def _replicas_left(self, apps: dict[str, DesiredApp], frozen: Set[str]) -> Iterator[Broken]:
        truth = self._truth
        kept: set[tuple[str, int]] = set()
        for target, one in truth.owned():
            name = one.order.name
            stream = Ref("App", name.project, name.app).stream
            app = apps.get(stream)
            if stream in frozen or one.order.uid in truth.desired.orphans(stream):
                continue
            if app is None or app.uid != one.order.uid:
                yield Invariant.CLEAN, f"{_name(target, one)} is left of an app that is gone"
            elif not truth.runs_as_held(app):
                continue
            elif target != app.target and target not in truth.clusters:
                yield Invariant.CLEAN, f"{_name(target, one)} is left where its app was before"
            elif one.seen.state is ReplicaState.EXITED:
                if (stream, name.slot) in kept:
                    yield Invariant.CLEAN, f"{_name(target, one)} is one dead replica too many"
                kept.add((stream, name.slot))

    def _kept(self, apps: dict[str, DesiredApp]) -> Iterator[Broken]:
        """What is kept stopped is what an app may return to where it is, and no more."""
        truth = self._truth
        found = [one for one in truth.owned() if one[1].seen.state is ReplicaState.KEPT]
        revisions: dict[str, set[int]] = {}
        for target, one in found:
            name = one.order.name
            stream = Ref("App", name.project, name.app).stream
            app = apps.get(stream)
            if app is None or stream in truth.frozen or one.order.uid != app.uid:
                continue
            is_here = target == app.target
            if name.slot >= app.wanted if is_here else truth.runs_as_held(app):
                yield Invariant.CLEAN, f"{_name(target, one)} is kept, and nobody returns to it"
            revisions.setdefault(stream, set()).add(name.revision)
        for stream, kept in revisions.items():
            app = apps[stream]
            if len(kept) > app.spec.rollout.keep and truth.runs_as_held(app):
                yield Invariant.CLEAN, f"{stream} keeps revisions {sorted(kept)}"

    def _grounds(
        self, target: str, machine: Machine, apps: dict[str, DesiredApp]
    ) -> Iterator[Broken]:
        truth = self._truth
        frozen = {Ref.parse(s).project for s in truth.frozen if s.startswith("App/")}
        for (owner, project), ground in sorted(machine.grounds.items()):
            if owner != truth.installation or project in frozen:
                continue
            here = [a for a in apps.values() if a.ref.project == project and a.target == target]
            there = any(one.order.name.project == project for one in machine.owned(owner, None))
            if ground.is_prepared and not here and not there:
                yield Invariant.CLEAN, f"the network of {project} is left on {target}"
            for app, volume, _ in ground.volumes:
                stream = Ref("App", project, app).stream
                if stream not in apps and truth.went_with_volumes(stream, target):
                    yield Invariant.CLEAN, f"volume {volume} of {project}/{app} is left"


def _name(target: str, one: Running) -> str:
    name = one.order.name
    return f"{target} {name.project}/{name.app} r{name.revision}.{name.slot}.{name.attempt}"


def _names(running: Sequence[tuple[str, Running]]) -> str:
    return ", ".join(_name(target, one) for target, one in running) or "nothing"
