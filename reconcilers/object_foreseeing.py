"""What would be done to objects, for people who ask before: nothing is written here."""

from collections.abc import Sequence
from typing import final

from domain.events import ForeignObject
from projections.desired import DesiredApp
from reconcilers.books import AppBook
from reconcilers.object_acting import foretold
from reconcilers.object_adopting import Approved, InTheWay, in_the_way
from reconcilers.object_looking import ObjectLooking, whose_of
from reconcilers.object_planning import plan
from reconcilers.object_ports import ObjectKey, Objects, ProjectOrder
from reconcilers.object_preview import ObjectChange, changes
from reconcilers.ports import EngineError
from reconcilers.surroundings import Surroundings
from reconcilers.targets import TargetView


@final
class ObjectForeseeing:
    def __init__(self, around: Surroundings, looking: ObjectLooking) -> None:
        self._, self._looking = around, looking

    async def foresee(
        self, app: DesiredApp, target: TargetView, objects: Objects, book: AppBook
    ) -> list[str]:
        """What the next pass would do, in sentences."""
        found = await self._looking.look(app, target, objects, book)
        held = [found.plan.held] if found.plan.held else []
        return [*(foretold(action) for _, action in found.actions), *held]

    async def preview(
        self,
        app: DesiredApp,
        target: TargetView,
        objects: Objects,
        adopting: Sequence[ForeignObject] = (),
    ) -> list[ObjectChange]:
        """What would change on the cluster if the app were so, and took over `adopting`, too.

        Nothing is written.

        Raises:
            EngineUnavailable: its target does not answer.
        """
        found = await self._looking.look(app, target, objects, AppBook(app.uid), adopting)
        live = [
            *found.approved.theirs,
            *await objects.engine.list((app.ref.project, "")),
            *await objects.engine.list((app.ref.project, app.ref.name)),
        ]
        return await changes(objects, found.actions, live, self._.gate.position())

    async def preview_project(self, order: ProjectOrder, objects: Objects) -> list[ObjectChange]:
        """What would change of what a project's apps share. Nothing is written.

        Raises:
            EngineUnavailable: the target does not answer.
        """
        owner, home = (order.project, ""), objects.renderer.project(order)
        live = await objects.engine.list(owner)
        planned = plan(home, live, whose_of(objects, home))
        actions = [(owner, action) for action in planned.actions]
        return await changes(objects, actions, live, self._.gate.position())

    async def in_the_way(
        self, app: DesiredApp, target: TargetView, objects: Objects
    ) -> list[InTheWay]:
        """What of others has names that the app needs. Nothing is written.

        Raises:
            EngineError: that cannot be found out now.
        """
        found = await self._looking.look(app, target, objects, AppBook(app.uid))
        if found.wanted is None:
            why = next((message for _, message in found.known.troubles), found.known.waits)
            raise EngineError(f"what {app.ref} needs there is not known yet: {why or 'wait'}")
        live = await objects.engine.list((app.ref.project, app.ref.name))
        names = set(self._looking.forsaken(app, live, Approved({}, ())))
        forsaken = [one for one in live if ObjectKey.of(one) in names]
        return await in_the_way(objects, found.wanted, forsaken)
