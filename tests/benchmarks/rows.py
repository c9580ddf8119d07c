"""Rows of the table: what is promised, what was measured beside it, and whether that is enough.

A promise is a ratio to, or a distance from, a raw floor that was measured in the same run.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple


class Row(NamedTuple):
    """`met` is None when nothing was promised, or nothing measured: `note` says why."""

    what: str
    floor: str
    ours: str
    ratio: str
    target: str
    met: bool | None
    note: str = ""

    @property
    def is_success(self) -> bool:
        return self.met is not False and not self.note.startswith("not measured")


class Promise(NamedTuple):
    """What a row must show. `floor` says what it is compared with; `unit` what is counted."""

    what: str
    floor: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def target(self) -> str:
        sign = "+" if self.unit in ("ms", "s") else ""
        if self.at_least is not None:
            return f"≥ {sign}{self.at_least:g} {self.unit}"
        return f"≤ {sign}{self.at_most:g} {self.unit}" if self.at_most is not None else "reported"

    def kept(self, value: float, *, ours: str, floor: str = "", whole: bool = True) -> Row:
        """The row of a measurement; not `whole` if something else than its speed was wrong."""
        met = None
        if self.at_least is not None:
            met = whole and value >= self.at_least
        elif self.at_most is not None:
            met = whole and value <= self.at_most
        sign = "+" if self.unit in ("ms", "s") and value >= 0 else ""
        digits = 0 if self.unit in ("ms", "MB", "MiB") else 2
        ratio = f"{sign}{value:.{digits}f} {self.unit}"
        against = f"{self.floor}: {floor}" if floor else self.floor
        return Row(self.what, against, ours, ratio, self.target, met)

    def unmeasured(self, reason: str) -> Row:
        return Row(self.what, self.floor, "-", "-", self.target, None, f"not measured: {reason}")


class Times(list[float]):
    """Durations in seconds of one side of a comparison."""

    @contextmanager
    def taken(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.append(time.perf_counter() - started)

    @property
    def median(self) -> float:
        return statistics.median(self)

    def percentile(self, share: float) -> float:
        return sorted(self)[min(len(self) - 1, int(len(self) * share))]


def ratio_of(ours: Times, floor: Times) -> float:
    """The median of the rounds' ratios: each round meets the same load on both sides."""
    return statistics.median(mine / theirs for mine, theirs in zip(ours, floor, strict=True))


def rate(count: int, times: Times) -> float:
    """How many a second in the median round of `count`."""
    return count / times.median


def per_second(speed: float) -> str:
    return f"{speed:,.0f}/s"


def millis(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms" if seconds < 0.01 else f"{1000 * seconds:,.0f} ms"


def show(rows: Sequence[Row]) -> bool:
    """Print rows plainly, for one benchmark run alone; return whether all promises are kept."""
    for row in rows:
        verdict = {True: "ok  ", False: "MISS", None: "    "}[row.met]
        print(
            f"{verdict} {row.what}: {row.ratio} ({row.target}); {row.ours}; {row.floor} {row.note}"
        )
    return all(row.is_success for row in rows)
