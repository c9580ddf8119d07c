"""Lanes: no target takes up all passes, so that one that hangs leaves room for those of the others.

A key that finds its target's share taken waits here, and goes back to the queue when a pass over
that target ends.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import final

from reconcilers.queue import KeyQueue, Priority


@final
class Lanes:
    """Args: `lane` names the target of a key; `share` is how many passes one may have now.

    The share may be larger for keys of a higher priority.
    """

    def __init__(
        self, queue: KeyQueue, *, lane: Callable[[str], str], share: Callable[[Priority], int]
    ) -> None:
        self._queue, self._lane, self._share = queue, lane, share
        self._busy: Counter[str] = Counter()
        self._parked: dict[str, dict[str, Priority]] = defaultdict(dict)

    def enter(self, key: str, priority: Priority) -> str | None:
        """The lane of a key, taken; None if it is full: then the key is kept until it is not."""
        lane = self._lane(key)
        if self._busy[lane] >= self._share(priority):
            parked = self._parked[lane]
            parked[key] = min(priority, parked.get(key, priority))
            return None
        self._busy[lane] += 1
        return lane

    def leave(self, lane: str) -> None:
        """A pass in a lane has ended: the most urgent key that waits for it has its turn."""
        self._busy[lane] -= 1
        parked = self._parked.get(lane)
        if not parked:
            self._parked.pop(lane, None)
            return
        key = min(parked, key=parked.__getitem__)
        self._queue.add(key, parked.pop(key))
