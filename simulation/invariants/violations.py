"""Violations: which invariant broke, when, and how, in a sentence."""

from collections.abc import Callable
from enum import StrEnum
from typing import final


class Invariant(StrEnum):
    """The invariants, by the names they are reported under."""

    DURABLE = "an acknowledged intent stays in the log"
    ORDERED = "positions grow in commit order, and seals chain"
    ONCE = "one idempotency key has one effect and one answer"
    DECIDED = "an intent is decided on the state that it changes, not on an older one"
    PURE = "live state, rebuilt state, and snapshot with tail are byte-equal"
    OWNED = "nothing of another owner is touched"
    HEALTHY = "a rollout never goes below the healthy minimum"
    NEEDED = "nothing that is needed is taken away, whatever view was seen"
    SURGE = "no app runs more replicas than its surge allows"
    FROZEN = "a stream that cannot be read is left alone, and only that one"
    REWOUND = "nothing is written after the log went backwards"
    SECRET = "no secret is in any sink"  # noqa: S105 -- it is about them
    VOLUMES = "volumes go only by an explicit intent"
    POSSIBLE = "no engine is asked for what no engine can do"
    SETTLED = "what can run becomes observed and stays so"
    PROBED = "what cannot run keeps its last healthy revision, and at most one probe"
    CLEAN = "nothing owned is left behind"
    QUIET = "a converged world gets no engine writes"
    PROMPT = "a fresh intent is not starved by replay ticks"
    ENDED = "every operation ends or alerts by its deadline"
    SAME = "the end state with faults is the end state without"
    BOUNDED = "engine writes are in proportion to changes and faults"
    UNMET = "nothing that requests may meet is ended"
    REACHED = "a rollout never leaves fewer replicas for requests than it keeps"
    PROVEN = "requests are sent to nobody who was never ready"
    ROUTES = "at rest a router serves the table that the log gives, and exactly who is healthy"
    CLAIMED = "a URL belongs to one app"
    SERVED = "a URL that led to somebody goes on doing so while its app moves"
    ALIVE = "no loop dies and no pass breaks"


@final
class Violation(AssertionError):
    """An invariant does not hold. `at` is virtual time."""

    def __init__(self, invariant: Invariant, what: str, at: float) -> None:
        super().__init__(f"{invariant.value}: {what} (at {at:.3f} s)")
        self.invariant, self.what, self.at = invariant, what, at


type Report = Callable[[Invariant, str], None]
"""How a check tells that an invariant broke. It never raises: who checks may be anybody's task."""
