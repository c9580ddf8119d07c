"""Looking at an app whose target keeps objects: what is there, what shall be, and the plan from it.

Nothing is done here: a pass acts by it, and a preview shows it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final, NamedTuple, final

import msgspec

from bus.secrets import SecretUnavailable
from domain.app import AppSpec
from domain.autoscale import Autoscale
from domain.events import ForeignObject
from domain.names import Ref, project
from projections.desired import DesiredApp
from reconcilers.books import AppBook
from reconcilers.knowing import Knowing, Known
from reconcilers.object_actions import Action, ApplyObject
from reconcilers.object_adopting import Approved, ObjectAdopting
from reconcilers.object_certificates import certificates
from reconcilers.object_counts import stops
from reconcilers.object_imposing import Imposed
from reconcilers.object_labels import PART_OF, UID
from reconcilers.object_planning import Plan, Whose, plan
from reconcilers.object_ports import (
    AppOrder,
    Json,
    Manifest,
    ObjectKey,
    Objects,
    ObjectView,
    ProjectOrder,
    RouteView,
    Stage,
)
from reconcilers.object_routing import Fate, possible
from reconcilers.surroundings import Surroundings
from reconcilers.targets import Located, Mark, TargetView

REMEMBERED: Final = 10_000  # projects whose shared objects are known to be as they should be

type Owner = tuple[str, str]


class Found(NamedTuple):
    """What a pass sees, and what it would do: for whom, and in which order.

    What moves after `mark` is not seen yet. `wanted` is None while that cannot be rendered.
    """

    mark: Mark
    known: Known
    view: ObjectView
    plan: Plan
    actions: tuple[tuple[Owner, Action], ...]
    fate: Fate
    approved: Approved
    wanted: tuple[Manifest, ...] | None


@final
class ObjectLooking:
    def __init__(self, around: Surroundings, adopting: ObjectAdopting, imposed: Imposed) -> None:
        self._, self._imposed = around, imposed
        self._knowing, self._adopting = Knowing(around), adopting
        # by place and project: the mark at which what its apps share was found as it should be
        self._settled: dict[tuple[Located, str], tuple[int, tuple[Manifest, ...]]] = {}

    async def look(
        self,
        app: DesiredApp,
        target: TargetView,
        objects: Objects,
        book: AppBook,
        adopting: Sequence[ForeignObject] = (),
    ) -> Found:
        """See how the app is, and plan: also as if it took over `adopting`.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        owner, shared = (app.ref.project, app.ref.name), (app.ref.project, "")
        mark, live = await self._seen(app, target, objects)
        known = await self._knowing.of(app, book, target, await target.look(owner))
        approved = await self._adopting.approved(app, objects, adopting)
        taken = self.forsaken(app, live, approved)
        order = None if known.waits else await self._order(app, known)
        home = self._project(objects, app.ref)
        rendered = objects.renderer.app(order) if order else None
        mine, lacks = possible(objects, rendered or ())
        wanted = (*home, *mine) if order else None
        if taken:
            order = None
        ground = await self._ground(app.ref, target, objects, home, approved) if order else Plan()
        whose, theirs = whose_of(objects, mine), approved.theirs
        made = self._imposed.of(objects.target, mine)
        planned = plan(mine if order else None, live, whose, theirs, made)
        if taken:
            planned = msgspec.structs.replace(planned, taken=taken)
        first = () if app.wanted else tuple(stops(app.uid, live, ground.actions + planned.actions))
        actions = tuple(
            (who, action)
            for who, its in ((owner, first), (shared, ground.actions), (owner, planned.actions))
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
        whole = _together(ground, planned)
        return Found(mark, known, seen, whole, actions, fate, approved, wanted)

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

    def forsaken(
        self, app: DesiredApp, live: Sequence[Json], approved: Approved
    ) -> tuple[ObjectKey, ...]:
        """What a former life of the app left to somebody else, under the names that it needs."""
        orphans = {str(uid) for uid in self._.desired.orphans(app.ref.stream)} - {str(app.uid)}
        return tuple(
            ObjectKey.of(one)
            for one in live
            if (one["metadata"].get("labels") or {}).get(UID) in orphans
            and one["kind"] in {"Deployment", "StatefulSet"}
            and not approved.allows(one)
        )

    async def _order(self, app: DesiredApp, known: Known) -> AppOrder | None:
        """What to render; None while an image or a secret is not at hand."""
        held = known.held
        env = known.environments.get(held.number)
        if env is None:
            return None
        pull, reach = None, self._.routing.reach(app)
        try:
            if (name := held.spec.image_pull.secret_ref) is not None:
                secret = Ref("Secret", app.ref.project, name)
                pull = await self._.secrets.get(secret, held.secrets[name])
            shown = await certificates(reach, self._.secrets)
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
            reach=reach,
            certificates=shown,
        )

    async def _ground(
        self,
        ref: Ref,
        target: TargetView,
        objects: Objects,
        home: tuple[Manifest, ...],
        approved: Approved,
    ) -> Plan:
        """The plan for what a project's apps share: most find that another has seen to it."""
        owner = (ref.project, "")
        mark = objects.engine.marks([owner]).get(owner, 0)
        settled, place = (mark, home), (target.located, ref.project)
        if self._settled.get(place) == settled:
            return Plan()
        live, whose = await objects.engine.list(owner), whose_of(objects, home)
        made = self._imposed.of(objects.target, home)
        found = plan(home, live, whose, approved.theirs, made)
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


def _autoscaled(spec: AppSpec, autoscale: Autoscale | None) -> AppSpec:
    """Between which numbers an app scales is in no revision: it is as it is desired now."""
    return spec if spec.autoscale == autoscale else dataclasses.replace(spec, autoscale=autoscale)


def _is_route(action: Action) -> bool:
    return isinstance(action, ApplyObject) and action.manifest.stage is Stage.ROUTE


def whose_of(objects: Objects, manifests: Sequence[Manifest]) -> Whose:
    labels = [manifest.body["metadata"]["labels"] for manifest in manifests]
    set_id = next((one[PART_OF] for one in labels if PART_OF in one), "")
    return Whose(objects.installation, objects.target, set_id)


def _together(ground: Plan, planned: Plan) -> Plan:
    return Plan(
        actions=(*ground.actions, *planned.actions),
        waiting=(*ground.waiting, *planned.waiting),
        taken=(*ground.taken, *planned.taken),
        adopting=(*ground.adopting, *planned.adopting),
        additions={**ground.additions, **planned.additions},
        imposed={**ground.imposed, **planned.imposed},
        held=planned.held,
    )
