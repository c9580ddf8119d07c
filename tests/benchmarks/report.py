"""What a run says: a line for each benchmark, a table on the terminal, and the page in `docs`."""

import os
import platform
import sqlite3
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

from rich.table import Table

from tests.benchmarks.places import on_disk
from tests.benchmarks.rows import Row, Times, millis

PAGE: Final = Path("docs/benchmarks.md")
WRITES: Final = 200  # that the latency of the disk is taken from

_INTRODUCTION: Final = """# Speed

`make bench` writes this page. Every row is a ratio to a raw floor, or a distance from it, measured
in the same run and where possible in alternating rounds, so that a busy machine slows both sides;
medians unless said otherwise. Absolute numbers belong to the machine they were taken on.
"""


class Facts(NamedTuple):
    """The machine, as far as it matters to the numbers."""

    cores: int
    python: str
    sqlite: str
    fsync: str
    load: str

    @classmethod
    def gather(cls) -> Self:
        return cls(
            cores=os.cpu_count() or 0,
            python=platform.python_version(),
            sqlite=sqlite3.sqlite_version,
            fsync=millis(_fsync_seconds()),
            load=f"{os.getloadavg()[0]:.1f}",
        )

    def sentence(self) -> str:
        return (
            f"This run: {self.cores} cores, Python {self.python}, SQLite {self.sqlite}; a write of"
            f" 4 KiB with `fdatasync` took {self.fsync}; load average {self.load} at the beginning."
        )


def _fsync_seconds() -> float:
    times = Times()
    with on_disk() as directory, (directory / "probe").open("wb", buffering=0) as file:
        for _ in range(WRITES):
            with times.taken():
                file.write(b"x" * 4096)
                os.fdatasync(file.fileno())
    return statistics.median(times)


def verdict(row: Row) -> str:
    if row.note:
        return row.note
    return {True: "yes", False: "NO", None: "-"}[row.met]


def line(name: str, rows: Sequence[Row], seconds: float) -> str:
    missed = sum(not row.is_success for row in rows)
    said = "all kept" if not missed else f"[red]{missed} of {len(rows)} not kept[/red]"
    return f"{name}: {said} ({seconds:.0f} s)"


def table(rows: Sequence[Row]) -> Table:
    shown = Table("what", "floor", "ours", "ratio", "target", "kept")
    for row in rows:
        style = "" if row.is_success else "red"
        shown.add_row(*_cells(row), style=style)
    return shown


def _cells(row: Row) -> tuple[str, ...]:
    return row.what, row.floor, row.ours, row.ratio, row.target, verdict(row)


def write(rows: Sequence[Row], facts: Facts, how: Mapping[str, str]) -> None:
    heads = ("What", "Floor", "Ours", "Ratio", "Target", "Kept")
    lines = [_INTRODUCTION, facts.sentence(), "", _row(heads), _row(("---",) * len(heads))]
    lines += [_row(_cells(row)) for row in rows]
    lines += ["", "## How each is measured", ""]
    lines += [f"- **{name.replace('_', ' ')}**: {text}" for name, text in how.items()]
    PAGE.write_text("\n".join([*lines, ""]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
