"""Events: every fact the log may hold. The registry is closed: a name in the log imports nothing.

An event of an App carries its complete `Record`, so folding an app's desired state is taking its
last event. Events of a stream `<resource>#status` are transitions: what reconcilers saw and did.
They never shape what should run.
"""

from datetime import datetime
from typing import ClassVar

import msgspec


class Event(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """A fact.

    `actor` is who wanted or did it (`user:alice`, `system:replicas`), `cause` the intent's
    idempotency key, or for a transition the position of the intent it serves. `v` is the version
    of the event's shape; older shapes are upcast when read (`bus.codec`).
    """

    type: ClassVar[str]
    actor: str
    cause: str
    at: datetime
    v: int = 1


class Pause(
    msgspec.Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True, rename="camel"
):
    """Rollouts are held at `revision` until `until` (for ever when None).

    `image` is that revision's, if it was resolved after a later revision was made; `target` is
    where it runs, wherever a later one shall (empty in old events: where the present one shall).
    """

    revision: int
    reason: str
    until: datetime | None = None
    image: str | None = None
    target: str = ""


class AppEvent(Event, frozen=True, kw_only=True):
    """An event of an App with the complete state that follows from it.

    `uid` and `generation` are positions; 0 stands for the event's own. `digest` is that of the
    template and the `secrets` (name to token). `image` is what the revision's image resolved to.
    """

    uid: int = 0
    generation: int = 0
    revision: int
    digest: str
    spec: msgspec.Raw
    labels: dict[str, str] = {}
    secrets: dict[str, str] = {}
    image: str | None = None
    paused: Pause | None = None


class ForeignObject(
    msgspec.Struct,
    gc=False,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename="camel",
    forbid_unknown_fields=True,
):
    """An object of a cluster as somebody saw it: one made anew by the same name has another uid.

    `namespace` is empty for kinds that have none.
    """

    api_version: str
    kind: str
    namespace: str = ""
    name: str
    uid: str


class AppDefined(AppEvent, frozen=True, kw_only=True):
    """A new spec was applied; `replaces` is the revision that it came after (0: none)."""

    type = "app.defined"
    replaces: int = 0


class AppRestarted(AppEvent, frozen=True, kw_only=True):
    type = "app.restarted"


class AppUndone(AppEvent, frozen=True, kw_only=True):
    """The app returned to the spec of revision `to`, as a new revision."""

    type = "app.undone"
    to: int


class AppRefreshed(AppEvent, frozen=True, kw_only=True):
    """The image's tag is to be resolved afresh."""

    type = "app.refreshed"


class AppSecretRotated(AppEvent, frozen=True, kw_only=True):
    """A Secret that the app uses has new values."""

    type = "app.secret-rotated"
    secret: str


class AppScaled(AppEvent, frozen=True, kw_only=True):
    type = "app.scaled"


class AppStarted(AppEvent, frozen=True, kw_only=True):
    type = "app.started"


class AppStopped(AppEvent, frozen=True, kw_only=True):
    type = "app.stopped"


class AppAutoscaleSet(AppEvent, frozen=True, kw_only=True):
    """Who decides how many replicas run, and in which bounds, was set anew; the revision stays."""

    type = "app.autoscale-set"


class AppRolloutSet(AppEvent, frozen=True, kw_only=True):
    """How revisions replace each other was set anew; the revision stays."""

    type = "app.rollout-set"


class AppRouted(AppEvent, frozen=True, kw_only=True):
    """By which URLs it is reached was set anew; nothing that runs differs, nor the revision."""

    type = "app.routed"


class AppLabelled(AppEvent, frozen=True, kw_only=True):
    type = "app.labelled"


class AppPaused(AppEvent, frozen=True, kw_only=True):
    type = "app.paused"


class AppResumed(AppEvent, frozen=True, kw_only=True):
    type = "app.resumed"


class AppAdopted(AppEvent, frozen=True, kw_only=True):
    """What another installation runs of the app is to end, once the app is ready here.

    On a cluster these objects, of whomever, become the app's instead; `installation` is empty then.
    """

    type = "app.adopted"
    installation: str
    objects: tuple[ForeignObject, ...] = ()


class AppImageResolved(AppEvent, frozen=True, kw_only=True):
    """The revision's image is now known by an immutable name. Leaves the generation as it is."""

    type = "app.image-resolved"


class AppDeleted(Event, frozen=True, kw_only=True):
    """The app should be gone; with `orphan` its replicas are left alone and forgotten.

    `drain` (null: nobody said) and `stop_grace` are how long its last spec lets them take.
    """

    type = "app.deleted"
    uid: int
    revision: int
    target: str
    volumes: bool = False
    orphan: bool = False
    drain: str | None = "0s"
    stop_grace: str = "10s"


class ProjectDefined(Event, frozen=True, kw_only=True):
    type = "project.defined"
    uid: int = 0
    spec: msgspec.Raw
    labels: dict[str, str] = {}


class ProjectDeleted(Event, frozen=True, kw_only=True):
    type = "project.deleted"


class TargetDefined(Event, frozen=True, kw_only=True):
    type = "target.defined"
    uid: int = 0
    spec: msgspec.Raw
    labels: dict[str, str] = {}


class TargetDeleted(Event, frozen=True, kw_only=True):
    type = "target.deleted"


class SecretSet(Event, frozen=True, kw_only=True):
    """The Secret has values under `token`, a keyed digest; the values are in the secret store."""

    type = "secret.set"
    uid: int = 0
    version: int
    token: str
    keys: tuple[str, ...]
    labels: dict[str, str] = {}


class SecretDeleted(Event, frozen=True, kw_only=True):
    type = "secret.deleted"
    version: int


class MemberJoined(Event, frozen=True, kw_only=True):
    """A resource now belongs to the project, or runs on the target, of this stream."""

    type = "members.joined"
    member: str


class MemberLeft(Event, frozen=True, kw_only=True):
    type = "members.left"
    member: str


class ClaimsTaken(Event, frozen=True, kw_only=True):
    """The app `owner` has these claims, such as `https://shop.example.org/api`, of this stream."""

    type = "claims.taken"
    owner: str
    claims: tuple[str, ...]


class ClaimsReleased(Event, frozen=True, kw_only=True):
    """Anybody may take these claims."""

    type = "claims.released"
    owner: str
    claims: tuple[str, ...]


class Transition(Event, frozen=True, kw_only=True):
    """Something a reconciler saw or did for the resource with this `uid`."""

    uid: int


class RolloutStarted(Transition, frozen=True, kw_only=True):
    type = "rollout.started"
    revision: int
    replaces: int = 0


class RolloutCompleted(Transition, frozen=True, kw_only=True):
    """All replicas of the revision are healthy and no other is left.

    `target` is where that is so; requests lead there from now on.
    """

    type = "rollout.completed"
    revision: int
    seconds: float = 0.0
    target: str = ""


class RolloutStalled(Transition, frozen=True, kw_only=True):
    """The revision did not become healthy by its deadline; the one before goes on serving."""

    type = "rollout.stalled"
    revision: int
    serving: int = 0
    message: str


class ReplicaHealed(Transition, frozen=True, kw_only=True):
    """A replica that should run did not, and was started again; `seconds` after it was noticed."""

    type = "replica.healed"
    revision: int
    slot: int
    reason: str
    seconds: float = 0.0


class ReplicaRenamed(Transition, frozen=True, kw_only=True):
    """The name of an attempt belonged to something else, which was left alone; the next one runs.

    `message` is the engine's, with the name.
    """

    type = "replica.renamed"
    revision: int
    slot: int
    attempt: int
    message: str


class DriftRepaired(Transition, frozen=True, kw_only=True):
    """What runs differed from what is wanted although no intent changed it, and was put right.

    A replica was replaced. Of a cluster it is an `object`, with slot 0, that was changed `by` field
    managers, as far as they are known, and was put back.
    """

    type = "drift.repaired"
    revision: int
    slot: int
    fields: tuple[str, ...]
    object: str = ""
    by: tuple[str, ...] = ()


class HealthChanged(Transition, frozen=True, kw_only=True):
    """The app's `Ready` condition has another status or reason."""

    type = "health.changed"
    ready: bool
    reason: str
    message: str


class RouterRepaired(Transition, frozen=True, kw_only=True):
    """Another hand had edited the configuration of a target's router, and it was put right.

    The stream is the target's; `fields` name what was edited.
    """

    type = "router.repaired"
    fields: tuple[str, ...]


class RemovalCompleted(Transition, frozen=True, kw_only=True):
    """The engine confirmed that nothing of the deleted app is left."""

    type = "removal.completed"


class AdoptionCompleted(Transition, frozen=True, kw_only=True):
    """On the app's target nothing is left that `installation` ran of it.

    It is empty where objects were named, and none of them is left to take over. `adopted` is the
    position of the `app.adopted` that asked for it.
    """

    type = "adoption.completed"
    installation: str
    adopted: int


APP_EVENTS: tuple[type[AppEvent], ...] = (
    AppDefined,
    AppRestarted,
    AppUndone,
    AppRefreshed,
    AppSecretRotated,
    AppScaled,
    AppStarted,
    AppStopped,
    AppRolloutSet,
    AppAutoscaleSet,
    AppRouted,
    AppLabelled,
    AppPaused,
    AppResumed,
    AppAdopted,
    AppImageResolved,
)
INTENT_EVENTS: tuple[type[Event], ...] = (
    *APP_EVENTS,
    AppDeleted,
    ProjectDefined,
    ProjectDeleted,
    TargetDefined,
    TargetDeleted,
    SecretSet,
    SecretDeleted,
    MemberJoined,
    MemberLeft,
    ClaimsTaken,
    ClaimsReleased,
)
TRANSITIONS: tuple[type[Transition], ...] = (
    RolloutStarted,
    RolloutCompleted,
    RolloutStalled,
    ReplicaHealed,
    ReplicaRenamed,
    DriftRepaired,
    HealthChanged,
    RouterRepaired,
    RemovalCompleted,
    AdoptionCompleted,
)
REVISING = frozenset(
    event.type for event in (AppDefined, AppRestarted, AppUndone, AppRefreshed, AppSecretRotated)
)
"""The types whose every event makes the stream's next revision."""

REGISTRY: dict[str, type[Event]] = {e.type: e for e in (*INTENT_EVENTS, *TRANSITIONS)}


class Fact(msgspec.Struct, gc=False, frozen=True):
    """An event and the stream that it belongs to."""

    stream: str
    event: Event
