"""Intents: what an actor may ask for. `domain.rules` refuses each, or records it as events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from domain.app import AppSpec
from domain.names import Ref
from domain.project import ProjectSpec
from domain.target import TargetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretContent:
    """A Secret's values as the log may know them: their token and their keys."""

    token: str
    keys: tuple[str, ...]


type Spec = AppSpec | ProjectSpec | TargetSpec | SecretContent


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something wanted of `ref`; with `generation`, only if it is still at that (0: new)."""

    verb: ClassVar[str]
    ref: Ref
    generation: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Intent):
    """The resource should be as `spec` says; made if it does not exist."""

    verb = "apply"
    spec: Spec
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Intent):
    verb = "scale"
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Intent):
    verb = "start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Intent):
    """No replica should run; the app and its settings stay."""

    verb = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Intent):
    """Replace every replica, by a new revision with an equal spec."""

    verb = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Intent):
    """Return to the spec of a revision, by default the one before the present."""

    verb = "undo"
    to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh(Intent):
    """Resolve the image's tag again, and roll out what it now names."""

    verb = "refresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Intent):
    """Pause: record changes of the spec, but roll none out, until resumed or `until`."""

    verb = "pause"
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Intent):
    verb = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt(Intent):
    """Take over from another installation: what it runs of this app ends once this app is ready."""

    verb = "adopt"
    installation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveImage(Intent):
    """The image of `revision` resolved to `image`. Asked by `system:` only."""

    verb = "resolve-image"
    revision: int
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Intent):
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
