"""The data directory: what one installation keeps on disk, and who has it open.

Laid out as `installation format lock log.db head secrets.db secret.key token tokens.json
login.key snapshots/ nats/ replicas/ routers/`. One process at a time: the `lock` is held by the
system, so a crash releases it. Where the log is in PostgreSQL, there is no `log.db` and no
`secrets.db`.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

FORMAT: Final = 1
"""Of the directory; a newer one is refused, because an older program would damage it."""


class DataTrouble(Exception):
    """The data directory cannot be used; the message says what to do."""


class Data(NamedTuple):
    directory: Path
    installation: str


@contextmanager
def opened(directory: Path, *, new_id: Callable[[], str] | None) -> Iterator[Data]:
    """Hold the directory, made if it does not exist, until the end of the block.

    Args:
        directory: of one process.
        new_id: mints an installation; None when its log is elsewhere: see `claimed`.

    Raises:
        DataTrouble: another process holds it, it is of a newer format, or not writable.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "lock").open("a+")
    except OSError as error:
        raise DataTrouble(
            f"the data directory {directory} cannot be used: {error.strerror}; "
            "give another with --data DIRECTORY"
        ) from error
    with lock:
        _take(lock.fileno(), directory)
        _check_format(directory)
        yield Data(directory, _installation(directory, new_id) if new_id else "")


def claimed(data: Data, installation: str) -> Data:
    """The directory for a log that is elsewhere, with the installation that this log is of.

    Raises:
        DataTrouble: the directory is of another one.
    """
    path = data.directory / "installation"
    if not path.exists():
        path.write_text(f"{installation}\n")
    found = path.read_text().strip()
    if found != installation:
        raise DataTrouble(
            f"{data.directory} is of installation {found}, but the log at `log.url` is of "
            f"{installation}: what runs for the one would be foreign to the other; give another "
            "directory with --data DIRECTORY, or the log that this one is of"
        )
    return data._replace(installation=installation)


def _take(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 64, 0).decode(errors="replace").strip() or "another process"
        raise DataTrouble(
            f"the data directory {directory} is in use by {holder}; "
            "stop that, or give another with --data DIRECTORY"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"process {os.getpid()}\n".encode(), 0)


def _check_format(directory: Path) -> None:
    path = directory / "format"
    if not path.exists():
        if (directory / "log.db").exists():
            raise DataTrouble(f"{directory} has a log but no `format`: it is not complete")
        path.write_text(f"{FORMAT}\n")
    found = path.read_text().strip()
    if not found.isdigit() or int(found) > FORMAT:
        raise DataTrouble(
            f"{directory} has format {found}, and this version of Stateward knows {FORMAT}; "
            "use the version that wrote it, or a later one"
        )


def _installation(directory: Path, new_id: Callable[[], str]) -> str:
    """The id minted with the log; a log whose id is gone belongs to nobody that is known."""
    path = directory / "installation"
    if not path.exists():
        if (directory / "log.db").exists():
            raise DataTrouble(
                f"{path} is missing beside a log: without it, what runs cannot be told from what "
                "is foreign; restore the file from a backup"
            )
        path.write_text(f"{new_id()}\n")
    return path.read_text().strip()
