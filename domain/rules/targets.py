"""Rules of the kind `Target`."""

from typing import Final

import msgspec

from domain import events as e
from domain import intents as i
from domain import state, target
from domain.events import Fact
from domain.names import Ref
from domain.refusals import InUse
from domain.rules import members
from domain.rules.context import Context, Moment, check_generation, need, unsuitable
from domain.target import TargetSpec

_PLACED_BY: Final = {
    "docker": "docker.host",
    "k8s": "cluster or namespacePrefix",
    "simulated": "simulated.host",
}


def decide(context: Context, intent: i.Intent, at: Moment) -> tuple[Fact, ...]:
    present = context.target(intent.ref)
    if isinstance(intent, i.Apply) and isinstance(intent.spec, TargetSpec):
        check_generation(intent, present)
        return _apply(context, intent.ref, intent.spec, dict(intent.labels), present, at)
    need(intent, present)
    if isinstance(intent, i.Delete):
        return _delete(context, intent, at)
    raise unsuitable(intent)


def _apply(
    context: Context,
    ref: Ref,
    spec: TargetSpec,
    labels: dict[str, str],
    present: state.Target,
    at: Moment,
) -> tuple[Fact, ...]:
    target.check(spec)
    encoded = target.encode(spec)
    if present.exists and present.spec == encoded and present.labels == labels:
        return ()
    if present.exists:
        _check_place(context, ref, target.decode(present.spec), spec)
    uid = present.uid if present.exists else 0
    defined = e.TargetDefined(**at.stamp, uid=uid, spec=msgspec.Raw(encoded), labels=labels)
    return (Fact(ref.stream, defined),)


def _check_place(context: Context, ref: Ref, before: TargetSpec, after: TargetSpec) -> None:
    """Raises `InUse` when apps would be cut off from their replicas."""
    if target.place(before) == target.place(after):
        return
    inside = sorted(context.members(ref).members)
    if inside:
        what = _PLACED_BY[after.engine] if before.engine == after.engine else "engine"
        remedy = f"move its apps to another target before it gets another {what}"
        raise InUse(ref, tuple(inside), remedy)


def _delete(context: Context, intent: i.Delete, at: Moment) -> tuple[Fact, ...]:
    inside = sorted(context.members(intent.ref).members)
    if inside and not (intent.cascade or intent.orphan):
        remedy = "move or delete them first, or give --cascade or --orphan (what runs stays)"
        raise InUse(intent.ref, tuple(inside), remedy)
    gone = members.delete_all(context, inside, intent, at)
    return (*gone, Fact(intent.ref.stream, e.TargetDeleted(**at.stamp)))
