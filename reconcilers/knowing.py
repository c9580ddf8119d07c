"""Knowing: which revisions of an app matter now, what they need to start, and what is wanted."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, final

import msgspec

from bus.log import LogError
from bus.secrets import SecretUnavailable
from domain.app import AppSpec, Health
from domain.quantities import seconds
from domain.secret import SecretText
from projections.desired import DesiredApp
from reconcilers import orders
from reconcilers.books import AppBook
from reconcilers.orders import Revision
from reconcilers.ports import Replica
from reconcilers.replica_facts import Want
from reconcilers.surroundings import Surroundings
from reconcilers.targets import TargetView


class Known(NamedTuple):
    """The revisions that matter now, and the variables of those that can start.

    A cluster keeps the `former` one itself. `waits` is why none may start yet, or empty.
    """

    held: Revision
    former: Revision | None
    environments: dict[int, dict[str, str | SecretText]]
    troubles: list[tuple[str, str]]
    waits: str


def _named_by_digest(held: Revision) -> Revision:
    """A cluster's nodes pull such an image as it is named: there is nothing to find out first."""
    image = held.spec.image or ""
    return msgspec.structs.replace(held, image=held.image or image) if "@" in image else held


def _runs_on(engine: str, spec: AppSpec) -> bool:
    """Whether an engine can run it at all: processes have no image, and containers need one."""
    return engine == "simulated" or (spec.image is None) == (engine == "process")


def _alike(one: Revision, other: Revision) -> bool:
    return (one.digest, one.image) == (other.digest, other.image)


@final
class Knowing:
    def __init__(self, around: Surroundings) -> None:
        self._ = around

    async def of(
        self, app: DesiredApp, book: AppBook, view: TargetView, listed: Sequence[Replica]
    ) -> Known:
        """The held revision and the one before it, with what keeps them from starting."""
        around = self._
        troubles: list[tuple[str, str]] = []
        held, former = await self._held(app), None
        if view.objects is not None:
            held = _named_by_digest(held)
        elif app.stable not in (0, held.number):
            former = await self._find(app, app.stable)
            if former is not None and not _runs_on(view.spec.engine, former.spec):
                former = None  # it moved, and what it was cannot be here
        environments = {}
        revisions = [held, former] if former is not None else [held]
        around.images.only(app.ref.stream, [one.number for one in revisions])
        for revision in revisions:
            gone = revision.number in book.imageless
            if revision.needs_image or gone:
                if revision is held or gone:
                    had = partial(book.imageless.discard, revision.number)
                    message = around.images.want(app, revision, view.engine.images, had)
                    if message:
                        troubles.append(("ImageUnavailable", message))
                continue
            try:
                environments[revision.number] = await orders.environment(
                    around.secrets, app.ref.project, revision
                )
            except SecretUnavailable as error:
                troubles.append(("SecretUnavailable", str(error)))
        return Known(held, former, environments, troubles, self._waits(app, view, listed))

    async def _held(self, app: DesiredApp) -> Revision:
        """The present revision, or that at which the app is paused."""
        held = orders.of(app)
        if app.paused is not None and app.paused.revision != app.revision:
            held = await self._find(app, app.paused.revision) or held
            if held.needs_image and app.paused.image:
                held = msgspec.structs.replace(held, image=app.paused.image)
        return held

    def _waits(self, app: DesiredApp, view: TargetView, listed: Sequence[Replica]) -> str:
        """Volumes are found by name: those of a former life go first, or its last writer does."""
        there = {one.uid for one in listed}
        if app.uid in there:
            return ""
        for removal in self._.desired.removals_of(app.ref.stream):
            if not self._.places.leads_to(removal, view):
                continue
            if removal.volumes:
                return "it starts when its former life and the volumes of that are gone"
            if app.spec.volumes and removal.uid in there:
                return "it starts when its former life has left its volumes"
        return ""

    async def _find(self, app: DesiredApp, number: int) -> Revision | None:
        try:
            return await self._.revisions.find(app, number)
        except LogError:
            return None

    async def health(self, app: DesiredApp, number: int) -> Health:
        found = await self._find(app, number) if number != app.revision else None
        return (found.spec if found else app.spec).health

    def want(self, app: DesiredApp, book: AppBook, known: Known, now: float) -> Want:
        held = known.held
        rollout = held.spec.rollout  # while paused, a new strategy is recorded and not followed
        deadline = seconds(rollout.progress_deadline)
        before = deadline + 1.0 if app.stalled == held.number else 0.0  # as the log has it
        waited = book.waited(held.number, now, counts=not known.waits, before=before)
        stalled = held.number != app.stable and waited > deadline
        return Want(
            uid=app.uid,
            revision=held.number,
            digest=held.digest,
            replicas=app.wanted,
            keep_dead=app.spec.replicas or 0,
            stable=app.stable,
            surge=rollout.max_surge,
            max_unavailable=rollout.max_unavailable,
            stop_first=rollout.strategy == "stopFirst",
            startable=frozenset() if known.waits else frozenset(known.environments),
            stalled=stalled,
            waits=known.waits,
            keep=app.spec.rollout.keep,
            returns=known.former is not None and not _alike(held, known.former),
        )
