"""The crash sweep: no scenario ends otherwise because the control plane ended in the middle of it.

Every scenario is told with a crash before and after each of its effects, and with a hundred double
crashes. A failure names the command that tells the failing run again, with its trace.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import pytest

from simulation import loop
from simulation.scenarios import SCENARIOS
from simulation.sweep import Crash, Run, Spread, Told, read, sweep, tell

PROCESSES = 2
SHOWN = 5  # failures of a scenario


@pytest.fixture(scope="module")
def spread() -> Iterator[Spread]:
    """Tells runs in processes beside this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, loop.collect_rarely) as pool:
        yield partial(pool.map, tell, chunksize=8)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_crash_at_any_effect_changes_nothing_in_the_end(name: str, spread: Spread) -> None:
    swept = sweep(name, spread)
    assert swept.effects > 3
    assert swept.doubles == 100
    assert swept.runs > 2 * swept.effects + swept.doubles
    shown = "\n".join(swept.failures[:SHOWN])
    assert not swept.failures, f"{len(swept.failures)} runs of {name} went wrong:\n{shown}"


def test_a_run_is_told_again_by_the_words_that_name_it() -> None:
    run = Run("rollout", (Crash("before", 3), Crash("after", 9)), slow=True)
    assert read(run.words.split()[3:]) == run
    lines: list[str] = []
    again: list[str] = []
    assert tell(run, lines.append) == tell(run, again.append)
    assert lines == again


def test_a_run_that_ends_otherwise_is_found() -> None:
    def spread(runs: Sequence[Run]) -> Iterator[Told]:
        for run in runs:
            told = tell(Run("scale-up", run.crashes[:1]))
            happened = len(run.crashes)
            yield told._replace(run=run, happened=happened, end={**told.end, "App/shop/web": []})

    swept = sweep("scale-up", spread)
    assert len(swept.failures) == swept.runs - 2  # those without a crash are told here
    assert "App/shop/web is []" in swept.failures[0]
