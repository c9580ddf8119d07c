"""Health of one replica: what its checks have said so far, and what follows. Pure.

Until `startup` passes, only `startup` is asked. A replica without readiness and startup checks is
ready once it has run for a moment, so that a command that dies at once never counts as healthy.
"""

from typing import Final

import msgspec

from domain.app import Check, Health
from domain.quantities import seconds
from reconcilers.ports import Replica, ReplicaState

MIN_READY_SECONDS: Final = 1.0  # without any check: as long as a broken command needs to die
EAGER_SECONDS: Final = 0.2  # between probes until the first one passes
EAGER_FOR: Final = 10.0  # seconds after which an unready replica is asked at its own interval


class Tally(msgspec.Struct):
    """What one check said: how often in a row, and when it is asked next."""

    due: float
    began: float
    passed_in_row: int = 0
    failed_in_row: int = 0
    passing: bool = False
    asked: bool = False
    message: str = ""


class ReplicaHealth(msgspec.Struct):
    """The book of one replica. Times are of the worker's clock."""

    started: float
    tallies: dict[str, Tally]

    def due(self) -> tuple[float, str] | None:
        """When to ask which check next; None if there is nothing to ask."""
        startup = self.tallies.get("startup")
        if startup is not None and not startup.passing:
            return startup.due, "startup"
        first: tuple[float, str] | None = None
        for name, tally in self.tallies.items():
            if name != "startup" and (first is None or (tally.due, name) < first):
                first = tally.due, name
        return first

    def repeats(self, name: str, check: Check, message: str, now: float) -> bool:
        """Write down a success of a check if, as nearly always, it changes nothing; else do not."""
        tally = self.tallies[name]
        if not tally.passing or not tally.asked or tally.failed_in_row:
            return False
        tally.passed_in_row += 1
        tally.message, tally.due = message, now + seconds(check.interval)
        return True


def opened(health: Health, now: float, running_for: float) -> ReplicaHealth:
    """The book of a replica that is seen for the first time, having run for so many seconds."""
    checks = {
        "startup": health.startup,
        "readiness": health.readiness,
        "liveness": health.liveness,
    }
    tallies = {
        name: Tally(due=now, began=now - running_for) for name, check in checks.items() if check
    }
    return ReplicaHealth(started=now - running_for, tallies=tallies)


def record(
    book: ReplicaHealth, name: str, check: Check, *, passed: bool, message: str, now: float
) -> None:
    """Write down an answer, and when to ask again."""
    tally = book.tallies[name]
    tally.asked, tally.message = True, message
    if passed:
        tally.passed_in_row, tally.failed_in_row = tally.passed_in_row + 1, 0
        tally.passing = tally.passing or tally.passed_in_row >= check.successes
        if name == "startup" and tally.passing:
            for other in book.tallies.values():
                other.due, other.began = now, now
    else:
        tally.failed_in_row, tally.passed_in_row = tally.failed_in_row + 1, 0
        if tally.failed_in_row >= check.failures:
            tally.passing = False
    tally.due = now + _pause(tally, name, check, now)


def _pause(tally: Tally, name: str, check: Check, now: float) -> float:
    interval = seconds(check.interval)
    eager = name != "liveness" and not tally.passing and now - tally.began < EAGER_FOR
    return min(EAGER_SECONDS, interval) if eager else interval


def ready(book: ReplicaHealth, replica: Replica, now: float) -> bool:
    """Whether it takes part now."""
    if replica.state is not ReplicaState.RUNNING or not settled(book, now):
        return False
    startup, readiness = book.tallies.get("startup"), book.tallies.get("readiness")
    if startup is None and readiness is None:
        asks_itself = replica.starting or replica.healthy is not None
        return replica.healthy is True if asks_itself else True
    return (startup is None or startup.passing) and (readiness is None or readiness.passing)


def settled(book: ReplicaHealth, now: float) -> bool:
    """Whether a replica without checks has run long enough."""
    if "startup" in book.tallies or "readiness" in book.tallies:
        return True
    return now - book.started >= MIN_READY_SECONDS


def known(book: ReplicaHealth, now: float) -> bool:
    """Whether its readiness has been asked at all."""
    startup, readiness = book.tallies.get("startup"), book.tallies.get("readiness")
    if startup is None and readiness is None:
        return settled(book, now)
    return (startup is None or startup.asked) and (readiness is None or readiness.asked)


def failed(book: ReplicaHealth, health: Health, replica: Replica, now: float) -> str:
    """Why it must be replaced; empty if it need not."""
    startup, liveness = book.tallies.get("startup"), book.tallies.get("liveness")
    if health.startup and startup and not startup.passing:
        allowed = seconds(health.startup.interval) * health.startup.failures
        if startup.asked and now - startup.began >= allowed:
            return f"startup check failed: {startup.message}"
    if health.liveness and liveness and liveness.failed_in_row >= health.liveness.failures:
        return f"liveness check failed: {liveness.message}"
    if replica.healthy is False and not book.tallies:
        return "the image's own health check failed"
    return ""


def trouble(book: ReplicaHealth) -> str:
    """What keeps it from being ready, in a sentence; empty if nothing is known."""
    for name in ("startup", "readiness"):
        tally = book.tallies.get(name)
        if tally is not None and not tally.passing and tally.asked:
            return f"{name} check failed: {tally.message}"
    return ""
