"""The verb `export`: a log as JSON lines, for `stateward simulate --history` and for anybody else.

It reads the log of a data directory, a backup or a database, also beside a server. The store of
secrets is not opened: events name secrets, and hold none.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

import typer

from stateward.cli import flags
from stateward.cli.places import Place, found_log
from stateward.cli.session import session
from stateward.cli.trouble import Trouble

if TYPE_CHECKING:
    from bus.log import Head, StoredEvent

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
    log: flags.LogAddress = "",
    config: flags.Config = None,
) -> None:
    """Write the log as JSON lines, one event a line. Works beside a server; holds no secrets."""
    from bus import exports  # noqa: PLC0415 -- only for this verb
    from bus.log import LogError  # noqa: PLC0415
    from bus.redaction import redacted  # noqa: PLC0415

    at = session(ctx)
    place = found_log(at, directory, data, log, config)
    try:
        with _whole(place) as whole, _written(output) as file:
            first = exports.header(whole.installation, whole.head, whole.amount, redacted=redact)
            events = redacted(whole.events) if redact else whole.events
            file.writelines(exports.write(first, events))
    except (LogError, OSError) as error:
        raise Trouble(str(error)) from error
    if output is not None:
        named = "under other names" if redact else "with all names in it"
        at.screen.note(
            f"{output} holds {first.events} events up to position {first.position}, {named}", ""
        )


class _Whole(NamedTuple):
    """A log as it was at one moment; its events can be gone through once."""

    installation: str
    head: "Head"
    amount: int
    events: "Iterator[StoredEvent]"


@contextmanager
def _whole(place: Place) -> Iterator[_Whole]:
    if place.url:
        from adapters.postgres.records import records  # noqa: PLC0415 -- only where it is

        with records(place.url) as found:
            yield _Whole(found.installation, found.head, found.count, found.events)
        return
    from adapters.sqlite.records import records as records_of_file  # noqa: PLC0415

    file = place.directory / INSTALLATION_FILE
    installation = file.read_text().strip() if file.exists() else ""
    with records_of_file(place.directory) as log:
        yield _Whole(installation, log.head, log.count, log.events)


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
