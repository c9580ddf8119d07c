"""What would change on a cluster: each object as it is, and as the cluster says it would be.

Nothing is written: applies are dry runs, so what comes back has the cluster's defaults, and what it
would refuse is told. Values of Secrets are not in it, nor what every change changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_labels import DIGEST, POSITION
from reconcilers.object_ports import Json, Manifest, ObjectKey, Objects
from reconcilers.ports import EngineError, EngineUnavailable

type Owned = tuple[tuple[str, str], Action]

HIDDEN: Final = "***"
_NOISE: Final = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")
_MOVING: Final = (POSITION, DIGEST)  # labels that differ after any change


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """One object, `before` and `after`: None where there is none.

    `because`: missing, changed, edited, unwanted, adopted; `immutable`: it is made anew, for
    `fields` never change. `refused` is why the cluster would not have it. `target` is said where
    there may be several: of what the apps of a project share.
    """

    object: str
    because: str
    fields: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    refused: str = ""
    target: str = ""


async def changes(
    objects: Objects, actions: Sequence[Owned], live: Sequence[Json], position: int
) -> list[ObjectChange]:
    """What the actions would change, in their order.

    Raises:
        EngineUnavailable: the target does not answer.
    """
    seen = {ObjectKey.of(one): one for one in live}
    namespaces = {key.name for key in seen if key.kind == "Namespace"}
    found = []
    for owner, action in actions:
        before = seen.get(action.key)
        shown = _shown(before) if before is not None else None
        if isinstance(action, DeleteObject):
            change = ObjectChange(
                object=str(action.key), because=action.because, fields=action.fields, before=shown
            )
        elif action.because == "handover":
            continue  # it keeps what is there
        else:
            is_new = bool(action.key.namespace) and action.key.namespace not in namespaces
            after, refused = (
                (_shown(_veiled(action.manifest)), "")  # in what is not there, nothing is tried
                if is_new or action.manifest.confidential  # a cluster answers with the values
                else await _tried(objects, owner, action, position)
            )
            change = ObjectChange(
                object=str(action.key),
                because=action.because,
                fields=action.fields,
                before=shown,
                after=after,
                refused=refused,
            )
        if change.before != change.after or change.refused:
            found.append(change)
    return found


async def _tried(
    objects: Objects, owner: tuple[str, str], action: ApplyObject, position: int
) -> tuple[Mapping[str, Any], str]:
    """The object as the cluster would have it, or as it is rendered and why it would not."""
    try:
        applied = await objects.engine.apply(
            action.manifest,
            owner=owner,
            uid=action.uid,
            position=position,
            manager=action.manager,
            dry_run=True,
        )
    except EngineUnavailable:
        raise
    except EngineError as error:
        return _shown(action.manifest.body), str(error)
    return _shown(applied.body), ""


def _veiled(manifest: Manifest) -> dict[str, Any]:
    """Without values that nobody may see."""
    hidden = dict.fromkeys(sorted(manifest.confidential), HIDDEN)
    return {**manifest.body, **({"data": hidden} if hidden else {})}


def _shown(body: Json) -> dict[str, Any]:
    """An object without what a reader of a difference does not look for."""
    metadata = {name: of for name, of in body["metadata"].items() if name not in _NOISE}
    labels = metadata.get("labels") or {}
    metadata["labels"] = {name: of for name, of in labels.items() if name not in _MOVING}
    return {name: of for name, of in body.items() if name != "status"} | {"metadata": metadata}
