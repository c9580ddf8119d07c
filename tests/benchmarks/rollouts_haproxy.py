"""Rollouts of an app on Docker through `stateward serve` under load, with HAProxy as its router."""

from collections.abc import Sequence
from typing import Final

from tests.benchmarks.rollouts import measured, promises
from tests.benchmarks.rows import Row, show

PROMISES: Final = promises("HAProxy")
HOW: Final = "As `rollouts`, with HAProxy."


def measure() -> Sequence[Row]:
    return measured("haproxy", PROMISES)


if __name__ == "__main__":
    raise SystemExit(0 if show(measure()) else 1)
