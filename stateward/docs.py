"""`python -m stateward.docs`: the generated reference, written to `docs/reference/` or checked.

Each page is a function of the code alone, so the same code gives the same bytes anywhere.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from stateward.cli.reference import markdown as command_line
from stateward.reference import happenings, kinds, running, speaking
from stateward.reference.markdown import page

DIRECTORY: Final = Path(__file__).parent.parent / "docs" / "reference"


def contents() -> str:
    """The page that lists the others."""
    listed = "\n".join(f"- [{name}]({name})" for name in sorted(PAGES) if name != "README.md")
    return page("Reference", "All of this is generated from the code by `make docs`.", listed)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "README.md": contents,
    "asyncapi.yaml": speaking.asyncapi_file,
    "command-line.md": command_line,
    "events.md": happenings.events,
    "http-paths.md": speaking.path_page,
    "intents.md": happenings.intents,
    "kinds.md": kinds.kinds,
    "metrics.md": running.metrics,
    "nats-users.conf": speaking.users_file,
    "openapi.json": speaking.openapi_file,
    "settings.md": running.settings,
    "subjects.md": speaking.subject_page,
}


def write(directory: Path = DIRECTORY) -> None:
    """Write every page."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, made in PAGES.items():
        (directory / name).write_text(made())


def stale(directory: Path = DIRECTORY) -> list[str]:
    """The names of files that differ from what would be written, are missing, or too many."""
    there = {path.name: path for path in directory.glob("*")}
    differing = [
        name
        for name, made in PAGES.items()
        if name not in there or there[name].read_text() != made()
    ]
    return sorted([*differing, *(there.keys() - PAGES.keys())])


def main(arguments: Sequence[str] | None = None, directory: Path = DIRECTORY) -> int:
    """Write the reference, or with `--check` say what is stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stateward.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it is stale")
    asked = parser.parse_args(arguments)
    if not asked.check:
        write(directory)
        return 0
    names = stale(directory)
    for name in names:
        sys.stderr.write(f"{directory / name} is stale; run `make docs`\n")
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
