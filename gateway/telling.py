"""Events as people and programs read them: a sentence, and the members beside it."""

from typing import Any, Final

import msgspec

from bus import codec
from bus.envelopes import resource_of
from bus.log import StoredEvent
from domain import app
from domain import events as e

type Told = dict[str, Any]

_ENVELOPE: Final = ("actor", "cause", "at")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def tell(row: StoredEvent) -> Told:
    """One event; what this version cannot read is told as far as it is understood."""
    try:
        event: e.Event | None = codec.decode(row.type, row.data)
        sentence = sentence_of(event) if event else ""
    except (codec.Undecodable, ValueError) as error:
        event, sentence = None, f"cannot be read by this version: {error}"
    try:
        members: Any = _MEMBERS.decode(row.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        members = None
    data = {k: v for k, v in members.items() if k not in _ENVELOPE} if members is not None else None
    return {
        "position": row.position,
        "resource": resource_of(row.stream),
        "type": row.type,
        "at": event.at if event else None,
        "actor": event.actor if event else "",
        "cause": event.cause if event else "",
        "transition": row.stream.endswith("#status"),
        "sentence": sentence,
        "data": data,
    }


def sentence_of(event: e.Event) -> str:  # noqa: C901, PLR0911 -- one flat match, as below
    """What happened, without who, when and to what: `scaled to 3 replicas`."""
    if isinstance(event, e.AppEvent):
        return _of_app(event)
    if isinstance(event, e.Transition):
        return _of_transition(event)
    match event:
        case e.AppDeleted(orphan=True):
            return "deleted; what runs is left alone"
        case e.AppDeleted(volumes=True):
            return "deleted, with its volumes"
        case e.SecretSet(version=version, keys=keys):
            return f"set to version {version} with the keys {', '.join(keys)}"
        case e.MemberJoined(member=member):
            return f"{member} joined"
        case e.MemberLeft(member=member):
            return f"{member} left"
        case e.ClaimsTaken(owner=owner, claims=claims):
            return f"{owner} took {', '.join(claims)}"
        case e.ClaimsReleased(owner=owner, claims=claims):
            return f"{owner} gave back {', '.join(claims)}"
        case e.ProjectDefined(uid=uid) | e.TargetDefined(uid=uid):
            return "configured" if uid else "created"
        case _:
            return "deleted"


def _of_app(event: e.AppEvent) -> str:  # noqa: C901, PLR0911 -- an arm for each event
    match event:
        case e.AppDefined(revision=revision, replaces=0):
            return f"created as revision {revision}"
        case e.AppDefined(revision=revision, replaces=replaces):
            return f"configured as revision {revision}, which replaces {replaces}"
        case e.AppRestarted(revision=revision):
            return f"restarted as revision {revision}"
        case e.AppUndone(revision=revision, to=to):
            return f"returned to revision {to}, as revision {revision}"
        case e.AppRefreshed(revision=revision):
            return f"its image is to be resolved afresh, as revision {revision}"
        case e.AppSecretRotated(revision=revision, secret=secret):
            return f"the secret {secret} has new values: revision {revision}"
        case e.AppScaled():
            return f"scaled to {_count(app.decode(bytes(event.spec)).replicas or 0, 'replica')}"
        case e.AppPaused(paused=e.Pause() as pause):
            until = f" until {pause.until.isoformat()}" if pause.until else ""
            return f"rollouts are held at revision {pause.revision}{until}: {pause.reason}"
        case e.AppAdopted(objects=objects) if objects:
            named = ", ".join(f"{one.kind} {one.name}" for one in objects)
            return f"takes over on its cluster: {named}"
        case e.AppAdopted(installation=installation):
            return f"takes over from installation {installation} once it is ready"
        case e.AppImageResolved(revision=revision, image=image):
            return f"the image of revision {revision} is {image}"
        case _:
            return _PLAIN.get(event.type, event.type)


_PLAIN: Final = {
    e.AppStarted.type: "started",
    e.AppStopped.type: "stopped",
    e.AppRolloutSet.type: "the way of its rollouts was set",
    e.AppAutoscaleSet.type: "its autoscaling was set",
    e.AppRouted.type: "its routes were set",
    e.AppLabelled.type: "labelled",
    e.AppResumed.type: "rollouts go on",
}


def _of_transition(event: e.Transition) -> str:  # noqa: C901, PLR0911 -- as above
    match event:
        case e.RolloutStarted(revision=revision, replaces=replaces):
            instead = f" in place of {replaces}" if replaces else ""
            return f"the rollout of revision {revision}{instead} started"
        case e.RolloutCompleted(revision=revision, seconds=seconds):
            return f"the rollout of revision {revision} completed after {seconds:.1f} s"
        case e.RolloutStalled(revision=revision, serving=serving, message=message):
            still = f"; revision {serving} goes on serving" if serving else ""
            return f"the rollout of revision {revision} stalled: {message}{still}"
        case e.ReplicaHealed(slot=slot, reason=reason, seconds=seconds):
            return f"the replica of slot {slot} was healed in {seconds:.1f} s: {reason}"
        case e.ReplicaRenamed(slot=slot, attempt=attempt, message=message):
            return f"attempt {attempt} of slot {slot} was passed over: {message}"
        case e.DriftRepaired(object=object_) if object_:
            who = f" by {', '.join(event.by)}" if event.by else ""
            return f"{object_} was changed in {', '.join(event.fields)}{who}, and was put back"
        case e.DriftRepaired(slot=slot, fields=fields):
            return f"slot {slot} differed in {', '.join(fields)} and was replaced"
        case e.RouterRepaired(fields=fields):
            return f"its router's {', '.join(fields)} had been edited and was put right"
        case e.HealthChanged(ready=ready, reason=reason, message=message):
            return f"{'ready' if ready else 'not ready'} ({reason}): {message}"
        case e.AdoptionCompleted(installation=""):
            return "of the objects that it was to take over, none is left to take"
        case e.AdoptionCompleted(installation=installation):
            return f"nothing that installation {installation} ran of it is left on its target"
        case _:
            return "nothing is left of it on its target"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
