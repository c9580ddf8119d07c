"""What desired state keeps of each stream: its last event, undecoded, and a few numbers.

Compact, because there may be hundreds of thousands: one record a stream, without a part that the
garbage collector has to look at.
"""

from struct import unpack
from typing import Final

import msgspec

WIDTH: Final = 8  # bytes of a position
FOLD: Final = 3
"""Of snapshots: raised whenever the same log gives another dump, so that no older one is loaded."""


class Kept(msgspec.Struct, array_like=True, gc=False):
    """One stream. Without a `kind`, its resource is gone, and only its numbers stay.

    `position`, `kind` and `data` are of the last event that shaped the resource; `revisions` are
    the positions that made an app's revisions, of `WIDTH` bytes each. `begun`, `stable` and
    `stalled` are the last revisions whose rollout started, completed and missed its deadline, each
    with the uid of the app it was of; `stable_target` is where it completed.
    """

    position: int = 0
    kind: str = ""
    data: bytes = b""
    revisions: bytes = b""
    begun_uid: int = 0
    begun: int = 0
    stable_uid: int = 0
    stable: int = 0
    stalled_uid: int = 0
    stalled: int = 0
    stable_target: str = ""

    def revision_positions(self) -> tuple[int, ...]:
        return unpack(f"<{len(self.revisions) // WIDTH}Q", self.revisions)

    def end(self) -> None:
        """The resource is gone."""
        self.kind, self.data = "", b""


class Snapshot(msgspec.Struct, array_like=True):
    """Everything that desired state is, in one canonical form."""

    position: int
    kept: dict[str, Kept]
    removals: list[tuple[str, int, Kept]]
    orphans: dict[str, list[int]]
    frozen: dict[str, str]
    adoptions: dict[str, list[Kept]]


class Rollout(msgspec.Struct):
    """The part of the transitions of rollouts that is kept: quicker than the whole."""

    uid: int
    revision: int
    target: str = ""
    v: int = 1
