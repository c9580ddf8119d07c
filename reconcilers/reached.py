"""Which replicas a router sends requests to, since when, and which it may still send some to.

What is published has reached every request a moment later (`propagation`); and a router that has
not answered may have taken what it was told, or not.
"""

import math
from collections import Counter
from collections.abc import Callable
from typing import final

from reconcilers.endpoints import Snapshot


@final
class ReachedReplicas:
    """The snapshots that one router was given.

    Args:
        clock: seconds.
        propagation: seconds until something published holds for every request.
    """

    def __init__(self, clock: Callable[[], float], propagation: Callable[[], float]) -> None:
        self._clock, self._propagation = clock, propagation
        self._certain_from = math.inf
        """When (of the clock) nothing is met any more that an earlier life published."""
        self.present = Snapshot({}, {})
        self._since: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self._uncertain: set[str] = set()  # told of to a router that has not answered
        self.by_app: Counter[str] = Counter()
        """How many replicas of each app requests are sent to."""

    def routed_at(self, replica: str) -> float | None:
        """When (of the clock) requests reach a replica; None if it is not published."""
        since = self._since.get(replica)
        return since + self._propagation() if since is not None else None

    def may_meet(self, replica: str) -> bool:
        """Whether a new request may still be sent to a replica, as far as this worker knows."""
        gone = self._gone.get(replica)
        fades = gone is not None and self._clock() < gone + self._propagation()
        known = replica in self.present.behind or replica in self._uncertain
        return known or fades or self._clock() < self._certain_from

    def begin(self, found: Snapshot) -> None:
        """A router is told of these now."""
        self._uncertain |= found.behind.keys()

    def end(self, found: Snapshot) -> tuple[str, ...]:
        """It has these, and nothing else; of which apps that is news."""
        now, propagation = self._clock(), self._propagation()
        self._certain_from = min(self._certain_from, now + propagation)
        self._since = {one: self._since.get(one, now) for one in found.behind}
        before, self.present = self.present, found
        left = (before.behind.keys() | self._uncertain) - found.behind.keys()
        self._uncertain.clear()
        kept = {one: at for one, at in self._gone.items() if now < at + propagation}
        self._gone = kept | dict.fromkeys(left, now)
        self.by_app = Counter(found.behind.values())
        moved = before.behind.items() ^ found.behind.items()
        return tuple(dict.fromkeys(sorted(stream for _, stream in moved)))
