"""One pass over an app whose target keeps objects: render, plan, apply in order, prune, judge.

The engine itself replaces pods, so nothing is waited for here: each pass does what the plan says
and tells what is seen. What a project's apps share is made by the pass over any of them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final, NamedTuple, final

import msgspec

from bus.secrets import SecretUnavailable
from domain.app import AppSpec
from domain.autoscale import Autoscale
from domain.names import Ref, project
from domain.quantities import seconds
from projections.desired import DesiredApp
from projections.route_table import Reach
from reconcilers.books import AppBook, Still
from reconcilers.knowing import Knowing, Known
from reconcilers.object_acting import ObjectActing, foretold
from reconcilers.object_actions import Action, ApplyObject
from reconcilers.object_counts import stops
from reconcilers.object_judging import judge, replacements
from reconcilers.object_labels import PART_OF, UID
from reconcilers.object_planning import Plan, Whose, plan
from reconcilers.object_ports import (
    AppOrder,
    Cause,
    Json,
    Manifest,
    ObjectKey,
    Objects,
    ObjectView,
    ProjectOrder,
    RouteView,
    Stage,
)
from reconcilers.object_preview import ObjectChange, changes
from reconcilers.object_routing import Fate, possible, routed
from reconcilers.outcome import Outcome
from reconcilers.replica_facts import Want
from reconcilers.status import AppStatus
from reconcilers.surroundings import Surroundings
from reconcilers.targets import Located, Mark, TargetView, fingerprint
from reconcilers.telling import Telling

ROUNDS: Final = 12  # of acting and looking again in one pass, before others have their turn
REMEMBERED: Final = 10_000  # projects whose shared objects are known to be as they should be
STILL_SECONDS: Final = 2.0  # for which what did not move is not looked at again

type Owner = tuple[str, str]


class Found(NamedTuple):
    """What a pass sees, and what it would do: for whom, and in which order.

    What moves after `mark` is not seen yet.
    """

    mark: Mark
    known: Known
    view: ObjectView
    plan: Plan
    actions: tuple[tuple[Owner, Action], ...]
    fate: Fate


@final
class ObjectReconciler:
    def __init__(self, around: Surroundings) -> None:
        self._ = around
        self._knowing, self._telling = Knowing(around), Telling(around)
        self._acting = ObjectActing(around)
        # by place and project: the mark at which what its apps share was found as it should be
        self._settled: dict[tuple[Located, str], tuple[int, tuple[Manifest, ...]]] = {}

    async def reconcile(
        self, app: DesiredApp, target: TargetView, objects: Objects, book: AppBook
    ) -> Outcome:
        """Bring the app's objects a step nearer to what they should be.

        Raises:
            EngineUnavailable: its target does not answer.
            EngineError: it did not do what was asked, which the status tells.
        """
        stream, done = app.ref.stream, list[str]()
        reach = self._.routing.reach(app)
        still = book.still
        if still is not None and self._is_still(still, app, reach, target.mark(stream)):
            return Outcome(still.result, "nothing moved")
        book.still = None
        self._acting.forgive(app)
        for _ in range(ROUNDS):
            found = await self._look(app, target, objects, book)
            pending = self._pending(app, found)
            if not pending:
                break
            if replacements([action for _, action in pending]):
                self._tell(app, target, book, found)  # before it is done
            said = await self._acting.execute(app, objects, pending, found.known.held)
            done += said.done
            if said.failure is not None:
                break
        else:
            self._.again(stream)
            found = await self._look(app, target, objects, book)
        failure = self._acting.refusal(app)
        status = self._tell(app, target, book, found)
        if failure is not None:
            raise failure
        is_done = status.is_true("Synced") and not status.is_true("Progressing")
        result = "noop" if is_done else "requeue"
        self._telling.fulfilled(app, book, status, worked=bool(done))
        sentence = f"{'; '.join(done) or 'nothing to do'}: {status.conditions[0].message}"
        if not found.actions and not found.known.troubles:
            book.still = Still(app, reach, found.mark, self._.clock(), result)
        if is_done:
            shown = fingerprint(app.uid, app.revision, app.digest, app.wanted)
            target.settle(stream, found.mark, shown)
        if done:
            return Outcome("success", sentence)
        return Outcome(result, sentence)

    def _pending(self, app: DesiredApp, found: Found) -> list[tuple[Owner, Action]]:
        """What is to be done, but for routes that were refused in this pass."""
        unrouted = self._acting.unrouted(app)
        return [one for one in found.actions if one[1].key not in unrouted]

    def _is_still(self, still: Still, app: DesiredApp, reach: Reach, mark: Mark) -> bool:
        """Whether a pass would find what the last one did: most news are of what that one wrote."""
        is_recent = self._.clock() - still.at < STILL_SECONDS
        is_same = still.mark == mark and still.reach == reach
        return is_recent and is_same and _asks_the_same(still.app, app)

    async def foresee(
        self, app: DesiredApp, target: TargetView, objects: Objects, book: AppBook
    ) -> list[str]:
        """What the next pass would do, in sentences."""
        found = await self._look(app, target, objects, book)
        held = [found.plan.held] if found.plan.held else []
        return [*(foretold(action) for _, action in found.actions), *held]

    async def preview(
        self, app: DesiredApp, target: TargetView, objects: Objects
    ) -> list[ObjectChange]:
        """What would change on the cluster if the app were so. Nothing is written.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        found = await self._look(app, target, objects, AppBook(app.uid))
        live = [
            *await objects.engine.list((app.ref.project, "")),
            *await objects.engine.list((app.ref.project, app.ref.name)),
        ]
        return await changes(objects, found.actions, live, self._.gate.position())

    # -- looking ------------------------------------------------------------------------------

    async def _look(
        self, app: DesiredApp, target: TargetView, objects: Objects, book: AppBook
    ) -> Found:
        owner, shared = (app.ref.project, app.ref.name), (app.ref.project, "")
        mark, live = await self._seen(app, target, objects)
        known = await self._knowing.of(app, book, target, await target.look(owner))
        taken = self._forsaken(app, live)
        order = None if known.waits or taken else await self._order(app, known)
        ground = await self._ground(app.ref, target, objects) if order else Plan()
        rendered = objects.renderer.app(order) if order else None
        mine, lacks = possible(objects, rendered or ())
        planned = plan(mine if order else None, live, _whose(objects, mine))
        if taken:
            planned = msgspec.structs.replace(planned, taken=taken)
        first = () if app.wanted else tuple(stops(app.uid, live, ground.actions + planned.actions))
        actions = tuple(
            (whose, action)
            for whose, its in ((owner, first), (shared, ground.actions), (owner, planned.actions))
            for action in its
            if self._may(action, app, known)
        )
        planned = msgspec.structs.replace(planned, actions=(*first, *planned.actions))
        seen = objects.renderer.view(live, app.ref.name)
        fate = Fate(
            order,
            objects.renderer.routed(order, live) if order else RouteView(),
            lacks,
            refused={},
            pending=any(_is_route(action) for action in planned.actions),
        )
        return Found(mark, known, seen, _together(ground, planned), actions, fate)

    async def _seen(
        self, app: DesiredApp, target: TargetView, objects: Objects
    ) -> tuple[Mark, Sequence[Json]]:
        """What is there of an app, and the mark at which it was so, or an earlier one.

        A list waits until it shows what was written. That moves the mark, and is no news.
        """
        owner, mark = (app.ref.project, app.ref.name), target.mark(app.ref.stream)
        live = await objects.engine.list(owner)
        if (moved := target.mark(app.ref.stream)) == mark:
            return mark, live
        return moved, await objects.engine.list(owner)

    def _forsaken(self, app: DesiredApp, live: Sequence[Json]) -> tuple[ObjectKey, ...]:
        """What a former life of the app left to somebody else, under the names that it needs."""
        orphans = {str(uid) for uid in self._.desired.orphans(app.ref.stream)} - {str(app.uid)}
        return tuple(
            ObjectKey.of(one)
            for one in live
            if (one["metadata"].get("labels") or {}).get(UID) in orphans
            and one["kind"] in {"Deployment", "StatefulSet"}
        )

    async def _order(self, app: DesiredApp, known: Known) -> AppOrder | None:
        """What to render; None while an image or a secret is not at hand."""
        held = known.held
        env = known.environments.get(held.number)
        if env is None:
            return None
        pull = None
        if (name := held.spec.image_pull.secret_ref) is not None:
            try:
                secret = Ref("Secret", app.ref.project, name)
                pull = await self._.secrets.get(secret, held.secrets[name])
            except SecretUnavailable as error:
                known.troubles.append(("SecretUnavailable", str(error)))
                return None
        return AppOrder(
            project=app.ref.project,
            app=app.ref.name,
            uid=app.uid,
            revision=held.number,
            digest=held.digest,
            image=held.image or "",
            spec=_autoscaled(held.spec, app.spec.autoscale),
            env=env,
            tokens=held.secrets,
            pull=pull,
            replicas=app.wanted,
            reach=self._.routing.reach(app),
        )

    async def _ground(self, ref: Ref, target: TargetView, objects: Objects) -> Plan:
        """The plan for what a project's apps share: most find that another has seen to it."""
        home, owner = self._project(objects, ref), (ref.project, "")
        mark = objects.engine.marks([owner]).get(owner, 0)
        settled, place = (mark, home), (target.located, ref.project)
        if self._settled.get(place) == settled:
            return Plan()
        found = plan(home, await objects.engine.list(owner), _whose(objects, home))
        if found == Plan() and objects.engine.marks([owner]).get(owner, 0) == mark:
            if len(self._settled) >= REMEMBERED:  # projects that went are among them
                self._settled.clear()
            self._settled[place] = settled
        return found

    def _project(self, objects: Objects, ref: Ref) -> tuple[Manifest, ...]:
        found = self._.desired.resource(project(ref.project).stream)
        uid = found.uid if found is not None else 0
        return objects.renderer.project(ProjectOrder(project=ref.project, uid=uid))

    def _may(self, action: Action, app: DesiredApp, known: Known) -> bool:
        """Without the log, only what serves is healed; nothing new begins and nothing ends."""
        if self._.gate.halted() is not None:
            return False
        if self._.gate.log_answers():
            return True
        heals = isinstance(action, ApplyObject) and action.because in ("missing", "edited")
        return heals and known.held.number == app.stable

    # -- telling ------------------------------------------------------------------------------

    def _tell(self, app: DesiredApp, target: TargetView, book: AppBook, found: Found) -> AppStatus:
        around, known = self._, found.known
        troubles = [Cause(*trouble) for trouble in known.troubles]
        if (halted := around.gate.halted()) is not None:
            troubles.insert(0, Cause("LogRewound", halted))
        troubles += self._acting.troubles(app)
        view = msgspec.structs.replace(
            found.view,
            causes=(*troubles, *found.view.causes),
            is_stalled=self._is_stalled(app, book, found),
        )
        planned = found.plan
        if (name := self._acting.taken(app)) is not None:
            planned = msgspec.structs.replace(planned, taken=(name, *planned.taken))
        before = around.status.get(app.ref.stream)
        fate = found.fate._replace(refused=self._acting.unrouted(app))
        status = judge(
            app,
            view,
            planned,
            now=around.now(),
            before=before,
            waits=known.waits,
            routed=routed(app, target, fate, view, before),
        )
        around.status.put(app.ref.stream, status)
        want = Want(
            uid=app.uid,
            revision=known.held.number,
            digest=known.held.digest,
            replicas=(view.wanted or app.wanted) if app.wanted else 0,
            stable=app.stable,
            stalled=view.is_stalled and known.held.number != app.stable,
            waits=known.waits,
        )
        if view.revision or not known.troubles:
            self._telling.record(app, book, want, status.replicas, status)
        return status

    def _is_stalled(self, app: DesiredApp, book: AppBook, found: Found) -> bool:
        """Whether the held revision missed its deadline, by its cluster's count or else by ours."""
        held, view = found.known.held, found.view
        deadline = seconds(held.spec.rollout.progress_deadline)
        before = deadline + 1.0 if app.stalled == held.number else 0.0  # as the log has it
        counts = not found.known.waits
        waited = book.waited(held.number, self._.clock(), counts=counts, before=before)
        if view.is_timed and view.revision == held.number:
            return view.is_stalled
        is_there = view.revision == held.number and view.updated >= view.wanted
        return held.number != app.stable and waited > deadline and not is_there


def _asks_the_same(before: DesiredApp, app: DesiredApp) -> bool:
    """Whether there is no news in the log but that a rollout began, as a pass of ours told it."""
    return before is app or msgspec.structs.replace(before, begun=app.begun) == app


def _autoscaled(spec: AppSpec, autoscale: Autoscale | None) -> AppSpec:
    """Between which numbers an app scales is in no revision: it is as it is desired now."""
    return spec if spec.autoscale == autoscale else dataclasses.replace(spec, autoscale=autoscale)


def _is_route(action: Action) -> bool:
    return isinstance(action, ApplyObject) and action.manifest.stage is Stage.ROUTE


def _whose(objects: Objects, manifests: Sequence[Manifest]) -> Whose:
    labels = [manifest.body["metadata"]["labels"] for manifest in manifests]
    set_id = next((one[PART_OF] for one in labels if PART_OF in one), "")
    return Whose(objects.installation, objects.target, set_id)


def _together(ground: Plan, planned: Plan) -> Plan:
    return Plan(
        actions=(*ground.actions, *planned.actions),
        waiting=(*ground.waiting, *planned.waiting),
        taken=(*ground.taken, *planned.taken),
        additions={**ground.additions, **planned.additions},
        held=planned.held,
    )
