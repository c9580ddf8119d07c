"""What reconcilers need from a world of objects, where the engine itself runs what it is told.

A `ReplicaEngine` is told which replica to start; an `ObjectEngine` keeps declared objects and a
cluster makes them true. So Stateward renders, applies, prunes and reports here, and never counts
replicas. Objects are JSON as the API has it. Every call names one object, and is safe to repeat.

EngineError
├── EngineUnavailable     it cannot be reached, or answered too late: retry later
│   └── EngineBusy        ... and says when to come back
├── NameTaken             an object of this name is not ours; it was not touched
├── ObjectRefused         the object cannot be as it is asked for; it will be refused again
├── ObjectForbidden       our account there may not do this: grant it
├── ObjectChanged         it is not the object that was seen: look again, plan again
└── KindMissing           the cluster has no such kind
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from enum import IntEnum
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

import msgspec

from domain.app import AppSpec
from domain.secret import SecretText
from projections.route_table import Reach
from reconcilers.ports import EngineError, EngineUnavailable
from reconcilers.status import ReplicaStatus

type Json = Mapping[str, Any]

MANAGER: Final = "stateward"  # owns the fields that it applies
HANDOVER: Final = "stateward-handover"  # holds a field until an autoscaler takes it


class EngineBusy(EngineUnavailable):
    """The engine asks for patience: come back after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ObjectRefused(EngineError):
    """The engine will not have such an object: invalid, too large, immutable, against its rules."""


class ObjectForbidden(EngineError):
    """Our account may not use this verb on this kind; the message names both."""


class ObjectChanged(EngineError):
    """The object, or the namespace it belongs in, is not what was seen, or is on its way out."""


class KindMissing(EngineError):
    """The cluster knows no such kind; what needs it is not there, all else is."""


class ObjectKey(NamedTuple):
    """Names one object of a cluster. `namespace` is empty for kinds that have none."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Json) -> Self:
        metadata = body["metadata"]
        namespace = metadata.get("namespace", "")
        return cls(body["apiVersion"], body["kind"], namespace, metadata["name"])

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


class Stage(IntEnum):
    """When an object is applied: what others rely on comes first. Pruning is after all of them."""

    NAMESPACE = 0
    CONFIG = 1
    WORKLOAD = 2
    SERVICE = 3
    ROUTE = 4


class Manifest(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One object as it should be, without what only the engine or the moment decides.

    `digest` is that of the body and stands in its labels; `confidential` belongs into the `data` of
    a Secret, and is apart so that a body can be shown, compared and logged.
    """

    stage: Stage
    body: Json
    digest: str
    confidential: Mapping[str, SecretText] = {}

    @cached_property
    def key(self) -> ObjectKey:
        return ObjectKey.of(self.body)


class SecretValues(NamedTuple):
    """What is in a Secret, and the keyed digest of it."""

    token: str
    values: Mapping[str, SecretText]


class AppOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a renderer needs to know of an app, in one revision.

    `env` has the values of secrets filled in, `tokens` are the keyed digests of those secrets by
    name. `replicas` is how many should run now: 0 of one that is stopped. `reach` is of the app
    as it is desired now, whatever the revision: routes are in none. `certificates` are the Secrets
    of its routes, by their streams.
    """

    project: str
    app: str
    uid: int
    revision: int
    digest: str
    image: str
    spec: AppSpec
    env: Mapping[str, str | SecretText]
    tokens: Mapping[str, str] = {}
    pull: Mapping[str, SecretText] | None = None
    replicas: int
    reach: Reach = Reach()
    certificates: Mapping[str, SecretValues] = {}


class ProjectOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a renderer needs to know of a project."""

    project: str
    uid: int


class Cause(NamedTuple):
    """What keeps an app from being well: a reason for programs, a sentence for people."""

    reason: str
    message: str


class ObjectView(msgspec.Struct, frozen=True, kw_only=True):
    """An app as its objects show it. `causes` begin with the most telling.

    `wanted` is how many replicas the cluster itself means to run; of them `ready` serve, `updated`
    of which are of the workload's present revision, `revision`. `serving` is the newest revision
    of those that serve. `is_settled`: the cluster has taken in all that was applied. `is_timed`:
    the cluster itself counts the deadline of `revision`; `is_stalled`: by that, it has passed.
    """

    wanted: int = 0
    ready: int = 0
    updated: int = 0
    revision: int = 0
    serving: int = 0
    is_settled: bool = False
    is_timed: bool = False
    is_stalled: bool = False
    causes: tuple[Cause, ...] = ()
    replicas: tuple[ReplicaStatus, ...] = ()


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """How the URLs of an app fare, in sentences: the first of each kind.

    `unserved`: a row that the router of the cluster cannot serve as it is defined, so there is no
    object of it. `refused`: what that router has against an object. `silent`: an object that it has
    said nothing of yet. `notes`: what rows cannot have, though they are served.
    """

    urls: int = 0
    unserved: str = ""
    refused: str = ""
    silent: str = ""
    notes: str = ""


class ObjectRenderer(Protocol):
    """From orders to objects: pure, the same order gives the same bytes, ordered by stage."""

    def app(self, order: AppOrder) -> tuple[Manifest, ...]: ...

    def project(self, order: ProjectOrder) -> tuple[Manifest, ...]: ...

    def view(self, live: Sequence[Json], app: str) -> ObjectView:
        """What the objects of an app, and what the cluster made of them, say of it."""
        ...

    def routed(self, order: AppOrder, live: Sequence[Json]) -> RouteView:
        """What the objects of an app's routes say, as the router of the cluster left them."""
        ...


class Applied(NamedTuple):
    """An object as the engine has it now, and what it warned of."""

    body: Json
    warnings: tuple[str, ...]


class ObjectEvent(NamedTuple):
    """Something of this (project, app) changed; `app` is empty for what a project shares.

    `owner` None: news may have been missed, list again.
    """

    owner: tuple[str, str] | None


type Propagation = Literal["Background", "Foreground", "Orphan"]


class ObjectEngine(Protocol):
    """The objects that this installation owns on one target, and what became of them."""

    async def apply(
        self,
        manifest: Manifest,
        *,
        owner: tuple[str, str],
        uid: str | None,
        position: int,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Applied:
        """Make the object so, taking back fields that another manager has. Twice is as once.

        Args:
            manifest: what is left out of it is left alone, or taken away if `manager` set it.
            owner: the (project, app) whose object it is; `app` is empty for what is shared.
            uid: that of the object as it was seen; None if there was none, and then one that is
                there all the same is touched only if its labels say that it is ours.
            position: the head of the log as far as known, kept as a label.
            manager: who owns the fields from now on.
            dry_run: validate and return what would be, changing nothing.

        Raises:
            NameTaken, ObjectRefused, ObjectForbidden, KindMissing: as above.
            ObjectChanged: `uid` is not that of the object any more, or it is being deleted: what
                was applied to it is lost with it.
            EngineUnavailable: unknown whether it was applied; the next pass finds out.
        """
        ...

    async def delete(
        self, key: ObjectKey, *, owner: tuple[str, str], uid: str, propagation: Propagation
    ) -> None:
        """Ask for the object's end, only if it still has this uid. One that is gone is no error.

        Returns before it is gone: its end is seen in `list`.

        Raises:
            ObjectForbidden: as above.
            ObjectChanged: another object has the name now; it was not touched.
            EngineUnavailable: unknown whether it was asked.
        """
        ...

    async def list(self, owner: tuple[str, str] | None = None) -> Sequence[Json]:
        """Return what is owned, or that of one (project, app), as last seen: perhaps a little old.

        With it comes what the cluster made of it: ReplicaSets, ControllerRevisions, Pods,
        PersistentVolumeClaims, and the Events about them. Each says its `apiVersion` and `kind`,
        which items of a server's lists do not. Of `metadata.managedFields` only the
        entries of managers other than ours need be there. Values of Secrets never are.

        Raises:
            EngineUnavailable: not everything has been seen yet, or not for too long. A partial
                list is never returned.
        """
        ...

    def marks(
        self, owners: Iterable[tuple[str, str]] | None = None
    ) -> Mapping[tuple[str, str], int]:
        """Return a number for each owner of which anything is there, another after each change.

        Or of each of some `owners`.

        One of whom only data is left has none. Asks nothing of the cluster.

        Raises:
            EngineUnavailable: as `list`.
        """
        ...

    def lacks(self, api_version: str, kind: str) -> EngineError | None:
        """Why there can be no objects of a kind now: `KindMissing`, or `ObjectForbidden`.

        Asks nothing of the cluster. All marks move when the answer becomes another one.
        """
        ...

    def position(self) -> int:
        """Return the highest head of the log that any object was ever seen to tell, or 0.

        Above the log's own head it means that the log went backwards. Asks nothing of the cluster.
        """
        ...

    def watch(self) -> AsyncIterator[ObjectEvent]:
        """Yield whose objects changed, for ever; the first is always `ObjectEvent(None)`.

        Many changes of one owner may be one event. Reconnects by itself, and yields
        `ObjectEvent(None)` after each gap that may have hidden something.
        """
        ...


class ForeignObjects(Protocol):
    """What is not ours, by its name: for whoever asks to take it over.

    A port of its own, so that nothing else that reconcilers do can see what is not ours.
    """

    async def find(self, keys: Iterable[ObjectKey]) -> Sequence[Json]:
        """Return those of the objects that are there and are not ours, as they are now.

        Also with who manages which fields. Values of Secrets never are.

        Raises:
            ObjectForbidden: our account there may not look.
            EngineUnavailable: the engine cannot be reached. A partial list is never returned.
        """
        ...

    async def made_by(self, workload: Json) -> Sequence[Json]:
        """Return the ReplicaSets that such a Deployment has, of which pods may run; else nothing.

        Raises as `find`.
        """
        ...

    async def within(self, namespace: str) -> Sequence[ObjectKey]:
        """Return what would be missed if a namespace went: data and what runs that is not ours.

        And workloads of ours, as they are now, which the copy may not show yet: they are of an app
        that another worker has begun. Raises as `find`.
        """
        ...


class Objects(NamedTuple):
    """What reconcilers need of a target that keeps objects, handed to them together.

    An object is ours if its labels name `installation` and `target`.
    """

    engine: ObjectEngine
    renderer: ObjectRenderer
    foreign: ForeignObjects
    installation: str
    target: str
