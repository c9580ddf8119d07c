"""Lives through worlds of random seeds on all cores for a while: `make soak DURATION=300`.

Fails on a violation, and when a fault of the list never took effect. Each seed that broke something
becomes an entry of `tests/simulation/regressions.json`, which the tests live through ever after.
"""

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from simulation import seeds
from simulation.knobs import Fault
from stateward.simulating import Chosen, Lived, fired, many

REGRESSIONS: Final = Path(__file__).parent.parent / "tests" / "simulation" / "regressions.json"
MOST_SEED: Final = 1 << 31

say = Console(highlight=False, soft_wrap=True).print


def main(arguments: Sequence[str] | None = None, regressions: Path = REGRESSIONS) -> int:
    """Soak; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--minutes", type=float, default=20.0, help="of chaos in each world")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--from-seed", type=int, help="seeds from this one on instead of random")
    asked = parser.parse_args(arguments)
    chosen = Chosen(minutes=asked.minutes)
    numbers = until(time.monotonic() + asked.seconds, seeds_from(asked.from_seed))
    lived = list(shown(many(chosen, numbers, processes=asked.jobs)))
    summarise(lived)
    failing = [one for one in lived if one.violations]
    remember(chosen, failing, regressions)
    silent = [fault.value for fault in Fault if not fired(lived)[fault]]
    if silent:
        say(f"[red]These never took effect:[/] {', '.join(silent)}")
    if failing:
        say(f"[red]{len(failing)} of {len(lived)} worlds broke something;[/] see {regressions}")
    return 1 if silent or failing else 0


def seeds_from(first: int | None) -> Iterator[int]:
    rng = random.SystemRandom()
    number = first
    while True:
        yield rng.randrange(MOST_SEED) if number is None else number
        number = None if number is None else number + 1


def until(deadline: float, numbers: Iterator[int]) -> Iterator[int]:
    """Seeds until the time is over; worlds that were begun are lived through."""
    for number in numbers:
        if time.monotonic() >= deadline:
            return
        yield number


def shown(lived: Iterator[Lived]) -> Iterator[Lived]:
    """Tell of each world that broke something, as soon as it did."""
    for one in lived:
        for broke in one.violations[:1]:
            say(f"[red]seed {one.seed}[/] {broke.invariant}: {broke.what}", markup=True)
        yield one


def summarise(lived: Sequence[Lived]) -> None:
    """How much was lived through, and how often each fault took effect."""
    hours, cpu = sum(one.seconds for one in lived) / 3600, sum(one.cpu for one in lived) / 60
    counts = fired(lived)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("FAULT")
    table.add_column("FIRED", justify="right")
    for fault in sorted(Fault):
        table.add_row(fault.value, f"{counts[fault]}" if counts[fault] else "[red]0[/]")
    say(table)
    speed = hours / cpu if cpu else 0.0
    say(
        f"{len(lived)} worlds, {hours:.1f} simulated hours in {cpu:.1f} minutes of processor time: "
        f"{speed:.0f} hours a minute"
    )
    broken = Counter(broke.invariant for one in lived for broke in one.violations[:1])
    for invariant, count in broken.most_common():
        say(f"[red]{count:5}[/]  {invariant}")


def remember(chosen: Chosen, failing: Sequence[Lived], file: Path) -> None:
    """Add each failing world to the regressions, once."""
    entries: list[dict[str, Any]] = json.loads(file.read_text())
    known = {entry["name"] for entry in entries}
    entries += [
        entry
        for entry in (regression(chosen, one) for one in failing)
        if entry["name"] not in known
    ]
    file.write_text(json.dumps(entries, indent=2) + "\n")


def regression(chosen: Chosen, one: Lived) -> dict[str, Any]:
    """What it takes to live through a world again, and what broke in it."""
    case, first = chosen.case(one.seed), one.violations[0]
    return {
        "name": f"seed {case.seed}: {first.invariant}",
        "seed": case.seed,
        "faults": {fault.value: rate for fault, rate in case.rates.items()},
        "minutes": case.minutes,
        "clusters": seeds.has_clusters(case.seed),
        "routes": seeds.has_routes(case.seed, clusters=seeds.has_clusters(case.seed)),
        "keeps": seeds.has_kept(case.seed),
        "workers": seeds.workers_of(case.seed),
        "invariant": first.invariant,
        "what": first.what,
    }


if __name__ == "__main__":
    sys.exit(main())
