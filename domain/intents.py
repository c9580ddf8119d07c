"""Intents: what an actor may ask for. `domain.rules` refuses each, or records it as events."""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

import msgspec

from domain.events import ForeignObject
from domain.names import Ref
from domain.project import ProjectSpec
from domain.target import TargetSpec
from domain.wish import AppWish


class SecretContent(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """A Secret's values as the log may know them: their token and their keys."""

    token: str
    keys: tuple[str, ...]


type Spec = AppWish | ProjectSpec | TargetSpec | SecretContent


class Intent(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """Something wanted of `ref`; with `generation`, only if it is still at that (0: new)."""

    verb: ClassVar[str]
    ref: Ref
    generation: int | None = None


class Apply(Intent, frozen=True, kw_only=True):
    """The resource should be as `spec` says; made if it does not exist."""

    verb = "apply"
    spec: Spec
    labels: Mapping[str, str]


class Scale(Intent, frozen=True, kw_only=True):
    verb = "scale"
    replicas: int


class Start(Intent, frozen=True, kw_only=True):
    verb = "start"


class Stop(Intent, frozen=True, kw_only=True):
    """No replica should run; the app and its settings stay."""

    verb = "stop"


class Restart(Intent, frozen=True, kw_only=True):
    """Replace every replica, by a new revision with an equal spec."""

    verb = "restart"


class Undo(Intent, frozen=True, kw_only=True):
    """Return to the spec of a revision, by default the newest that differs from the present one."""

    verb = "undo"
    to: int | None = None


class Refresh(Intent, frozen=True, kw_only=True):
    """Resolve the image's tag again, and roll out what it now names."""

    verb = "refresh"


class Hold(Intent, frozen=True, kw_only=True):
    """Pause: record changes of the spec, but roll none out, until resumed or `until`."""

    verb = "pause"
    reason: str
    until: datetime | None = None


class Resume(Intent, frozen=True, kw_only=True):
    verb = "resume"


class Adopt(Intent, frozen=True, kw_only=True):
    """Take over from another installation: what it runs of this app ends once this app is ready.

    On a cluster, take over these objects instead, whosesoever they are. Those that hold data only
    with `volumes`.
    """

    verb = "adopt"
    installation: str = ""
    objects: tuple[ForeignObject, ...] = ()
    volumes: bool = False


class ResolveImage(Intent, frozen=True, kw_only=True):
    """The image of `revision` resolved to `image`. Asked by `system:` only."""

    verb = "resolve-image"
    revision: int
    image: str


class Delete(Intent, frozen=True, kw_only=True):
    """The resource should be gone.

    A Project or Target that still has apps is refused unless `cascade` (they go too) or `orphan`
    (they go from here, and what runs is left alone). Volumes stay unless `volumes`.
    """

    verb = "delete"
    volumes: bool = False
    cascade: bool = False
    orphan: bool = False


VERBS: dict[str, type[Intent]] = {
    intent.verb: intent
    for intent in (
        Apply,
        Scale,
        Start,
        Stop,
        Restart,
        Undo,
        Refresh,
        Hold,
        Resume,
        Adopt,
        ResolveImage,
        Delete,
    )
}
