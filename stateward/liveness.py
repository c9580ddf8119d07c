"""Whether the loops of a worker make progress: what `/livez` asks. No engine and no bus count."""

from collections.abc import Iterator, Mapping
from typing import Final

from gateway.ports import Check
from stateward.settings import Reconcile, Replay

STUCK_SECONDS: Final = 60.0  # a loop that did not get round for so long, beside its own interval


def liveness(
    progress: Mapping[str, float],
    oldest: float | None,
    now: float,
    *,
    replay: Replay,
    reconcile: Reconcile,
) -> Iterator[Check]:
    """Judge each loop by when it last got round.

    Args:
        progress: when that was, of the clock, by the name of the loop.
        oldest: since when the key waits that is ready for longest; None: passes have no work.
        now: of the clock.
        replay: how often the replay tick comes.
        reconcile: how often the tail looks, and how long a pass may take.
    """
    a_pass = reconcile.pass_deadline + STUCK_SECONDS
    ticked = progress.get("replay", now)
    yield _check("replay", "the replay tick gets round", now - ticked, replay.interval * 2 + a_pass)
    if reconcile.tail:
        looked = progress.get("tail", now)
        allowed = reconcile.tail * 2 + STUCK_SECONDS
        yield _check("tail", "the log is looked at", now - looked, allowed)
    # Idle passes are no sign of trouble: only what waits for one is.
    since = now if oldest is None else max(oldest, progress.get("passes", now))
    yield _check("passes", "what is queued gets its pass", now - since, a_pass)


def _check(name: str, claim: str, seconds: float, allowed: float) -> Check:
    late = f"for {seconds:.0f} s it is not so that {claim}"
    return Check(name, seconds < allowed, claim if seconds < allowed else late, vital=True)
