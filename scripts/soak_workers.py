"""A fleet that is killed again and again: `make soak-workers DURATION=600`.

Three processes that are gateway and worker, over three NATS servers and PostgreSQL; apps on a
simulated machine that all reach, and some on Docker. Every ten seconds one of these seven is killed
by `kill -9`, and started again a few seconds later. Four producers go on all the while, by HTTP and
NATS, each asking again under its key until it is answered. At the end all is looked at.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx
import structlog
from rich.console import Console
from rich.table import Table

from tests.support.soak_intents import Owner, owners
from tests.support.soak_town import Town, town
from tests.support.soak_truth import Check, judged

KILL_SECONDS: Final = 10.0
AT_LAST_SECONDS: Final = 300.0  # in which the last intents are answered

say = Console(highlight=False, soft_wrap=True, width=160).print


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak; return the exit code."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=600.0)
    words.add_argument("--apps", type=int, default=300, help="on the simulated machine")
    words.add_argument("--docker-apps", type=int, default=10, help="on Docker; 0: without it")
    words.add_argument("--intents", type=int, default=2000)
    words.add_argument("--seed", type=int, default=None)
    words.add_argument("--home", type=Path, default=None, help="where to leave what was written")
    given = words.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
    say(f"seed {seed}")
    if given.home is not None:
        given.home.mkdir(parents=True)
        return asyncio.run(soak(given.home, given, random.Random(seed)))
    with tempfile.TemporaryDirectory(prefix="soak") as home:
        return asyncio.run(soak(Path(home), given, random.Random(seed)))


async def soak(home: Path, given: argparse.Namespace, chance: random.Random) -> int:
    async with (
        town(home, with_docker=given.docker_apps > 0) as place,
        httpx.AsyncClient(timeout=10) as client,
        place.producer(random.Random(chance.random())) as producer,
    ):
        names = [f"a{number}" for number in range(given.apps)]
        if place.dock is not None:
            names += [f"d{number}" for number in range(given.docker_apps)]
        people = owners(place, client, producer, names, chance)
        await asyncio.gather(*(owner.begin() for owner in people))
        say(f"{len(names)} apps are asked for; trouble begins")
        began = time.monotonic()
        trouble = asyncio.create_task(place.trouble(chance, KILL_SECONDS))
        try:
            async with asyncio.timeout(given.seconds + AT_LAST_SECONDS):
                each = given.intents // len(people)
                await asyncio.gather(*(one.go_on(each, given.seconds) for one in people))
        finally:
            trouble.cancel()
            await asyncio.wait({trouble})
        seconds = time.monotonic() - began
        checks = await judged(place, people)
    summarise(place, people, checks, seconds)
    return 1 if any(check.faults for check in checks) else 0


def summarise(
    place: Town, people: Sequence[Owner], checks: Sequence[Check], seconds: float
) -> None:
    """What was killed, what was asked for, and what is true of it."""
    killed = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    killed.add_column("KILLED")
    killed.add_column("TIMES", justify="right")
    for what, times in sorted(place.killed.items()):
        killed.add_row(what, str(times))
    say(killed)
    asked = ", ".join(f"{one.name} {len(one.keys)}" for one in people)
    say(f"{sum(place.killed.values())} kills in {seconds:.0f} s; intents: {asked}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for head in ("", "PROMISE", "LOOKED AT"):
        table.add_column(head)
    for check in checks:
        mark = "[red]broken[/]" if check.faults else "[green]ok[/]"
        table.add_row(mark, check.promise, check.found)
    say(table)
    for check in checks:
        for fault in check.faults[:20]:
            say(f"[red]fault[/] {check.promise}:", end=" ")
            say(fault, markup=False)


def quiet() -> None:
    """Say nothing of what is only troubled: that is what is wanted here."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("asyncio").setLevel(logging.ERROR)


if __name__ == "__main__":
    quiet()
    sys.exit(main())
