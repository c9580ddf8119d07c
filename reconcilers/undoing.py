"""Undoing: from a revision that missed its deadline to the last healthy one, if its app says so.

It is an intent like any other, by `system:rollouts`. What is the same as the healthy revision is
never undone, so no undo undoes another, and a revision that failed is only tried again by people.
"""

from typing import final

import structlog

from bus.log import LogError
from domain.access import part_of_ours
from domain.intents import Undo
from domain.refusals import Refusal
from projections.desired import DesiredApp
from reconcilers.surroundings import Surroundings

_log = structlog.get_logger("rollouts")


@final
class Undoing:
    def __init__(self, around: Surroundings) -> None:
        self._ = around

    async def undo_if_failed(self, app: DesiredApp) -> None:
        """Ask for the last healthy revision, if the log has it that the present one failed."""
        has_failed = app.stalled == app.revision and app.stable not in (0, app.revision)
        wants_undo = app.spec.rollout.on_failure == "undo" and app.paused is None
        if not (app.wanted and has_failed and wants_undo and self._.gate.halted() is None):
            return
        try:
            healthy = await self._.revisions.find(app, app.stable)
            if healthy is None or (healthy.digest, healthy.image) == (app.digest, app.image):
                return
            asked = Undo(ref=app.ref, to=app.stable, generation=app.generation)
            # another generation is another question: somebody may have scaled it meanwhile
            key = f"undo-{app.uid}-{app.revision}-{app.generation}"
            await self._.intents.submit(asked, actor=part_of_ours("rollouts"), key=key)
        except (LogError, Refusal) as error:  # the tick asks again, if it still is so
            _log.warning("not undone", resource=str(app.ref), error=str(error))
