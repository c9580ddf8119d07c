"""Rules of the kind `Project`."""

import msgspec

from domain import events as e
from domain import intents as i
from domain import names, project, state
from domain.events import Fact
from domain.names import Ref
from domain.project import ProjectSpec
from domain.refusals import InUse, NotFound
from domain.rules import members
from domain.rules.context import Context, Moment, check_generation, need, unsuitable


def decide(context: Context, intent: i.Intent, at: Moment) -> tuple[Fact, ...]:
    present = context.project(intent.ref)
    if isinstance(intent, i.Apply) and isinstance(intent.spec, ProjectSpec):
        check_generation(intent, present)
        return _apply(context, intent.ref, intent.spec, dict(intent.labels), present, at)
    need(intent, present)
    if isinstance(intent, i.Delete):
        return _delete(context, intent, at)
    raise unsuitable(intent)


def _apply(
    context: Context,
    ref: Ref,
    spec: ProjectSpec,
    labels: dict[str, str],
    present: state.Project,
    at: Moment,
) -> tuple[Fact, ...]:
    if spec.target and not context.target(names.target(spec.target)).exists:
        raise NotFound(f"Target/{spec.target}", "`stateward get targets` lists those that do")
    encoded = project.encode(spec)
    if present.exists and present.spec == encoded and present.labels == labels:
        return ()
    uid = present.uid if present.exists else 0
    defined = e.ProjectDefined(**at.stamp, uid=uid, spec=msgspec.Raw(encoded), labels=labels)
    return (Fact(ref.stream, defined),)


def _delete(context: Context, intent: i.Delete, at: Moment) -> tuple[Fact, ...]:
    inside = sorted(context.members(intent.ref).members)
    if inside and not (intent.cascade or intent.orphan):
        remedy = "delete them first, or give --cascade (they go too) or --orphan (what runs stays)"
        raise InUse(intent.ref, tuple(inside), remedy)
    gone = members.delete_all(context, inside, intent, at)
    return (*gone, Fact(intent.ref.stream, e.ProjectDeleted(**at.stamp)))
