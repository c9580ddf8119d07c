"""The verb `simulate`: worlds in memory, with faults, watched for what must never break."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stateward.cli.flags import Format
from stateward.cli.screen import Cell, Screen
from stateward.cli.session import session
from stateward.cli.trouble import BadUse

if TYPE_CHECKING:
    from stateward.simulating import Failure, Lived


def simulate(  # noqa: PLR0917 -- as many as there are flags
    ctx: typer.Context,
    seed: Annotated[int, typer.Option("--seed", help="The first seed.")] = 1,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many, from that on.")] = 1,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes at once.")] = 1,
    minutes: Annotated[
        float, typer.Option("--minutes", min=0.1, max=100_000, help="Of chaos, in virtual time.")
    ] = 20.0,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="all|none|NAME[=RATE],...",
            help="What goes wrong; by default what each seed gives itself.",
            show_default=False,
        ),
    ] = "",
    history: Annotated[
        Path | None,
        typer.Option("--history", help="Begin with a log that `stateward export` wrote."),
    ] = None,
    intents: Annotated[
        bool, typer.Option("--intents", help="With --history: people go on asking for things.")
    ] = False,
    apps: Annotated[
        int | None, typer.Option("--apps", min=1, help="At most so many apps.", show_default=False)
    ] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Print all that happens.")] = False,
    tries: Annotated[
        int, typer.Option("--tries", min=0, help="Worlds that shrinking a failure may take.")
    ] = 60,
    output: Annotated[
        Format, typer.Option("-o", "--output", help="How to write the summary: table or json.")
    ] = Format.TABLE,
) -> None:
    """Run control planes in a world in memory under faults, and report what breaks."""
    from stateward.simulating import Chosen, explained, many, traced  # noqa: PLC0415

    screen = session(ctx).screen
    if trace and seeds > 1:
        raise BadUse("--trace tells of one world: leave out --seeds")
    if output not in (Format.TABLE, Format.JSON):
        raise BadUse("the summary is written as -o table or -o json")
    chosen = Chosen(minutes, _faults(faults), apps, _readable(history), intents)
    if trace:
        if traced(chosen, seed, screen.line).violations:
            raise typer.Exit(1)
        return
    lived: list[Lived] = []
    with _progress(seeds) as advance:
        for one in many(chosen, range(seed, seed + seeds), processes=min(jobs, seeds)):
            lived.append(one)
            advance()
    failing = sorted(one.seed for one in lived if one.violations)
    failure = explained(chosen, failing[0], tries=tries) if failing else None
    if output is Format.JSON:
        screen.json(facts(lived, failure))
    else:
        summarise(screen, lived)
        tell(screen, failing, failure)
    if failing:
        raise typer.Exit(1)


def _faults(text: str) -> Any:
    from stateward.simulating import read_faults  # noqa: PLC0415 -- only for this verb

    try:
        return read_faults(text)
    except ValueError as error:
        raise BadUse(f"--faults {text}: {error}") from None


def _readable(path: Path | None) -> Path | None:
    """The absolute path of a history that can be read.

    Raises:
        BadUse: it cannot, or is none.
    """
    from bus.exports import NotAnExport  # noqa: PLC0415 -- only for this verb
    from stateward.simulating import begun  # noqa: PLC0415

    if path is None:
        return None
    try:
        begun(path.absolute())
    except (NotAnExport, OSError) as error:
        raise BadUse(f"{path} cannot be simulated: {error}") from None
    return path.absolute()


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on a terminal, and nothing elsewhere."""
    from rich.console import Console  # noqa: PLC0415 -- only for this verb
    from rich.progress import Progress  # noqa: PLC0415

    shown = sys.stderr.isatty() and total > 1
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("worlds", total=total)
        yield lambda: bar.advance(task)


def summarise(screen: Screen, lived: Sequence["Lived"]) -> None:
    """How many worlds, how long, how fast; what broke and what went wrong in them."""
    from stateward.simulating import fired  # noqa: PLC0415 -- only for this verb

    hours, minutes = sum(one.seconds for one in lived) / 3600, sum(one.cpu for one in lived) / 60
    speed = hours / minutes if minutes else 0.0
    count = f"{len(lived)} world{'s' if len(lived) > 1 else ''}"
    screen.line(
        f"{count}, {hours:.1f} simulated hours in {minutes:.1f} minutes of processor time: "
        f"{speed:.0f} hours a minute."
    )
    counts = fired(lived)
    if counts:
        screen.table(("FAULT", "FIRED"), [[name, str(counts[name])] for name in sorted(counts)])
    broken = _by_invariant(lived)
    if broken:
        screen.line()
        screen.table(
            ("BROKEN", "WORLDS", "SEEDS"),
            [[Cell(name, "red"), str(len(found)), _some(found)] for name, found in broken],
        )
    else:
        screen.line("Nothing that must hold was broken.", "green")


def _by_invariant(lived: Sequence["Lived"]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for one in sorted(lived):
        for name in dict.fromkeys(broke.invariant for broke in one.violations):
            found.setdefault(name, []).append(one.seed)
    return sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))


def _some(seeds: Sequence[int]) -> str:
    more = f" and {len(seeds) - 8} more" if len(seeds) > 8 else ""
    return ", ".join(map(str, seeds[:8])) + more


def tell(screen: Screen, failing: Sequence[int], failure: "Failure | None") -> None:
    """The story of the first failure, and how to see it again."""
    if failure is None:
        return
    case = failure.case
    screen.line()
    screen.line(f"Seed {failing[0]} breaks: {failure.violation.invariant}", "red")
    screen.line(
        f"So does a world with {len(case.rates)} faults and {case.minutes:g} minutes of chaos:"
    )
    for line in failure.story:
        screen.line(f"  {line}")
    screen.line()
    screen.line("See it again:")
    screen.raw(f"  {failure.command}")


def facts(lived: Sequence["Lived"], failure: "Failure | None") -> dict[str, Any]:
    """The summary for a program."""
    from stateward.simulating import fired  # noqa: PLC0415 -- only for this verb

    hours, minutes = sum(one.seconds for one in lived) / 3600, sum(one.cpu for one in lived) / 60
    return {
        "seeds": len(lived),
        "simulatedHours": round(hours, 3),
        "hoursPerCpuMinute": round(hours / minutes, 1) if minutes else None,
        "fired": dict(sorted(fired(lived).items())),
        "violations": [
            {"seed": one.seed, "invariant": broke.invariant, "what": broke.what, "at": broke.at}
            for one in sorted(lived)
            for broke in one.violations
        ],
        "failure": failure
        and {
            "seed": failure.case.seed,
            "faults": {str(fault): rate for fault, rate in failure.case.rates.items()},
            "minutes": failure.case.minutes,
            "apps": failure.case.apps,
            "invariant": failure.violation.invariant,
            "what": failure.violation.what,
            "story": list(failure.story),
            "command": failure.command,
        },
    }
