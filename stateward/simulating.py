"""Simulating: many worlds at once, each in a process that has no other to do.

What comes back is plain data, so that it crosses from process to process. Also what a failing
world is reduced to, and the command that brings it back.
"""

import multiprocessing
import shlex
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bus import exports
from simulation import history, knobs, loop, seeds
from simulation.history import History
from simulation.knobs import Fault
from simulation.seeds import Outcome
from simulation.shrinking import MOST_APPS, Case, shrink
from simulation.telling import story


class Chosen(NamedTuple):
    """What decides worlds, besides their seed. `faults` None: those that a seed gives itself."""

    minutes: float = 20.0
    faults: Mapping[Fault, float] | None = None
    apps: int | None = None
    history: Path | None = None
    intents: bool = False

    def case(self, seed: int) -> Case:
        rates = seeds.rates_of(seed, self.faults)
        return Case(seed=seed, rates=rates, minutes=self.minutes, apps=self.apps)


class Broke(NamedTuple):
    invariant: str
    what: str
    at: float


class Lived(NamedTuple):
    """What came of one world; `cpu` is the seconds that it took of a processor."""

    seed: int
    digest: str
    violations: Sequence[Broke]
    fired: Mapping[str, int]
    seconds: float
    cpu: float


class Failure(NamedTuple):
    """A failing world, shrunk: what it takes to see it again, and its story."""

    case: Case
    violation: Broke
    story: Sequence[str]
    command: str


def live(chosen: Chosen, seed: int) -> Lived:
    """Live through one world in this process."""
    began = time.process_time()
    outcome = _live(chosen, chosen.case(seed))
    return Lived(
        seed=seed,
        digest=outcome.digest,
        violations=[Broke(v.invariant.value, v.what, v.at) for v in outcome.violations],
        fired={str(fault): count for fault, count in outcome.fired.items()},
        seconds=outcome.seconds,
        cpu=time.process_time() - began,
    )


def many(chosen: Chosen, numbers: Iterable[int], *, processes: int) -> Iterator[Lived]:
    """Live through the worlds of many seeds; each is told as soon as it is over.

    `numbers` is asked for the next one only when a process is free.
    """
    if processes <= 1:
        yield from (live(chosen, seed) for seed in numbers)
        return
    spawn = multiprocessing.get_context("spawn")  # nothing of this process in any world
    left = iter(numbers)
    pool = ProcessPoolExecutor(processes, mp_context=spawn, initializer=_prepare)
    try:
        running: set[Future[Lived]] = set()
        while True:
            while len(running) < processes and (seed := next(left, None)) is not None:
                running.add(pool.submit(live, chosen, seed))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from sorted(future.result() for future in done)
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    """Ctrl-C is for the process that asked; worlds that were begun are lived through."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    loop.collect_rarely()


def traced(chosen: Chosen, seed: int, told: Callable[[str], None]) -> Outcome:
    """Live through one world, and tell every line of its trace."""
    return _live(chosen, chosen.case(seed), told)


def explained(chosen: Chosen, seed: int, *, tries: int) -> Failure:
    """Shrink the world of a seed that breaks something, and tell its story."""
    case = chosen.case(seed)
    outcome = _live(chosen, case)
    most = 0 if chosen.history else MOST_APPS
    small = shrink(case, outcome, lambda other: _live(chosen, other), tries=tries, most_apps=most)
    trace: list[str] = []
    invariant = outcome.violations[0].invariant
    again = _live(chosen, small, trace.append).violations
    violation = next(v for v in again if v.invariant is invariant)
    return Failure(
        case=small,
        violation=Broke(invariant.value, violation.what, violation.at),
        story=story(trace, violation),
        command=command(chosen, small),
    )


def command(chosen: Chosen, case: Case) -> str:
    """The command that lives through this world again."""
    rates = ",".join(f"{fault}={rate!r}" for fault, rate in case.rates.items())
    words = ["stateward", "simulate", "--seed", str(case.seed), "--faults", rates or "none"]
    words += ["--minutes", f"{case.minutes:g}"]
    words += ["--apps", str(case.apps)] if case.apps is not None else []
    words += ["--history", str(chosen.history)] if chosen.history else []
    words += ["--intents"] if chosen.intents else []
    return shlex.join([*words, "--trace"])


def fired(all_lived: Iterable[Lived]) -> Counter[str]:
    """How often each fault took effect in some worlds."""
    total: Counter[str] = Counter()
    for one in all_lived:
        total.update(one.fired)
    return total


@lru_cache(maxsize=1)
def begun(path: Path) -> History:
    """The history in a file.

    Raises:
        NotAnExport: it holds none, or not a whole one.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return history.of(exports.read(file))


def _live(chosen: Chosen, case: Case, told: Callable[[str], None] | None = None) -> Outcome:
    if chosen.history is None:
        return seeds.run(case.seed, case.rates, minutes=case.minutes, apps=case.apps, told=told)
    past = begun(chosen.history)
    return history.run(
        past, case.seed, case.rates, minutes=case.minutes, asks=chosen.intents, told=told
    )


def read_faults(text: str) -> Mapping[Fault, float] | None:
    """The faults that a person wrote; None for those of each seed.

    Raises:
        ValueError: a name is no fault, a rate is no number from 0 on, or no probability.
    """
    if not text or text == "swarm":
        return None
    rates = knobs.named(text)
    for fault, rate in rates.items():
        if not 0 <= rate < float("inf"):
            raise ValueError(f"the rate of {fault} is {rate}; it is a number from 0 on")
        if fault in knobs.PROBABILITIES and rate > 1:
            most = f"it is the probability at each call; name one from 0 to 1, such as {fault}=0.5"
            raise ValueError(f"the rate of {fault} is {rate}, and {most}")
    return rates
