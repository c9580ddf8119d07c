"""What a submission would change, as manifests before and after; for dry runs and diffs."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec

from bus import codec, manifests
from bus.intents import Change, Plan
from domain import app as spec_of
from domain import events as e
from domain import names, project, state, target
from domain.names import Ref
from domain.rules import on_cluster
from projections.desired import DesiredState
from reconcilers.inside import ProjectProposal, Proposal
from reconcilers.object_preview import ObjectChange
from reconcilers.ports import EngineError

type Manifest = dict[str, Any]
type Asked = Proposal | ProjectProposal
type Changes = Sequence[ObjectChange]


def preview(change: Change, plan: Plan) -> Manifest:
    """A change with the manifests `before` and `after`, None where there is no resource."""
    ref = Ref.parse(change.resource)
    present = plan.before[ref.stream]
    before = _before(ref, present)
    own = [fact.event for fact in plan.facts if fact.stream == ref.stream]
    generation = getattr(present, "generation", 0) if before else 0
    return {
        "resource": change.resource,
        "result": change.result,
        "generation": generation,
        "events": change.events,
        "before": before,
        "after": _after(ref, own[-1], generation) if own else before,
    }


def replacements(plan: Plan) -> Iterator[str]:
    """What a cluster cannot change, and gets made anew."""
    last = {fact.stream: fact.event for fact in plan.facts if isinstance(fact.event, e.AppEvent)}
    for stream, event in last.items():
        present = plan.before.get(stream)
        if not isinstance(present, state.App) or not present.exists:
            continue
        old, new = spec_of.decode(present.spec), spec_of.decode(bytes(event.spec))
        if old.target == new.target and _was_cluster(plan, new.target or ""):
            for sentence in on_cluster.replacements(old, new):
                yield f"{stream}: {sentence}"


def _was_cluster(plan: Plan, name: str) -> bool:
    """Whether a target that the rules looked at is one."""
    found = plan.before.get(names.target(name).stream)
    if not isinstance(found, state.Target) or not found.exists:
        return False
    return target.decode(found.spec).engine == "k8s"


def proposal(resource: str, plan: Plan, position: int) -> Proposal | None:
    """The event that would make an App what it will be; None of what changes in no App's spec."""
    stream = Ref.parse(resource).stream
    own = [fact.event for fact in plan.facts if fact.stream == stream]
    if not own or not isinstance(own[-1], e.AppEvent):
        return None
    return Proposal(stream, position, own[-1].type, codec.encode(own[-1]))


def projects(
    resource: str, plan: Plan, position: int, desired: DesiredState
) -> list[ProjectProposal]:
    """What a Project that will be defined anew means to each cluster that its apps are on.

    Or will be: one is its default.
    """
    ref = Ref.parse(resource)
    events = [fact.event for fact in plan.facts if fact.stream == ref.stream]
    if not events or not isinstance(defined := events[-1], e.ProjectDefined):
        return []
    apps = (desired.app(one) for one in list(desired.streams("App")))
    targets = {one.target for one in apps if one is not None and one.ref.project == ref.name}
    targets.add(project.decode(bytes(defined.spec)).target or "")
    uid = defined.uid or position
    clusters = (name for name in sorted(targets) if _is_cluster(desired, name))
    return [ProjectProposal(ref.name, uid, name) for name in clusters]


def _is_cluster(desired: DesiredState, name: str) -> bool:
    found = desired.resource(names.target(name).stream) if name else None
    return found is not None and target.decode(found.spec).engine == "k8s"


async def with_objects(
    change: Manifest, asked: Sequence[Asked], ask: Callable[[Asked], Awaitable[Changes]]
) -> list[str]:
    """Add to a change what it means to objects on clusters; returns why that is not known."""
    warnings = list[str]()
    for one in asked:
        where = f" on {one.target}" if isinstance(one, ProjectProposal) else ""
        try:
            found = await ask(one)
        except EngineError as error:
            warnings.append(f"objects of {change['resource']}{where} are not compared: {error}")
            continue
        told = [msgspec.to_builtins(each) for each in found]
        if isinstance(one, ProjectProposal):
            told = [{**each, "target": one.target} for each in told]
        change.setdefault("objects", []).extend(told)
    return warnings


def _before(ref: Ref, present: state.State) -> Manifest | None:
    if isinstance(present, state.Members | state.Claims) or not present.exists:
        return None
    if isinstance(present, state.Secret):
        spec = _secret(present.version, present.keys)
    else:
        spec = present.spec
    return manifests.write(ref, spec, present.labels, present.generation)


def _after(ref: Ref, event: e.Event, generation: int) -> Manifest | None:
    match event:
        case e.AppEvent() | e.ProjectDefined() | e.TargetDefined():
            return manifests.write(ref, bytes(event.spec), event.labels, generation)
        case e.SecretSet():
            spec = _secret(event.version, event.keys)
            return manifests.write(ref, spec, event.labels, generation)
        case _:
            return None


def _secret(version: int, keys: tuple[str, ...]) -> bytes:
    return msgspec.json.encode({"keys": keys, "version": version})
