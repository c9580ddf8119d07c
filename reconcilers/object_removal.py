"""Removal of objects: what is left of deleted apps, of apps that moved away, and of projects.

Only what the labels give to this installation and target is touched, each by its uid. Data goes by
an explicit intent alone, and a namespace stays as long as data in it does.
"""

from collections.abc import Collection, Sequence
from typing import Final, final, override

import msgspec
import structlog

from projections.desired import Removal
from reconcilers.object_actions import DeleteObject
from reconcilers.object_labels import UID
from reconcilers.object_planning import Plan, Whose, removal
from reconcilers.object_ports import Json, ObjectKey, Objects
from reconcilers.ports import EngineError, Grounds

SHOWN: Final = 5  # of what keeps a namespace, in a message

_CLAIM: Final = "PersistentVolumeClaim"
_log = structlog.get_logger("objects")


async def remove(objects: Objects, asked: Removal, spared: Collection[int]) -> str | None:
    """Take away what is left of a deleted app.

    Its data is known by name, as it outlives lives of the app; that of uids in `spared` stays.

    Returns what was done; nothing while all that is left ends already, None when nothing is left.

    Raises:
        EngineUnavailable: the target does not answer.
    """
    owner = (asked.ref.project, asked.ref.name)
    mine = [
        one
        for one in await objects.engine.list(owner)
        if _uid(one) == asked.uid
        or (asked.volumes and one["kind"] == _CLAIM and _uid(one) not in spared)
    ]
    done = await _end(objects, owner, mine, volumes=asked.volumes)
    if done:
        return done
    left = [one for one in mine if asked.volumes or one["kind"] != _CLAIM]
    return "" if left else None


async def lingering(objects: Objects, asked: Removal) -> str:
    """What is still there of a deleted app, and whose finalizers hold it, in words."""
    owner = (asked.ref.project, asked.ref.name)
    found = [one for one in await objects.engine.list(owner) if one["kind"] != "Event"]
    mine = [one for one in found if _uid(one) == asked.uid]
    told = [_held(one) for one in mine if asked.volumes or one["kind"] != _CLAIM]
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"not gone yet: {', '.join(sorted(told)[:SHOWN])}{more}" if told else ""


def _held(one: Json) -> str:
    holders = one["metadata"].get("finalizers") or ()
    held = f", which finalizers hold: {', '.join(holders)}" if holders else ""
    return f"{ObjectKey.of(one)}{held}"


async def leave(
    objects: Objects, owner: tuple[str, str], spared: Collection[int], shown: Collection[str] = ()
) -> str | None:
    """Take away an app where it should not run any more; returns as `remove`. Its data stays.

    What is `shown`, by the uids of objects, stays as well: that is where the app runs now.
    """
    live = [one for one in await objects.engine.list(owner) if one["kind"] != "Event"]
    left = [one for one in live if one["metadata"]["uid"] not in shown]
    mine = [one for one in left if _uid(one) not in spared]
    done = await _end(objects, owner, mine, volumes=False)
    if done:
        return done
    return "" if any(one["kind"] != _CLAIM for one in mine) else None


async def _end(
    objects: Objects, owner: tuple[str, str], mine: Sequence[Json], *, volumes: bool
) -> str:
    plan = removal(mine, Whose(objects.installation, objects.target, ""), volumes=volumes)
    await _delete(objects, owner, plan)
    return f"ends {len(plan.actions)} objects" if plan.actions else ""


async def _delete(objects: Objects, owner: tuple[str, str], plan: Plan) -> None:
    for action in plan.actions:
        assert isinstance(action, DeleteObject), "a removal only deletes"
        await objects.engine.delete(
            action.key, owner=owner, uid=action.uid, propagation="Background"
        )


def _uid(one: Json) -> int:
    return int((one["metadata"].get("labels") or {}).get(UID, 0))


@final
class ObjectGrounds(Grounds):
    """What a project's apps share there: its namespace, and the rules of that."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._kept = set[str]()  # namespaces that stay for the sake of others

    @override
    async def prepare(self, project: str) -> None:
        """Nothing: the pass over an app applies what it needs."""

    @override
    async def clear(self, project: str) -> None:
        objects, shared = self._objects, (project, "")
        everything = await objects.engine.list()
        here = [one for one in await objects.engine.list(shared) if one["kind"] != "Event"]
        namespaces = {one["metadata"]["name"] for one in here if one["kind"] == "Namespace"}
        data = [
            one
            for one in everything
            if one["kind"] == _CLAIM and one["metadata"]["namespace"] in namespaces
        ]
        whose = Whose(objects.installation, objects.target, "")
        planned = removal([*here, *data], whose, volumes=False)
        actions = [one for one in planned.actions if await self._may_end(one.key)]
        await _delete(objects, shared, msgspec.structs.replace(planned, actions=tuple(actions)))

    async def _may_end(self, key: ObjectKey) -> bool:
        """Whether all that goes with it may go: a namespace takes everything with it."""
        if key.kind != "Namespace":
            return True
        others = await self._objects.foreign.within(key.name)
        if others and key.name not in self._kept:
            named = ", ".join(map(str, others[:SHOWN]))
            _log.warning("a namespace stays, for not all in it may go", object=named)
        self._kept.add(key.name) if others else self._kept.discard(key.name)
        return not others

    @override
    async def projects(self) -> Sequence[str]:
        return [project for project, app in self._objects.engine.marks() if not app]

    @override
    async def remove_volumes(self, project: str, app: str) -> None:
        raise EngineError(
            f"the volumes of {app} in {project} go with its removal, not by themselves"
        )
