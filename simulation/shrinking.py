"""Shrinking: from a world that breaks an invariant to a smaller one that breaks the same.

Fewer faults, a shorter time, fewer apps. Every try is a whole world of its own, so a smaller one
may take another course: it counts if the same invariant breaks, however that comes about.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from simulation.invariants.violations import Invariant
from simulation.knobs import Fault
from simulation.seeds import Outcome

TRIES: Final = 60  # worlds, unless asked otherwise
MOST_APPS: Final = 8  # that a seed gives itself


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that decides one world. `rates` are its faults, `apps` limits their number."""

    seed: int
    rates: Mapping[Fault, float]
    minutes: float
    apps: int | None = None


type Live = Callable[[Case], Outcome]
"""Lives through the world of a case."""


def shrink(
    case: Case, outcome: Outcome, live: Live, *, tries: int = TRIES, most_apps: int = MOST_APPS
) -> Case:
    """The smallest case found within so many tries that breaks the same invariant.

    Args:
        case: one that breaks it.
        outcome: what came of that.
        live: lives through another.
        tries: how many worlds it may take.
        most_apps: how many apps there may be; 0 where their number is not for a case to say.
    """
    return _Shrinking(outcome.violations[0].invariant, live, tries, most_apps).of(case, outcome)


@final
class _Shrinking:
    def __init__(self, invariant: Invariant, live: Live, tries: int, most_apps: int) -> None:
        self._invariant, self._live, self._left = invariant, live, tries
        self._most_apps = most_apps

    def of(self, case: Case, outcome: Outcome) -> Case:
        case = self._first_of([_until(case, outcome)], case)
        before: Case | None = None
        while case != before and self._left > 0:
            before = case
            case = self._fewer_faults(case)
            case = self._first_of(self._fewer_apps(case), case)
            case = self._shorter(case)
        return self._first_of([_rounded(case)], case)

    def _first_of(self, candidates: Sequence[Case], case: Case) -> Case:
        """The first of some smaller cases that still breaks it, else the case itself."""
        return next((one for one in candidates if one != case and self._breaks(one)), case)

    def _breaks(self, case: Case) -> bool:
        if self._left <= 0:
            return False
        self._left -= 1
        return any(v.invariant is self._invariant for v in self._live(case).violations)

    def _fewer_faults(self, case: Case) -> Case:
        """Leave out as many as possible at once, then fewer: delta debugging."""
        chunk = len(case.rates)
        while chunk >= 1 and self._left > 0:
            for without in _without(case, chunk):
                if self._breaks(without):
                    case = without
                    break
            else:
                chunk //= 2
                continue
            chunk = min(chunk, len(case.rates))
        return case

    def _fewer_apps(self, case: Case) -> list[Case]:
        most = self._most_apps if case.apps is None else case.apps
        return [replace(case, apps=apps) for apps in range(1, most)]

    def _shorter(self, case: Case) -> Case:
        """Half of the time, as often as that still breaks it."""
        while case.minutes > 1:
            shorter = self._first_of([replace(case, minutes=math.ceil(case.minutes / 2))], case)
            if shorter == case:
                return case
            case = shorter
        return case


def _until(case: Case, outcome: Outcome) -> Case:
    """What comes after the first violation is not needed."""
    minutes = math.ceil(outcome.violations[0].at / 60)
    return replace(case, minutes=min(case.minutes, max(minutes, 1)))


def _without(case: Case, chunk: int) -> Iterator[Case]:
    faults = list(case.rates)
    for start in range(0, len(faults), chunk):
        gone = faults[start : start + chunk]
        yield replace(case, rates={f: r for f, r in case.rates.items() if f not in gone})


def _rounded(case: Case) -> Case:
    """Rates that a person can read."""
    return replace(case, rates={fault: float(f"{rate:.2g}") for fault, rate in case.rates.items()})
