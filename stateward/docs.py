"""`python -m stateward.docs`: what is generated from the code, written or checked.

The reference in `docs/reference/`, and what a cluster has to grant in `deploy/kubernetes/`. Each
file is a function of the code alone, so the same code gives the same bytes anywhere.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from stateward.cli.reference import markdown as command_line
from stateward.reference import cluster, happenings, kinds, running, speaking
from stateward.reference.markdown import page

_ROOT: Final = Path(__file__).parent.parent
DIRECTORY: Final = _ROOT / "docs" / "reference"
DEPLOYMENT: Final = _ROOT / "deploy" / "kubernetes"


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


DEPLOYED: Final[Mapping[str, Callable[[], str]]] = {"cluster-roles.yaml": cluster.cluster_roles}
"""Beside files that are written by hand."""


def write(directory: Path = DIRECTORY, deployment: Path = DEPLOYMENT) -> None:
    """Write every page, and what is deployed."""
    for folder, pages in ((directory, PAGES), (deployment, DEPLOYED)):
        folder.mkdir(parents=True, exist_ok=True)
        for name, made in pages.items():
            (folder / name).write_text(made())


def stale(directory: Path = DIRECTORY, deployment: Path = DEPLOYMENT) -> list[Path]:
    """The files that differ from what would be written, are missing, or too many."""
    differing = [
        folder / name
        for folder, pages in ((directory, PAGES), (deployment, DEPLOYED))
        for name, made in pages.items()
        if not (folder / name).is_file() or (folder / name).read_text() != made()
    ]
    return sorted([*differing, *(one for one in directory.glob("*") if one.name not in PAGES)])


def main(
    arguments: Sequence[str] | None = None,
    directory: Path = DIRECTORY,
    deployment: Path = DEPLOYMENT,
) -> int:
    """Write everything, or with `--check` say what is stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stateward.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if it is stale")
    asked = parser.parse_args(arguments)
    if not asked.check:
        write(directory, deployment)
        return 0
    found = stale(directory, deployment)
    for path in found:
        sys.stderr.write(f"{path} is stale; run `make docs`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
