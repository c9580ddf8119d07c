"""Knowing: which revisions of an app matter now, what they need to start, and what is wanted."""

from functools import partial
from typing import NamedTuple, final

import msgspec

from bus.log import LogError
from bus.secrets import SecretUnavailable
from domain.app import Health
from domain.quantities import seconds
from domain.secret import SecretText
from projections.desired import DesiredApp
from reconcilers import orders
from reconcilers.books import AppBook
from reconcilers.orders import Revision
from reconcilers.ports import Engine
from reconcilers.replicas import Want
from reconcilers.surroundings import Surroundings


class Known(NamedTuple):
    """The revisions that matter now, and the variables of those that can start."""

    held: Revision
    former: Revision | None
    environments: dict[int, dict[str, str | SecretText]]
    troubles: list[tuple[str, str]]


@final
class Knowing:
    def __init__(self, around: Surroundings) -> None:
        self._ = around

    async def of(self, app: DesiredApp, book: AppBook, engine: Engine) -> Known:
        """The held revision and the one before it, with what keeps them from starting."""
        around = self._
        troubles: list[tuple[str, str]] = []
        held = orders.of(app)
        if app.paused is not None and app.paused.revision != app.revision:
            held = await self._find(app, app.paused.revision) or held
            if held.needs_image and app.paused.image:
                held = msgspec.structs.replace(held, image=app.paused.image)
        former = None
        if app.stable not in (0, held.number):
            former = await self._find(app, app.stable)
        environments = {}
        for revision in (held, former):
            if revision is None:
                continue
            gone = revision.number in book.imageless
            if revision.needs_image or gone:
                if revision is held or gone:
                    had = partial(book.imageless.discard, revision.number)
                    message = around.images.want(app, revision, engine.images, had)
                    if message:
                        troubles.append(("ImageUnavailable", message))
                continue
            try:
                environments[revision.number] = await orders.environment(
                    around.secrets, app.ref.project, revision
                )
            except SecretUnavailable as error:
                troubles.append(("SecretUnavailable", str(error)))
        return Known(held, former, environments, troubles)

    async def _find(self, app: DesiredApp, number: int) -> Revision | None:
        try:
            return await self._.revisions.find(app, number)
        except LogError:
            return None

    async def health(self, app: DesiredApp, number: int) -> Health:
        found = await self._find(app, number)
        return (found.spec if found else app.spec).health

    def want(self, app: DesiredApp, book: AppBook, known: Known, now: float) -> Want:
        held = known.held
        rollout = held.spec.rollout  # while paused, a new strategy is recorded and not followed
        waited = book.waited(held.number, now)
        stalled = held.number != app.stable and waited > seconds(rollout.progress_deadline)
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
            startable=frozenset(known.environments),
            stalled=stalled,
        )
