"""Leaving: which replicas are to end and so get no new request, whatever they say of themselves."""

from collections.abc import Callable, Iterable, Set
from typing import Final, Literal, final

from reconcilers.replica_facts import Seen

FORGETS: Final = 120.0  # seconds after which a replica that no list shows is gone for good

type By = Literal["pass", "removal"]
"""Who ends a replica: a pass over its app, or the removal of what should not be where it is."""

_ENDERS: Final[tuple[By, ...]] = ("pass", "removal")


@final
class Leaving:
    """Marks of replicas, by their ids. Each who ends one keeps a mark of its own."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: dict[tuple[str, By], float] = {}  # with the time when it was last seen

    @property
    def all(self) -> Set[str]:
        """Those that get no new request."""
        return {replica for replica, _ in self._marks}

    def mark(self, replica: str, by: By) -> None:
        now, key = self._clock(), (replica, by)
        if key not in self._marks:
            self._marks = {one: at for one, at in self._marks.items() if now < at + FORGETS}
        self._marks[key] = now

    def unmark(self, replica: str, by: By) -> bool:
        """It goes on instead. Return whether it had a mark of this one."""
        return self._marks.pop((replica, by), None) is not None

    def seen(self, listed: Iterable[Seen]) -> None:
        """These are there still. A list that leaves one out may be wrong: it keeps its mark."""
        now = self._clock()
        for one in listed:
            for by in _ENDERS:
                if (one.replica.id, by) in self._marks:
                    self._marks[one.replica.id, by] = now
