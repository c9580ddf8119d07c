"""All benchmarks, each in a process of its own: a table, `docs/benchmarks.md`, and the exit code.

    python -m tests.benchmarks [NAME...]

With names only these are run, and the page stays as it is. The exit code is 1 when a promise is
not kept, or could not be measured.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from types import ModuleType
from typing import Final

from rich.console import Console

from tests.benchmarks import report
from tests.benchmarks.rows import Row

NAMES: Final = (
    "log",
    "intents",
    "bus",
    "postgres",
    "rebuilding",
    "sweeping",
    "routes",
    "simulating",
    "cluster",
    "docker",
    "docker_apps",
    "k8s",
    "converging",
    "workers",
    "routing",
    "routing_haproxy",
    "rollouts",
    "rollouts_haproxy",
)
LONGEST: Final = 420.0  # seconds for one of them


def module(name: str) -> ModuleType:
    return import_module(f"tests.benchmarks.{name}")


def run_all(names: Sequence[str]) -> int:
    console = Console()
    facts = report.Facts.gather()
    rows: list[Row] = []
    for name in names:
        began = time.monotonic()
        with console.status(f"{name}..."):
            measured = _measured(name)
        console.print(report.line(name, measured, time.monotonic() - began))
        rows += measured
    console.print(report.table(rows))
    if tuple(names) == NAMES:
        report.write(rows, facts, {name: module(name).HOW for name in NAMES})
        console.print(f"written to {report.PAGE}")
    return 0 if all(row.is_success for row in rows) else 1


def _measured(name: str) -> list[Row]:
    """The rows of one benchmark; a broken one's say so."""
    words = [sys.executable, "-m", "tests.benchmarks", "--rows", name]
    try:
        told = subprocess.run(words, capture_output=True, timeout=LONGEST, check=True).stdout
    except subprocess.TimeoutExpired:
        return _unmeasured(name, f"it took longer than {LONGEST:.0f} s")
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return _unmeasured(name, f"it broke: {''.join(last)}")
    return [Row(*row) for row in json.loads(told)]


def _unmeasured(name: str, reason: str) -> list[Row]:
    return [promise.unmeasured(reason) for promise in module(name).PROMISES]


def print_rows(name: str) -> int:
    """Run one benchmark here, and write its rows as JSON to stdout, which is theirs alone."""
    with redirect_stdout(sys.stderr):
        rows = module(name).measure()
    print(json.dumps(rows))
    return 0


def main(words: Sequence[str]) -> int:
    if words[:1] == ["--rows"]:
        return print_rows(words[1])
    unknown = [word for word in words if word not in NAMES]
    if unknown:
        print(f"no benchmark is called {unknown[0]!r}; there are {', '.join(NAMES)}")
        return 2
    return run_all(words or NAMES)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
