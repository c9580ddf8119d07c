"""Rules of the kind `App`."""

import msgspec

from domain import app as spec_of
from domain import events as e
from domain import intents as i
from domain import names, route, state, target, wish
from domain import shape as shape_of
from domain.app import AppSpec, FromSecret
from domain.autoscale import MAX_REPLICAS
from domain.events import Fact
from domain.names import Ref, members_stream
from domain.refusals import BadValue, NotFound, NotPossible
from domain.rules import adopting, claiming, placement
from domain.rules.claiming import Reach
from domain.rules.context import Context, Moment, check_generation, need, unsuitable
from domain.shape import Shape
from domain.wish import AppWish


def decide(  # noqa: C901, PLR0911, PLR0912 -- one flat match, an arm for each intent
    context: Context, intent: i.Intent, at: Moment
) -> tuple[Fact, ...]:
    present = context.app(intent.ref)
    if isinstance(intent, i.Apply) and isinstance(intent.spec, AppWish):
        check_generation(intent, present)
        return _apply(context, intent.ref, intent.spec, dict(intent.labels), present, at)
    need(intent, present)
    match intent:
        case i.Scale(replicas=replicas):
            if not 0 <= replicas <= MAX_REPLICAS:
                rule = f"an app has 0 to {MAX_REPLICAS} replicas; use a second app for more"
                raise BadValue("replicas", replicas, rule)
            _check_scalable(intent.ref, present)
            if claiming.publishes(present.spec):
                claiming.check_count(replicas, "replicas")
            return _reshape(intent.ref, present, at, replicas=replicas)
        case i.Start():
            return _reshape(intent.ref, present, at, running=True)
        case i.Stop():
            return _reshape(intent.ref, present, at, running=False)
        case i.Restart():
            return (_fact(intent.ref, e.AppRestarted, present, at, revision=present.revision + 1),)
        case i.Refresh():
            return _refresh(context, intent.ref, present, at)
        case i.Undo(to=to):
            return _undo(context, intent.ref, present, to, at)
        case i.Hold(reason=reason, until=until):
            return _hold(intent.ref, present, reason, until, at)
        case i.Resume():
            if present.paused is None:
                return ()
            return (_fact(intent.ref, e.AppResumed, present, at, paused=None),)
        case i.Adopt():
            return _adopt(context, intent, present, at)
        case i.ResolveImage(revision=revision, image=image):
            if not at.actor.startswith("system:"):
                raise unsuitable(intent)
            return _resolved(intent.ref, present, revision, image, at)
        case i.Delete(volumes=volumes, orphan=orphan):
            return delete(intent.ref, present, at, volumes=volumes, orphan=orphan)
        case _:
            raise unsuitable(intent)


def delete(
    ref: Ref, present: state.App, at: Moment, *, volumes: bool = False, orphan: bool = False
) -> tuple[Fact, ...]:
    """An existing app leaves its project and its target. Its engine confirms later."""
    on = shape_of.of(present.spec).target
    runs_on = present.paused.target if present.paused and present.paused.target else on
    drain, stop_grace = shape_of.ending(present.spec)
    gone = e.AppDeleted(
        **at.stamp,
        uid=present.uid,
        revision=present.revision,
        target=runs_on,
        volumes=volumes,
        orphan=orphan,
        drain=drain,
        stop_grace=stop_grace,
    )
    left = e.MemberLeft(**at.stamp, member=ref.stream)
    return (
        Fact(ref.stream, gone),
        Fact(members_stream(names.project(ref.project)), left),
        Fact(members_stream(names.target(on)), left),
        *claiming.of(ref, present.spec, at),
    )


def rotated(ref: Ref, present: state.App, secret: str, token: str, at: Moment) -> Fact:
    """The app's next revision, with new values of one of its Secrets."""
    secrets = {**present.secrets, secret: token}
    spec = spec_of.decode(present.spec)
    template = wish.of(spec).template(spec.target or "")
    return _fact(
        ref,
        e.AppSecretRotated,
        present,
        at,
        secret=secret,
        secrets=secrets,
        digest=spec_of.digest(template, secrets),
        revision=present.revision + 1,
    )


def certificates(present: state.App) -> frozenset[str]:
    """The Secrets whose certificates the app's routes use; no replica is made with them."""
    return route.secrets_of(route.decode(shape_of.of(present.spec).routes))


def keys_used(present: state.App, secret: str) -> set[str]:
    """The keys of a Secret that the app refers to."""
    spec = spec_of.decode(present.spec)
    if secret in route.secrets_of(spec.routes):
        return {*route.CERTIFICATE_KEYS, *_keys_in(spec, secret)}
    return _keys_in(spec, secret)


def _keys_in(spec: AppSpec, secret: str) -> set[str]:
    references = [v.secret_ref for v in spec.env.values() if isinstance(v, FromSecret)]
    keys = {reference.key for reference in references if reference.name == secret}
    return keys | ({"username", "password"} if spec.image_pull.secret_ref == secret else set())


def _fact(
    ref: Ref, event: type[e.AppEvent], present: state.App, at: Moment, **changes: object
) -> Fact:
    """An event with the app's present record but for the changes. A new revision has no image."""
    record: dict[str, object] = {
        "uid": present.uid,
        "revision": present.revision,
        "digest": present.digest,
        "spec": msgspec.Raw(present.spec),
        "labels": present.labels,
        "secrets": present.secrets,
        "image": present.image,
        "paused": present.paused,
    }
    return Fact(ref.stream, event(**at.stamp, **(record | changes)))  # type: ignore[arg-type]


def _apply(
    context: Context,
    ref: Ref,
    asked: AppWish,
    labels: dict[str, str],
    present: state.App,
    at: Moment,
) -> tuple[Fact, ...]:
    asked.check()
    on = placement.target_of(context, ref, asked.target)
    placement.check_engine(asked, on)
    secrets = placement.tokens(context, ref, asked)
    publish = asked.frame.spec.publish
    after = Reach(on.name, route.decode(asked.frame.routes), publish)
    if after:
        claiming.check(context, ref, after, on)
    before = shape_of.of(present.spec) if present.exists else None
    if after.routes:
        had = route.decode(before.routes) if before is not None else ()
        claiming.check_mirrors(context, ref, had, after, at)
    shape = _shape(asked, before, on.name)
    if publish:
        claiming.check_count(shape.replicas, "spec.replicas")
    claims = claiming.moved(context, ref, claiming.reach(present.spec), after, at)
    template = asked.template(on.name)
    encoded = shape_of.stored(template, shape)
    digest = spec_of.digest(template, secrets)
    if before is not None and digest == present.digest:
        return (*_reshaped(ref, present, at, before, shape, encoded, labels), *claims)
    defined = e.AppDefined(
        actor=at.actor,
        cause=at.cause,
        at=at.now,
        uid=present.uid if present.exists else 0,
        revision=present.revision + 1,
        digest=digest,
        spec=msgspec.Raw(encoded),
        labels=labels,
        secrets=secrets,
        paused=present.paused,
        replaces=present.revision if present.exists else 0,
    )
    return (Fact(ref.stream, defined), *_moves(ref, before, on.name, at), *claims)


def _shape(asked: AppWish, before: Shape | None, target: str) -> Shape:
    """What was asked; replicas and running stay as they are unless they are named."""
    replicas, running = asked.replicas, asked.running
    if replicas is None and before is not None and before.autoscale and not asked.frame.autoscale:
        rule = (
            "its target scaled it until now, so that no count is known here: name spec.replicas, "
            "perhaps as many as run now, or keep spec.autoscale"
        )
        raise BadValue("spec.replicas", None, rule)
    if replicas is None:
        replicas = before.replicas if before else 1
    if running is None:
        running = before.running if before else True
    frame = asked.frame
    return Shape(target, replicas, running, frame.rollout, frame.autoscale, frame.routes)


def _moves(ref: Ref, before: Shape | None, on: str, at: Moment) -> tuple[Fact, ...]:
    """Who the app joins and leaves when it is made, or moves to another target."""
    if before is not None and before.target == on:
        return ()
    joined = e.MemberJoined(**at.stamp, member=ref.stream)
    here = Fact(members_stream(names.target(on)), joined)
    if before is None:
        return (Fact(members_stream(names.project(ref.project)), joined), here)
    left = e.MemberLeft(**at.stamp, member=ref.stream)
    return (Fact(members_stream(names.target(before.target)), left), here)


def _reshaped(
    ref: Ref,
    present: state.App,
    at: Moment,
    before: Shape,
    shape: Shape,
    encoded: bytes,
    labels: dict[str, str],
) -> tuple[Fact, ...]:
    """The events of an intent that needs no new revision: one for each thing that it changes."""
    kinds: list[type[e.AppEvent]] = []
    if shape.replicas != before.replicas:
        kinds.append(e.AppScaled)
    if shape.running != before.running:
        kinds.append(e.AppStarted if shape.running else e.AppStopped)
    if shape.rollout != before.rollout:
        kinds.append(e.AppRolloutSet)
    if shape.autoscale != before.autoscale:
        kinds.append(e.AppAutoscaleSet)
    if shape.routes != before.routes:
        kinds.append(e.AppRouted)
    if labels != present.labels:
        kinds.append(e.AppLabelled)
    changes = {"spec": msgspec.Raw(encoded), "labels": labels}
    return tuple(_fact(ref, kind, present, at, **changes) for kind in kinds)


def _reshape(
    ref: Ref,
    present: state.App,
    at: Moment,
    *,
    replicas: int | None = None,
    running: bool | None = None,
) -> tuple[Fact, ...]:
    before = shape_of.of(present.spec)
    shape = msgspec.structs.replace(
        before,
        replicas=before.replicas if replicas is None else replicas,
        running=before.running if running is None else running,
    )
    encoded = shape_of.reshaped(present.spec, shape)
    return _reshaped(ref, present, at, before, shape, encoded, present.labels)


def _check_scalable(ref: Ref, present: state.App) -> None:
    if shape_of.of(present.spec).autoscale:
        raise NotPossible(
            f"{ref} is scaled by its target, within spec.autoscale; "
            "apply it with other bounds, or without autoscale to scale it by hand"
        )


def _refresh(context: Context, ref: Ref, present: state.App, at: Moment) -> tuple[Fact, ...]:
    spec = spec_of.decode(present.spec)
    on = context.target(names.target(spec.target or ""))
    if spec.image is None or not on.exists or target.decode(on.spec).engine == "process":
        raise NotPossible(f"{ref} runs no image, so there is no tag to resolve again")
    return (_fact(ref, e.AppRefreshed, present, at, image=None, revision=present.revision + 1),)


def _undo(
    context: Context, ref: Ref, present: state.App, to: int | None, at: Moment
) -> tuple[Fact, ...]:
    number = _differing(context, ref, present) if to is None else to
    old = context.revision(ref, number)
    if old is None or old.uid != present.uid or number == present.revision:
        raise NotFound(
            f"a revision {number} of {ref} to return to",
            f"the present one is {present.revision}; `stateward rollout history` lists them",
        )
    now, then = shape_of.of(present.spec), shape_of.of(bytes(old.spec))
    spec = wish.of(spec_of.decode(bytes(old.spec)))
    on = placement.target_of(context, ref, then.target)
    placement.check_engine(spec, on)
    old_spec = spec_of.decode(bytes(old.spec))
    reached = Reach(then.target, route.decode(now.routes), old_spec.publish)
    claiming.check_ports(reached.routes, old_spec.port_protocols, number)
    if reached:
        claiming.check(context, ref, reached, on)
    if old_spec.publish:
        claiming.check_count(now.replicas, "replicas")
    claims = claiming.moved(context, ref, claiming.reach(present.spec), reached, at)
    secrets = _tokens_then(context, ref, spec, old)
    digest = old.digest
    if secrets != old.secrets:
        digest = spec_of.digest(spec.template(then.target), secrets)
    if digest == present.digest and old.image == present.image:
        raise NotPossible(
            f"{ref} already has the spec of revision {number}; there is nothing to undo"
        )
    # how many there are and how they are reached is not undone; bounds mean nothing elsewhere
    bounds = now.autoscale if now.target == then.target else then.autoscale
    shape = msgspec.structs.replace(
        then, replicas=now.replicas, running=now.running, autoscale=bounds, routes=now.routes
    )
    undone = _fact(
        ref,
        e.AppUndone,
        present,
        at,
        to=number,
        revision=present.revision + 1,
        digest=digest,
        secrets=secrets,
        image=old.image,
        spec=msgspec.Raw(shape_of.reshaped(bytes(old.spec), shape)),
    )
    return (undone, *_moves(ref, now, shape.target, at), *claims)


def _adopt(context: Context, intent: i.Adopt, present: state.App, at: Moment) -> tuple[Fact, ...]:
    """Asked again, it is done again: there may be more to take over meanwhile."""
    adopting.check(context, intent, present, at)
    what = {"installation": intent.installation, "objects": intent.objects}
    return (_fact(intent.ref, e.AppAdopted, present, at, **what),)


def _differing(context: Context, ref: Ref, present: state.App) -> int:
    """The newest revision before the present one that runs something else.

    Raises:
        NotPossible: there is none.
    """
    for number in range(present.revision - 1, 0, -1):
        old = context.revision(ref, number)
        if old is None or old.uid != present.uid:
            break  # before it, an app of this name was deleted
        newer = old.image is not None and old.image != present.image
        if old.digest != present.digest or newer:
            return number
    raise NotPossible(
        f"no revision of {ref} before {present.revision} runs anything else; "
        "there is nothing to undo"
    )


def _tokens_then(context: Context, ref: Ref, spec: AppWish, old: e.AppEvent) -> dict[str, str]:
    """The tokens that a former revision had; of a Secret that was made anew since, the present one.

    The values under the others went with the Secret.

    Raises:
        NotFound, BadValue: as for an app that is applied now.
    """
    tokens = placement.tokens(context, ref, spec)
    for name, token in old.secrets.items():
        secret = context.secret(Ref("Secret", ref.project, name))
        if name in tokens and secret.uid < old.generation:
            tokens[name] = token
    return tokens


def _resolved(
    ref: Ref, present: state.App, revision: int, image: str, at: Moment
) -> tuple[Fact, ...]:
    changes: dict[str, object] = {"generation": present.generation}
    paused = present.paused
    if revision == present.revision and image != present.image:
        changes["image"] = image
    elif (
        paused is not None and revision == paused.revision != present.revision and not paused.image
    ):
        changes["paused"] = msgspec.structs.replace(paused, image=image)
    else:
        return ()
    return (_fact(ref, e.AppImageResolved, present, at, **changes),)


def _hold(ref: Ref, present: state.App, reason: str, until: object, at: Moment) -> tuple[Fact, ...]:
    revision = present.paused.revision if present.paused else present.revision
    image = present.paused.image if present.paused else None
    target = present.paused.target if present.paused else shape_of.of(present.spec).target
    pause = msgspec.convert(
        {
            "revision": revision,
            "reason": reason,
            "until": until,
            "image": image,
            "target": target,
        },
        e.Pause,
        from_attributes=True,
    )
    if pause == present.paused:
        return ()
    return (_fact(ref, e.AppPaused, present, at, paused=pause),)
