"""The verbs that need no server: verify, migrate, backup, restore.

They open the log themselves, where `stateward serve` would find it: in a data directory, or in the
database that `log.url` names.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stateward.cli import flags
from stateward.cli.flags import Format
from stateward.cli.places import Place, found_log
from stateward.cli.session import Session, session
from stateward.cli.trouble import BadUse, Trouble

if TYPE_CHECKING:
    from adapters.postgres.log import PostgresLog
    from adapters.sqlite.log import SqliteLog
    from bus.verifying import VerifyReport

_NOT_A_FILE: Final = (
    "the log is in PostgreSQL, whose own tools copy it: `pg_dump --format=custom` for a copy of "
    "one moment, pg_basebackup with archived write-ahead log to lose nothing; keep the key of the "
    "secrets beside it. After bringing back an older copy with pg_restore, stop every control "
    "plane and accept what is missing, by `stateward restore --accept-rewind --log ADDRESS --data "
    "DIRECTORY` for one of their data directories: docs/how-to/run-on-postgresql.md"
)


def migrate(
    ctx: typer.Context,
    data: flags.DataDirectory = None,
    log: flags.LogAddress = "",
    config: flags.Config = None,
) -> None:
    """Prepare a PostgreSQL database for this version. Safe while older ones use it."""
    from adapters.postgres.schema import NEWEST  # noqa: PLC0415 -- only for this verb
    from adapters.postgres.schema import migrate as apply  # noqa: PLC0415
    from adapters.postgres.server import PATIENT, Server  # noqa: PLC0415
    from bus.log import LogError  # noqa: PLC0415

    at = session(ctx)
    place = found_log(at, None, data, log, config)
    if not place.url:
        raise BadUse("only a log in PostgreSQL is migrated; name it by --log or `log.url`")
    try:
        done = asyncio.run(apply(Server(place.url, PATIENT)))
    except LogError as error:
        raise Trouble(str(error)) from error
    for step in done:
        at.screen.line(f"{step.number:04} {step.name}")
    at.screen.line(f"{place.shown} has schema {NEWEST}" + ("" if done else " already"))


def verify(
    ctx: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIRECTORY]", help="A data directory or a backup.")
    ] = None,
    data: flags.DataDirectory = None,
    log: flags.LogAddress = "",
    config: flags.Config = None,
    output: flags.Output = Format.TABLE,
) -> None:
    """Check that no event of the log was altered, added or lost. Works beside a server."""
    from bus.log import LogError  # noqa: PLC0415 -- only for this verb

    at = session(ctx)
    place = found_log(at, directory, data, log, config)
    try:
        report = _checked(place)
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
            f"The log in {place.shown} is sound: {report.events} events{erased}, "
            f"sealed up to position {report.head.position}.",
            "green",
        )
    if not report.sound:
        raise Trouble(
            f"the log in {place.shown} is not what it was: {report.problem} "
            f"(first wrong position: {report.altered}); it is sound up to position "
            f"{report.head.position}; `stateward restore` brings back a backup"
        )


def _checked(place: Place) -> "VerifyReport":
    if place.url:
        from adapters.postgres.verify import verify as check  # noqa: PLC0415 -- only where it is

        return check(place.url, place.directory)
    from adapters.sqlite.verify import verify as check_file  # noqa: PLC0415

    return check_file(place.directory)


def backup(
    ctx: typer.Context,
    destination: Annotated[Path, typer.Argument(metavar="DESTINATION", help="A new directory.")],
    data: flags.DataDirectory = None,
    log: flags.LogAddress = "",
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
    place, url = found_log(at, None, data, log, config)
    if url:
        raise Trouble(_NOT_A_FILE)
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
    log: flags.LogAddress = "",
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
    where = found_log(at, None, data, log, config)
    if where.url and source is not None:
        raise Trouble(_NOT_A_FILE)
    place = where.directory
    try:
        with _nobody_else(place):
            if source is not None:
                made = put_back(source.absolute(), place)
                at.screen.line(f"{place} holds the log up to position {made.position} again")
                if not made.has_key:
                    at.screen.note(f"Put the key of the secrets back, as {place / 'secret.key'}.")
            if accept_rewind:
                asyncio.run(_accept(where, at))
                at.screen.line("The log goes on from where it ends now; this is recorded.")
    except (LogError, BackupRefused) as error:
        raise Trouble(str(error)) from error


async def _accept(where: Place, at: Session) -> None:
    log = await _opened(where, lambda: at.now().timestamp())
    try:
        await log.accept_rewind(f"user:{os.getuid()}")
    finally:
        await log.close()


async def _opened(where: Place, now: Callable[[], float]) -> "SqliteLog | PostgresLog":
    if where.url:
        from adapters.postgres.log import PostgresLog as Shared  # noqa: PLC0415 -- only where it is

        return await Shared.open(where.url, where.directory, now=now)
    from adapters.sqlite.log import SqliteLog as Own  # noqa: PLC0415

    return await Own.open(where.directory, now=now)


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
