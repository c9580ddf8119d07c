"""Acting on objects: the actions of a plan in their order, and what an engine would not do.

What is applied in one stage does not rely on each other, and goes at once. The first stage in which
anything fails ends the round: what comes later in a plan relies on what comes earlier. Only on
routes, nothing relies.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, final

import structlog

from domain import events as e
from projections.desired import DesiredApp
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_imposing import Imposed
from reconcilers.object_ports import (
    MANAGER,
    Cause,
    KindMissing,
    ObjectChanged,
    ObjectForbidden,
    ObjectKey,
    ObjectRefused,
    Objects,
    Stage,
)
from reconcilers.orders import Revision
from reconcilers.ports import EngineError, EngineUnavailable, NameTaken
from reconcilers.surroundings import Surroundings

type _Owned = tuple[tuple[str, str], Action]

_TOGETHER: Final = frozenset({Stage.CONFIG, Stage.SERVICE, Stage.ROUTE})
_log = structlog.get_logger("objects")


class Said(NamedTuple):
    """What was done, in words, and what could not be."""

    done: list[str]
    failure: EngineError | None


class _Failure(NamedTuple):
    error: EngineError
    key: ObjectKey

    def is_answer(self) -> bool:
        """Whether the engine said no, instead of nothing."""
        return not isinstance(self.error, EngineUnavailable)


@final
class ObjectActing:
    def __init__(self, around: Surroundings, imposed: Imposed) -> None:
        self._, self._imposed = around, imposed
        self._failures: dict[str, _Failure] = {}  # of the last pass, by stream
        self._unrouted: dict[str, dict[ObjectKey, EngineError]] = {}  # the same, of routes

    def forgive(self, app: DesiredApp) -> None:
        self._failures.pop(app.ref.stream, None)
        self._unrouted.pop(app.ref.stream, None)

    def unrouted(self, app: DesiredApp) -> Mapping[ObjectKey, EngineError]:
        """The objects of routes that the cluster did not take in this pass: no other waits."""
        return self._unrouted.get(app.ref.stream, {})

    def failure(self, app: DesiredApp) -> EngineError | None:
        found = self._failures.get(app.ref.stream)
        return found.error if found else None

    def refusal(self, app: DesiredApp) -> EngineError | None:
        """What the engine would not do in this pass, of whatever: the app is looked at again."""
        return self.failure(app) or next(iter(self.unrouted(app).values()), None)

    def taken(self, app: DesiredApp) -> ObjectKey | None:
        """The object that belongs to somebody else, if that is what is wrong."""
        found = self._failures.get(app.ref.stream)
        return found.key if found and isinstance(found.error, NameTaken) else None

    def troubles(self, app: DesiredApp) -> list[Cause]:
        """What an engine would not do, for the conditions."""
        match self.failure(app):
            case None | NameTaken() | ObjectChanged():
                return []
            case ObjectRefused() as error:
                return [Cause("ObjectRefused", str(error))]
            case ObjectForbidden() as error:
                return [Cause("Forbidden", str(error))]
            case KindMissing() as error:
                return [Cause("KindMissing", str(error))]
            case error:
                return [Cause("EngineFailed", str(error))]

    async def execute(
        self,
        app: DesiredApp,
        objects: Objects,
        actions: Sequence[_Owned],
        held: Revision,
    ) -> Said:
        """Carry out actions until one fails.

        Raises:
            EngineUnavailable: unknown whether the last ones were done.
        """
        done: list[str] = []
        for batch in _batches(actions):
            calls = [self._one(objects, owner, action) for owner, action in batch]
            results = await _all(calls)
            failures = list[_Failure]()
            for (_, action), result in zip(batch, results, strict=True):
                if result is None:
                    done.append(told(action))
                    self._note(app, action, held)
                elif isinstance(result, EngineError):
                    failures.append(_Failure(result, action.key))
                else:
                    raise result
            for failure in sorted(failures, key=_Failure.is_answer):
                if not failure.is_answer():
                    raise failure.error
                if _stage(batch[0][1]) is Stage.ROUTE:
                    unrouted = self._unrouted.setdefault(app.ref.stream, {})
                    unrouted[failure.key] = failure.error
                    continue
                self._failures[app.ref.stream] = failure
                return Said(done, failure.error)
        return Said(done, None)

    async def _one(self, objects: Objects, owner: tuple[str, str], action: Action) -> None:
        if isinstance(action, DeleteObject):
            await objects.engine.delete(
                action.key, owner=owner, uid=action.uid, propagation=action.propagation
            )
            return
        applied = await objects.engine.apply(
            action.manifest,
            owner=owner,
            uid=action.uid,
            position=self._.gate.position(),
            manager=action.manager,
        )
        if action.manager == MANAGER:
            self._imposed.learn(objects.target, action.manifest, applied.body)
        for warning in applied.warnings:
            _log.warning("the cluster warns", object=str(action.key), warning=warning)

    def _note(self, app: DesiredApp, action: Action, held: Revision) -> None:
        if isinstance(action, ApplyObject) and action.because == "edited":
            self._repaired(app, action, held)

    def _repaired(self, app: DesiredApp, action: ApplyObject, held: Revision) -> None:
        for part in {_part(field) for field in action.fields}:
            self._.metrics.drifted(part)
        self._.journal.record(
            app.ref,
            e.DriftRepaired,
            cause=app.generation,
            place=action.key,
            uid=app.uid,
            revision=held.number,
            slot=0,
            fields=action.fields,
            object=str(action.key),
            by=action.by,
        )


async def _all(calls: Sequence[Coroutine[Any, Any, None]]) -> Sequence[BaseException | None]:
    """What each ended with; one alone, as many batches are, needs no task of its own."""
    if len(calls) > 1:
        results: list[BaseException | None] = await asyncio.gather(*calls, return_exceptions=True)
        return results
    try:
        await calls[0]
    except EngineError as error:
        return [error]
    return [None]


def _batches(actions: Sequence[_Owned]) -> Iterator[list[_Owned]]:
    """The actions in order, those together that may go at once."""
    batch: list[_Owned] = []
    for owned in actions:
        if batch and not (
            _stage(owned[1]) in _TOGETHER and _stage(batch[-1][1]) == _stage(owned[1])
        ):
            yield batch
            batch = []
        batch.append(owned)
    if batch:
        yield batch


def _stage(action: Action) -> Stage | None:
    return action.manifest.stage if isinstance(action, ApplyObject) else None


def _part(field: str) -> str:
    """The part of an object that a path leads into: of these there are few, whatever apps hold."""
    first, _, rest = field.partition(".")
    return f"spec.{rest.partition('.')[0].partition('[')[0]}" if first == "spec" else first


def told(action: Action) -> str:
    """What was done, in words."""
    if isinstance(action, DeleteObject):
        return f"deleted {action.key} ({action.because})"
    return f"applied {action.key} ({action.because})"


def ending(action: DeleteObject) -> str:
    """What becomes of the pods of somebody else's object that is made anew, in words."""
    if action.propagation == "Orphan":
        return "whose pods serve on until ours are ready"
    return "which ends first"


def foretold(action: Action) -> str:
    """What would be done, in words; what is made anew says why."""
    why = f": {', '.join(action.fields)}" if action.fields else ""
    if isinstance(action, DeleteObject) and action.because == "immutable":
        if action.foreign:
            return f"make {action.key} anew, {ending(action)}, for these cannot be changed{why}"
        return f"make {action.key} anew, its pods stay, for these cannot be changed{why}"
    verb = "delete" if isinstance(action, DeleteObject) else "apply"
    return f"{verb} {action.key} ({action.because}){why}"
