"""The flags that several verbs share, with one meaning everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stateward.cli.completing import complete_project, complete_resource


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RESOURCE...",
        help="KIND, KIND NAME... or KIND/NAME...: apps, app web, app/web.",
        autocompletion=complete_resource,
        show_default=False,
    ),
]
AppWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="APP...",
        help="app NAME, app/NAME or NAME.",
        autocompletion=complete_resource,
        show_default=False,
    ),
]
Project = Annotated[
    str,
    typer.Option(
        "-n",
        "--project",
        help="The project.",
        autocompletion=complete_project,
        show_default=False,
    ),
]
Everywhere = Annotated[bool, typer.Option("-A", "--all-projects", help="Of all projects.")]
Selector = Annotated[
    str,
    typer.Option(
        "-l", "--selector", help="By labels: a=b, a!=b, a, !a, 'a in (b,c)'.", show_default=False
    ),
]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to write the answer.")]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "-f",
        "--filename",
        help="A file of manifests, a directory of them, or - for standard input.",
        show_default=False,
    ),
]
Recursive = Annotated[
    bool, typer.Option("-R", "--recursive", help="Look into directories of directories.")
]
AsOf = Annotated[
    str,
    typer.Option(
        "--as-of",
        help="As it was at a position (42), a time (2030-01-01T12:00:00Z) or a while ago (5m).",
        show_default=False,
    ),
]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on with what changes.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is so.")]
Timeout = Annotated[str, typer.Option("--timeout", help="The longest wait: 30s, 10m.")]
DataDirectory = Annotated[
    Path | None,
    typer.Option("--data", help="The data directory; by default the one that `serve` would use."),
]
LogAddress = Annotated[
    str,
    typer.Option(
        "--log",
        help="A log in PostgreSQL: postgresql://USER@HOST:PORT/DATABASE.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="The configuration file.", show_default=False)
]
