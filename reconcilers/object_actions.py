"""What is done to objects: each action names one, and is safe to repeat."""

from typing import Literal

import msgspec

from reconcilers.object_ports import MANAGER, Manifest, ObjectKey, Propagation


class ApplyObject(msgspec.Struct, frozen=True, kw_only=True):
    """Apply an object. `fields` are those edited by hand (`by` whom, as far as known).

    `adopted`: it is not ours yet, and becomes so.
    """

    manifest: Manifest
    uid: str | None
    because: Literal["missing", "changed", "edited", "handover", "stopped", "adopted"]
    fields: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    manager: str = MANAGER

    @property
    def key(self) -> ObjectKey:
        return self.manifest.key


class DeleteObject(msgspec.Struct, frozen=True, kw_only=True):
    """End an object, if it still has this uid.

    `immutable`: it comes again at once, as wanted; `fields` say what no server would change. Its
    pods stay meanwhile. `adopted`: what it ran runs as ours now. `foreign`: it was never ours.
    """

    key: ObjectKey
    uid: str
    because: Literal["unwanted", "immutable", "removed", "adopted"]
    propagation: Propagation = "Background"
    fields: tuple[str, ...] = ()
    foreign: bool = False


type Action = ApplyObject | DeleteObject
