"""Ending: how a replica is ended, whoever wants it. It may take its drain and grace time.

That is why ends are tasks beside the passes: no app waits for the end of another replica.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Literal, NamedTuple

import structlog

from domain.quantities import seconds
from reconcilers.ports import Engine, EngineError, Replica

STOP_SECONDS: Final = 60.0  # beside its grace, after which a stop has failed
RETRY_MOST: Final = 60.0  # seconds after a stop that failed

_log = structlog.get_logger("ending")


type Left = Literal["nothing", "dead", "kept"]
"""What is left of a replica that ended: for its logs, or to be started again."""


class Patience(NamedTuple):
    """Seconds that a replica has to answer what it was asked, and then to stop by itself.

    `drain` is None where nobody said how long.
    """

    drain: float | None = None
    grace: float = 10.0

    @classmethod
    def of(cls, drain: str | None, grace: str) -> "Patience":
        return cls(None if drain is None else seconds(drain), seconds(grace))


async def end(
    replica: Replica,
    engine: Engine,
    patience: Patience,
    *,
    leaving: Left = "nothing",
    may_write: Callable[[], bool],
    withdrawn: Callable[[], Awaitable[None]],
    answered: Callable[[float | None], Awaitable[None]],
    telling: Callable[[], None] = lambda: None,
) -> str:
    """End a replica, `leaving` of it what is said; return why that failed, or nothing.

    First `withdrawn` returns: no new request meets it. Then `answered`, of the drain, does: it has
    none left, or had its time. It is asked to stop after that: from `telling` on, this cannot be
    taken back by a cancellation.
    """
    await withdrawn()
    if not may_write():
        return ""  # the log went back meanwhile
    await answered(patience.drain)
    if not may_write():
        return ""  # the log went back meanwhile
    allowed = patience.grace + STOP_SECONDS
    telling()
    try:
        async with asyncio.timeout(allowed):
            await engine.replicas.stop(replica, grace=patience.grace, keep=leaving == "kept")
            if leaving == "nothing":
                await engine.replicas.remove(replica)
    except (EngineError, TimeoutError) as error:
        why = str(error) or f"it did not stop within {allowed:.0f} s"
        _log.warning("stop failed", replica=replica.id, error=why)
        return why
    return ""


async def pause(failures: int) -> None:
    """Wait before an end that failed so often is tried again."""
    await asyncio.sleep(min(RETRY_MOST, 2.0 ** min(failures, 10) / 2))
