"""The verb `export`: a log as JSON lines, for `stateward simulate --history` and for anybody else.

It reads `log.db` of a data directory or a backup, also beside a server. The store of secrets is
not opened: events name secrets, and hold none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from stateward.cli import flags
from stateward.cli.offline import data_directory
from stateward.cli.session import session
from stateward.cli.trouble import Trouble

INSTALLATION_FILE = "installation"


def export(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DATA]", help="A data directory or a backup.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Where to; else standard output."),
    ] = None,
    redact: Annotated[
        bool,
        typer.Option(
            "--redact",
            help="Other names for everything that you named, consistently, and no messages: "
            "the shape of the history stays.",
        ),
    ] = False,
    data: flags.DataDirectory = None,
    config: flags.Config = None,
) -> None:
    """Write the log as JSON lines, one event a line. Works beside a server; holds no secrets."""
    from adapters.sqlite.records import records  # noqa: PLC0415 -- only for this verb
    from bus import exports  # noqa: PLC0415
    from bus.log import LogError  # noqa: PLC0415
    from bus.redaction import redacted  # noqa: PLC0415

    at = session(ctx)
    place = data_directory(at, directory or data, config)
    try:
        with records(place) as log, _written(output) as file:
            first = exports.header(_installation(place), log.head, log.count, redacted=redact)
            file.writelines(exports.write(first, redacted(log.events) if redact else log.events))
    except (LogError, OSError) as error:
        raise Trouble(str(error)) from error
    if output is not None:
        named = "under other names" if redact else "with all names in it"
        at.screen.note(
            f"{output} holds {first.events} events up to position {first.position}, {named}", ""
        )


def _installation(directory: Path) -> str:
    file = directory / INSTALLATION_FILE
    return file.read_text().strip() if file.exists() else ""


@contextmanager
def _written(file: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that is there whole or not at all, and that others cannot read."""
    if file is None:
        yield sys.stdout.buffer
        return
    fresh = file.with_name(f"{file.name}.new")
    descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            yield opened
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
