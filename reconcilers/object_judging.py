"""Judging an app whose engine keeps objects: the same conditions and reasons as on every engine."""

from collections.abc import Sequence

import msgspec

from projections.desired import DesiredApp
from reconcilers.judging import claim, dated, paused
from reconcilers.object_acting import ending
from reconcilers.object_actions import Action, ApplyObject, DeleteObject
from reconcilers.object_planning import Plan
from reconcilers.object_ports import Cause, ObjectView
from reconcilers.status import AppStatus, Condition


def judge(
    desired: DesiredApp,
    view: ObjectView,
    plan: Plan,
    *,
    now: float,
    before: AppStatus | None,
    waits: str = "",
    routed: Condition | None = None,
) -> AppStatus:
    """What the app is like, once `plan` was made from the same objects as `view`.

    `waits` is why nothing of it may be there yet, or empty. `routed` is of one with URLs.
    """
    if not view.revision:  # no workload says how many
        view = msgspec.structs.replace(view, wanted=desired.wanted)
    if plan.taken:
        taken = Cause("NameTaken", _taken(desired, plan))
        view = msgspec.structs.replace(view, causes=(*view.causes, taken))
    conditions = (
        _ready(desired, view, waits),
        _progressing(desired, view, plan, waits),
        _degraded(desired, view),
        _synced(desired, plan),
        paused(desired),
        *((routed,) if routed is not None else ()),
    )
    return AppStatus(
        uid=desired.uid,
        observed_generation=desired.generation,
        observed_at=now,
        revision=desired.revision,
        serving=view.serving,
        wanted=view.wanted if desired.wanted else 0,
        ready=view.ready,
        updated=_updated(desired, view),
        conditions=tuple(dated(condition, before, now) for condition in conditions),
        replicas=view.replicas,
    )


def _updated(desired: DesiredApp, view: ObjectView) -> int:
    """How many replicas serve as they should be; none while what is there is of another time."""
    held = desired.paused.revision if desired.paused else desired.revision
    return view.updated if view.is_settled and view.revision == held else 0


def _rolled_out(desired: DesiredApp, view: ObjectView) -> bool:
    held = desired.paused.revision if desired.paused else desired.revision
    is_held = view.is_settled and view.revision == held
    return is_held and view.updated >= view.wanted


def _ready(desired: DesiredApp, view: ObjectView, waits: str) -> Condition:
    if desired.wanted == 0:
        return claim("Ready", "False", "Stopped", "no replica is wanted")
    count = f"{view.ready} of {view.wanted} replicas are ready"
    if view.ready and view.ready >= view.wanted:
        if _rolled_out(desired, view):
            return claim("Ready", "True", "AllReplicasReady", count)
        message = f"revision {view.serving} serves while revision {desired.revision} comes"
        return claim("Ready", "True", "Serving", message)
    if waits:
        return claim("Ready", "False", "RemovalPending", f"{count}: {waits}")
    if view.causes:
        reason, message = view.causes[0]
        return claim("Ready", "False", reason, f"{count}: {message}")
    return claim("Ready", "False", "Starting", count)


def _progressing(desired: DesiredApp, view: ObjectView, plan: Plan, waits: str) -> Condition:
    if view.is_stalled:
        message = f"revision {view.revision} did not become healthy by its deadline"
        return claim("Progressing", "False", "DeadlineExceeded", message)
    if _rolled_out(desired, view):
        message = f"revision {view.revision} is rolled out"
        return claim("Progressing", "False", "Complete", message)
    if waits:
        return claim("Progressing", "True", "RemovalPending", waits)
    if plan.waiting:
        message = f"{_names(plan.waiting)} has to be gone first"
        return claim("Progressing", "True", "RemovalPending", message)
    updated = _updated(desired, view)
    message = f"{updated} of {view.wanted} replicas run revision {desired.revision}"
    return claim("Progressing", "True", "RolloutInProgress", message)


def _degraded(desired: DesiredApp, view: ObjectView) -> Condition:
    if view.causes:
        return claim("Degraded", "True", *view.causes[0])
    if view.is_stalled:
        message = f"revision {view.revision} did not become healthy by its deadline"
        return claim("Degraded", "True", "DeadlineExceeded", message)
    if desired.stable == desired.revision and view.ready < view.wanted:
        message = f"{view.ready} of {view.wanted} replicas are ready"
        return claim("Degraded", "True", "ReplicasMissing", message)
    return claim("Degraded", "False", "AsExpected", "nothing is wrong")


def _synced(desired: DesiredApp, plan: Plan) -> Condition:
    if plan.taken:
        return claim("Synced", "False", "NameTaken", _taken(desired, plan))
    edited = [a for a in plan.actions if isinstance(a, ApplyObject) and a.because == "edited"]
    if edited:
        return claim("Synced", "False", "Drifted", _edits(edited))
    if replaced := replacements(plan.actions):
        return claim("Synced", "False", "Replacing", "; ".join(replaced))
    if plan.actions or plan.waiting or plan.adopting:
        return _converging(plan)
    if plan.additions or plan.imposed:
        told = [
            f"{addition.manager} added {', '.join(addition.fields)} to {key}"
            for key, found in plan.additions.items()
            for addition in found
        ]
        told += [
            f"the cluster itself changes {', '.join(fields)} of {key} whenever it is written"
            for key, fields in plan.imposed.items()
        ]
        return claim("Synced", "True", "AddedTo", f"{'; '.join(told)}; it is left alone")
    return claim("Synced", "True", "Converged", "its objects are as they are wanted")


def _taken(desired: DesiredApp, plan: Plan) -> str:
    command = f"stateward adopt app/{desired.ref.name} -n {desired.ref.project} --objects"
    return (
        f"{_names(plan.taken)} belongs to somebody else and was not touched; take it over with "
        f"`{command}` (--dry-run shows it), rename the app, or move it"
    )


def _converging(plan: Plan) -> Condition:
    if plan.adopting:
        message = f"{_names(plan.adopting)} of somebody else is taken over once this is ready"
        return claim("Synced", "False", "Adopting", message)
    message = "what is on the cluster is not yet what is wanted"
    return claim("Synced", "False", "Converging", message)


def _edits(edited: Sequence[ApplyObject]) -> str:
    told = []
    for action in edited:
        by = f" by {', '.join(action.by)}" if action.by else ""
        told.append(f"{', '.join(action.fields)} of {action.key} was changed{by}")
    return f"{'; '.join(told)}; it is being put back"


def _names(named: Sequence[object]) -> str:
    return ", ".join(map(str, named))


def replacements(actions: Sequence[Action]) -> tuple[str, ...]:
    """Sentences on objects that will be made anew, to show before it is done."""
    return tuple(
        f"{action.key} is made anew: {', '.join(action.fields)} cannot be changed; {_kept(action)}"
        for action in actions
        if isinstance(action, DeleteObject) and action.because == "immutable"
    )


def _kept(action: DeleteObject) -> str:
    if action.foreign:
        return f"it is somebody else's, {ending(action)}"
    if action.propagation == "Orphan":
        return "its pods and claims stay, and are taken up by the new one"
    return "what it holds comes again at once"
