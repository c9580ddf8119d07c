"""The verbs that need no server: verify, backup, restore. They read a data directory."""

import asyncio
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from stateward.cli import flags
from stateward.cli.flags import Format
from stateward.cli.session import Session, session
from stateward.cli.trouble import BadUse, Trouble


def data_directory(at: Session, given: Path | None, config: Path | None = None) -> Path:
    """The data directory that is meant: the flag, else the one that `serve` would use.

    Raises:
        Trouble: the settings cannot be used.
    """
    if given is not None:
        return given.absolute()
    from stateward.layers import BadSettings, load  # noqa: PLC0415 -- pydantic takes its time

    try:
        return load(at.environment, config=config).data.directory
    except BadSettings as error:
        raise Trouble(str(error)) from None


def verify(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIRECTORY]", help="A data directory or a backup.")
    ] = None,
    data: flags.DataDirectory = None,
    config: flags.Config = None,
    output: flags.Output = Format.TABLE,
) -> None:
    """Check that no event of the log was altered, added or lost. Works beside a server."""
    from adapters.sqlite.verify import verify as check  # noqa: PLC0415 -- only for this verb
    from bus.log import LogError  # noqa: PLC0415

    at = session(ctx)
    place = data_directory(at, directory or data, config)
    try:
        report = check(place)
    except LogError as error:
        raise Trouble(str(error)) from error
    if output in (Format.JSON, Format.YAML):
        facts: dict[str, Any] = {
            "sound": report.sound,
            "events": report.events,
            "redacted": report.redacted,
            "position": report.head.position,
            "seal": report.head.seal.hex(),
            "altered": report.altered,
            "problem": report.problem,
        }
        at.screen.json(facts) if output is Format.JSON else at.screen.yaml([facts])
    elif report.sound:
        erased = f", {report.redacted} of them erased" if report.redacted else ""
        at.screen.line(
            f"The log in {place} is sound: {report.events} events{erased}, "
            f"sealed up to position {report.head.position}.",
            "green",
        )
    if not report.sound:
        raise Trouble(
            f"the log in {place} is not what it was: {report.problem} "
            f"(first wrong position: {report.altered}); it is sound up to position "
            f"{report.head.position}; `stateward restore` brings back a backup"
        )


def backup(
    ctx: typer.Context,
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A new directory.")],
    data: flags.DataDirectory = None,
    config: flags.Config = None,
    with_key: Annotated[
        bool,
        typer.Option(
            "--with-key",
            help="The key of the secrets as well: whoever has the backup can read them.",
        ),
    ] = False,
) -> None:
    """Copy the log and the secrets, also while the server runs."""
    from adapters.sqlite.backup import BackupRefused  # noqa: PLC0415 -- only for this verb
    from adapters.sqlite.backup import backup as copy  # noqa: PLC0415
    from bus.log import LogError  # noqa: PLC0415

    at = session(ctx)
    place = data_directory(at, data, config)
    try:
        made = copy(
            place, destination.absolute(), now=lambda: at.now().timestamp(), with_key=with_key
        )
    except (LogError, BackupRefused) as error:
        raise Trouble(str(error)) from error
    at.screen.line(f"{destination} holds the log up to position {made.position}, verified")
    if not made.has_key:
        at.screen.note(
            f"The key of the secrets is not in it: keep {place / 'secret.key'} somewhere else, "
            "or take it along by --with-key."
        )


def restore(
    ctx: typer.Context,
    source: Annotated[
        Path | None, typer.Argument(metavar="[BACKUP]", help="What `backup` made.")
    ] = None,
    data: flags.DataDirectory = None,
    config: flags.Config = None,
    accept_rewind: Annotated[
        bool,
        typer.Option(
            "--accept-rewind", help="Go on although the log is older than what was acknowledged."
        ),
    ] = False,
) -> None:
    """Put a backup into an empty data directory, or accept a log that went backwards."""
    from adapters.sqlite.backup import BackupRefused  # noqa: PLC0415 -- only for this verb
    from adapters.sqlite.backup import restore as put_back  # noqa: PLC0415
    from bus.log import LogError  # noqa: PLC0415

    at = session(ctx)
    if source is None and not accept_rewind:
        raise BadUse("name a backup, or --accept-rewind for the log that is there")
    place = data_directory(at, data, config)
    try:
        with _nobody_else(place):
            if source is not None:
                made = put_back(source.absolute(), place)
                at.screen.line(f"{place} holds the log up to position {made.position} again")
                if not made.has_key:
                    at.screen.note(f"Put the key of the secrets back, as {place / 'secret.key'}.")
            if accept_rewind:
                asyncio.run(_accept(place, at))
                at.screen.line("The log goes on from where it ends now; this is recorded.")
    except (LogError, BackupRefused) as error:
        raise Trouble(str(error)) from error


async def _accept(directory: Path, at: Session) -> None:
    from adapters.sqlite.log import SqliteLog  # noqa: PLC0415 -- only for this verb

    log = await SqliteLog.open(directory, now=lambda: at.now().timestamp())
    try:
        await log.accept_rewind(f"user:{os.getuid()}")
    finally:
        await log.close()


@contextmanager
def _nobody_else(directory: Path) -> Iterator[None]:
    """Keep control planes out meanwhile; raises `Trouble` when one is there."""
    lock = directory / "lock"
    if not lock.exists():
        yield
        return
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(200).strip()
            by = f" ({holder})" if holder else ""
            raise Trouble(f"a control plane uses {directory}{by}; stop it first") from None
        yield
