"""What a cluster makes of an object as it is written: an admission webhook may change what we ask.

It does so at every write. So what came of a write is remembered, and the same, seen later, is no
edit to take back: without that, each pass would write again, for ever. It is not kept: after a
restart, one write tells it again.
"""

from collections.abc import Mapping, Sequence
from typing import Final, final

from reconcilers import object_comparing as comparing
from reconcilers.object_ports import Json, Manifest, ObjectKey

REMEMBERED: Final = 10_000  # objects that a cluster changes; more are learned anew

type Made = Mapping[ObjectKey, Json]


@final
class Imposed:
    """Of all targets of one worker."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ObjectKey], tuple[str, Json]] = {}

    def learn(self, target: str, manifest: Manifest, reply: Json) -> None:
        """Note what an object became when it was written."""
        place = (target, manifest.key)
        self._made.pop(place, None)
        if not comparing.differing(manifest.body, reply):
            return
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        self._made[place] = manifest.digest, comparing.as_made(manifest.body, reply)

    def of(self, target: str, manifests: Sequence[Manifest]) -> Made:
        """What the present ones became when they were written, where that is something else."""
        if not self._made:
            return {}
        found = ((one, self._made.get((target, one.key))) for one in manifests)
        return {one.key: made[1] for one, made in found if made and made[0] == one.digest}
