"""What an app may take over, and how it has to be named.

From engines of replicas an installation is named, and what it runs ends. On a cluster objects can
be taken as they are, so each is named as it was seen, with its uid: that very object, and no other.
"""

from typing import Final

from domain import intents as i
from domain import names, state, target
from domain import shape as shape_of
from domain.events import ForeignObject
from domain.names import is_installation
from domain.refusals import BadValue, NotPossible
from domain.rules.context import Context, Moment

MOST: Final = 64  # objects at once; an app and its project have about twenty
CLAIM: Final = "PersistentVolumeClaim"


def check(context: Context, intent: i.Adopt, present: state.App, at: Moment) -> None:
    """Refuse what is named wrongly, or cannot be taken over there.

    Raises:
        BadValue: what is named is not named so that it is sure what is meant.
        NotPossible: there, it is done another way.
    """
    on = context.target(names.target(shape_of.of(present.spec).target))
    if on.exists and target.decode(on.spec).engine == "k8s":
        _check_objects(intent)
    else:
        _check_installation(intent, at)


def _check_installation(intent: i.Adopt, at: Moment) -> None:
    if intent.objects or intent.volumes:
        what = "objects" if intent.objects else "volumes"
        rule = "only an app on a Kubernetes cluster takes over objects; name an installation"
        raise BadValue(what, getattr(intent, what), rule)
    named = intent.installation
    if not is_installation(named):
        rule = "an installation is named by its whole UUID; `stateward adopt` lists those found"
        raise BadValue("installation", named, rule)
    if named == at.installation:
        raise BadValue("installation", named, "this is this installation itself")


def _check_objects(intent: i.Adopt) -> None:
    ref = intent.ref
    listed = f"`stateward adopt app/{ref.name} -n {ref.project} --objects --dry-run` lists them"
    if intent.installation:
        raise NotPossible(
            f"{ref} is on a Kubernetes cluster, where objects are taken over, and not all that an "
            f"installation runs; name them, each with its uid: {listed}"
        )
    if not 1 <= len(intent.objects) <= MOST:
        rule = f"name 1 to {MOST} objects, each with its uid: {listed}"
        raise BadValue("objects", len(intent.objects), rule)
    named = set[ForeignObject]()
    for index, one in enumerate(intent.objects):
        for field in ("api_version", "kind", "name", "uid"):
            if not getattr(one, field):
                path = "apiVersion" if field == "api_version" else field
                raise BadValue(f"objects[{index}].{path}", "", f"it has to be said; {listed}")
        if one.kind == CLAIM and not intent.volumes:
            rule = "it holds data, which is taken over only with `volumes`: add --volumes"
            raise BadValue(f"objects[{index}]", f"{one.kind} {one.name}", rule)
        if (same := _without_uid(one)) in named:
            raise BadValue(f"objects[{index}]", f"{one.kind} {one.name}", "it is named twice")
        named.add(same)


def _without_uid(one: ForeignObject) -> ForeignObject:
    return ForeignObject(
        api_version=one.api_version, kind=one.kind, namespace=one.namespace, name=one.name, uid=""
    )
