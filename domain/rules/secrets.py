"""Rules of the kind `Secret`. A changed value is a new revision of the apps that use it."""

from domain import events as e
from domain import intents as i
from domain import names, state
from domain.events import Fact
from domain.intents import SecretContent
from domain.names import Ref, members_stream
from domain.refusals import BadValue, InUse, NotFound
from domain.rules import apps
from domain.rules.context import Context, Moment, check_generation, need, unsuitable


def decide(context: Context, intent: i.Intent, at: Moment) -> tuple[Fact, ...]:
    present = context.secret(intent.ref)
    if isinstance(intent, i.Apply) and isinstance(intent.spec, SecretContent):
        check_generation(intent, present)
        return _apply(context, intent.ref, intent.spec, dict(intent.labels), present, at)
    need(intent, present)
    if isinstance(intent, i.Delete):
        return _delete(context, intent.ref, present, at)
    raise unsuitable(intent)


def _users(context: Context, ref: Ref) -> dict[Ref, state.App]:
    """The apps of the Secret's project that use it, in order of their names.

    Members were read at another moment perhaps: what is decided by one that is gone since then does
    not fit the log, and is decided again.
    """
    members = context.members(names.project(ref.project)).members
    refs = [Ref.parse(stream) for stream in sorted(members) if stream.startswith("App/")]
    states = {app: context.app(app) for app in refs}
    return {
        app: present
        for app, present in states.items()
        if present.exists
        and (ref.name in present.secrets or ref.name in apps.certificates(present))
    }


def _apply(
    context: Context,
    ref: Ref,
    content: SecretContent,
    labels: dict[str, str],
    present: state.Secret,
    at: Moment,
) -> tuple[Fact, ...]:
    owner = names.project(ref.project)
    if not context.project(owner).exists:
        raise NotFound(owner, f"apply a Project named {ref.project!r} first, or in the same set")
    if present.exists and present.token == content.token and present.labels == labels:
        return ()
    secret_set = e.SecretSet(
        **at.stamp,
        uid=present.uid if present.exists else 0,
        version=present.version + (present.token != content.token or not present.exists),
        token=content.token,
        keys=content.keys,
        labels=labels,
    )
    facts = [Fact(ref.stream, secret_set)]
    if not present.exists:
        joined = e.MemberJoined(**at.stamp, member=ref.stream)
        return (*facts, Fact(members_stream(owner), joined))
    if present.token != content.token:
        for user, app in _users(context, ref).items():
            _check_keys(user, app, ref.name, content.keys)
            if ref.name in app.secrets:
                facts.append(apps.rotated(user, app, ref.name, content.token, at))
    return tuple(facts)


def _check_keys(user: Ref, app: state.App, secret: str, keys: tuple[str, ...]) -> None:
    missing = sorted(apps.keys_used(app, secret) - set(keys))
    if missing:
        raise BadValue("data", keys, f"{user} still uses the key {missing[0]!r}; keep it")


def _delete(context: Context, ref: Ref, present: state.Secret, at: Moment) -> tuple[Fact, ...]:
    users = _users(context, ref)
    if users:
        remedy = "remove the references from their env, imagePull or routes first"
        raise InUse(ref, tuple(map(str, users)), remedy)
    left = e.MemberLeft(**at.stamp, member=ref.stream)
    return (
        Fact(ref.stream, e.SecretDeleted(**at.stamp, version=present.version)),
        Fact(members_stream(names.project(ref.project)), left),
    )
