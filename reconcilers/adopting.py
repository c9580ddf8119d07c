"""Adopting: what another installation runs of an app ends, because an intent on the app said so.

Nothing of it ends before ours are ready, and what is ready is asked again right before each end.
A crash leaves the adoption in desired state, and whoever comes next goes on with what is left; it
is over when a list shows nothing more. Ends take their grace beside the passes.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, final

import structlog

from domain import events as e
from domain.quantities import seconds
from projections.desired import Adoption, DesiredApp, DesiredState
from reconcilers.grounding import AppKey
from reconcilers.journal import Journal
from reconcilers.ports import Engine, EngineError, EngineUnavailable, ForeignReplica
from reconcilers.status import StatusStore
from reconcilers.targets import LIST_SECONDS, TargetView

END_SECONDS: Final = 60.0  # beside its grace, after which an end has failed
PARALLEL_ENDS: Final = 8  # so that ends of others leave room for what is ours
PAUSE_MOST: Final = 60.0  # seconds before what is still there, or there again, is asked to end

_log = structlog.get_logger("adopting")


class _Round(NamedTuple):
    """All ends that follow from one look: of whom, where, and with which grace."""

    stream: str
    target: str
    adoption: Adoption
    replicas: Sequence[ForeignReplica]
    grace: float


@final
class Adopter:
    """Args: `may_write` is False while nothing may be taken away; `again` queues an app."""

    def __init__(
        self,
        desired: DesiredState,
        journal: Journal,
        status: StatusStore,
        *,
        may_write: Callable[[], bool],
        again: Callable[[str], None],
    ) -> None:
        self._desired, self._journal, self._status = desired, journal, status
        self._may_write, self._again = may_write, again
        self._ending: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._rounds: Counter[tuple[str, int]] = Counter()
        self._told: set[int] = set()  # adoptions that are over, by their positions
        self._room = asyncio.Semaphore(PARALLEL_ENDS)

    async def go_on(self, app: DesiredApp, view: TargetView) -> None:
        """Do what is due now for every adoption of the app, and record those that are over.

        Raises:
            EngineError: the target does not answer, or did not clear what it was told to.
        """
        for adoption in self._desired.adoptions(app.ref.stream):
            if adoption.objects:
                if view.objects is None:  # it has left the cluster where they are
                    self._record(app, adoption)
            elif self._may_end(app.ref.stream, view.name, adoption):
                await self._look(app, adoption, view)

    async def _look(self, app: DesiredApp, adoption: Adoption, view: TargetView) -> None:
        ref, place = app.ref, (app.ref.stream, adoption.position)
        if place in self._ending:
            return
        whose, engine = adoption.installation, view.engine
        listed = await listed_foreign(view, (ref.project, ref.name))
        left = [one for one in listed if one.installation == whose]
        if left:
            grace = seconds(app.spec.stop_grace)
            self._begin(_Round(ref.stream, view.name, adoption, left, grace), engine)
            return
        await engine.foreign.clear(whose, ref.project)
        self._rounds.pop(place, None)
        self._record(app, adoption)

    def _record(self, app: DesiredApp, adoption: Adoption) -> None:
        if adoption.position in self._told:
            return
        told = self._journal.record(
            app.ref,
            e.AdoptionCompleted,
            cause=adoption.position,
            place=adoption.position,
            uid=app.uid,
            installation=adoption.installation,
            adopted=adoption.position,
        )
        if told:
            self._told.add(adoption.position)

    def _may_end(self, stream: str, target: str, adoption: Adoption) -> bool:
        """Whether it is still asked for, ours are ready, and anything may be taken away at all."""
        app = self._desired.app(stream)
        if app is None or app.target != target or not self._may_write():
            return False
        if adoption not in self._desired.adoptions(stream):
            return False
        sources = {stream, f"Project/{app.ref.project}", f"Target/{target}"}
        return not sources & self._desired.frozen.keys() and self._is_ready(app)

    def _is_ready(self, app: DesiredApp) -> bool:
        """Whether its replicas serve, as the last intent wants them; none may be wanted."""
        status = self._status.get(app.ref.stream)
        if status is None or status.uid != app.uid:
            return False
        if status.observed_generation != app.generation or status.updated < app.wanted:
            return False
        return app.wanted == 0 or status.is_true("Ready")

    def _begin(self, round_: _Round, engine: Engine) -> None:
        place = (round_.stream, round_.adoption.position)
        self._rounds[place] += 1
        if self._rounds[place] == 3:
            _log.warning(
                "what is adopted comes back: the other control plane may still run",
                resource=round_.stream,
                installation=round_.adoption.installation,
            )
        pause = min(PAUSE_MOST, 2.0 ** min(self._rounds[place], 10) / 2 - 1)
        task = asyncio.create_task(self._end_all(round_, engine, pause))
        self._ending[place] = task

        def ended(done: asyncio.Task[None]) -> None:
            del self._ending[place]
            error = None if done.cancelled() else done.exception()
            if error is not None:
                _log.error("an end broke", resource=round_.stream, error=repr(error))
            self._again(round_.stream)

        task.add_done_callback(ended)

    async def _end_all(self, round_: _Round, engine: Engine, pause: float) -> None:
        await asyncio.sleep(pause)
        await asyncio.gather(*(self._end(round_, one, engine) for one in round_.replicas))

    async def _end(self, round_: _Round, replica: ForeignReplica, engine: Engine) -> None:
        async with self._room:
            if not self._may_end(round_.stream, round_.target, round_.adoption):
                return
            called = replica.name.of(replica.installation)
            try:
                async with asyncio.timeout(round_.grace + END_SECONDS):
                    await engine.foreign.end(replica, grace=round_.grace)
            except (EngineError, TimeoutError) as error:
                _log.warning("foreign replica stays", replica=called, error=repr(error))
            else:
                _log.info("foreign replica ended", replica=called, resource=round_.stream)

    async def close(self) -> None:
        """Cancel what is under way; whoever comes next finds it half done and finishes it."""
        tasks = list(self._ending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def listed_foreign(view: TargetView, app: AppKey | None = None) -> Sequence[ForeignReplica]:
    """What other installations run on a target, or of one (project, app) there.

    Raises:
        EngineUnavailable: it cannot be reached, or did not answer in time.
    """
    try:
        async with asyncio.timeout(LIST_SECONDS):
            return await view.engine.foreign.list(app)
    except TimeoutError as error:
        message = f"target {view.name} did not list what is foreign within {LIST_SECONDS:.0f} s"
        raise EngineUnavailable(message) from error
