"""Backups: a consistent copy of the log and the secrets, made while both are in use.

The manifest is written last, so a copy that was interrupted has none and is never restored. A file
copy of a live database is not a backup: the newest commits are in the write-ahead log beside it.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from hashlib import file_digest
from pathlib import Path

import msgspec

from adapters.files.durable import replace_file, sync_directory, sync_file
from adapters.files.headfile import HEAD_FILE, write_head
from adapters.files.keyfile import KEY_FILE
from adapters.sqlite.schema import LOG_FILE, open_reader, read_head
from adapters.sqlite.secrets import SECRETS_FILE
from adapters.sqlite.trouble import explain
from adapters.sqlite.verify import verify
from bus.log import LogUnavailable

MANIFEST_FILE = "manifest.json"
INSTALLATION_FILE = "installation"
_PLAIN_FILES = (INSTALLATION_FILE, "format")
_MAY_STAND = frozenset({HEAD_FILE, "lock"})  # in a directory that counts as empty


class BackupRefused(Exception):
    """Nothing was copied: the message says what is in the way and what to do."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds: up to which position, whose it is, and the SHA-256 of each file."""

    format: int = 1
    position: int
    seal: str
    installation: str
    taken_at: float
    files: dict[str, str]

    @property
    def has_key(self) -> bool:
        """Without the key of the secrets, their values cannot be read after a restore."""
        return KEY_FILE in self.files


def backup(
    directory: Path, destination: Path, *, now: Callable[[], float], with_key: bool = False
) -> Manifest:
    """Copy a data directory, which may be in use, to a new or empty directory.

    Args:
        directory: the data directory.
        destination: where the copy goes.
        now: the clock for the manifest.
        with_key: also copy the key of the secrets; whoever has the backup can then read them.

    Raises:
        BackupRefused: the destination is not empty, or the log does not verify.
        LogUnavailable: the log cannot be read or the copy not written.
    """
    _check_empty(destination, frozenset())
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        names = _copy_all(directory, destination, with_key=with_key)
    except (OSError, sqlite3.Error) as error:
        raise explain(error, destination / LOG_FILE, "back up the log") from error
    report = verify(destination)
    if not report.sound:
        raise BackupRefused(f"the log in {directory} is not sound: {report.problem}")
    installation = destination / INSTALLATION_FILE
    manifest = Manifest(
        position=report.head.position,
        seal=report.head.seal.hex(),
        installation=installation.read_text().strip() if installation.exists() else "",
        taken_at=now(),
        files={name: _digest(destination / name) for name in names},
    )
    replace_file(destination / MANIFEST_FILE, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def restore(source: Path, directory: Path) -> Manifest:
    """Put a backup into an empty data directory and return what it holds.

    A `head` file that is there stays: if it has seen more than the backup holds, the log opens
    rewound, until somebody accepts that.

    Raises:
        BackupRefused: the directory is not empty, or the backup is not whole.
        LogUnavailable: the files could not be written.
    """
    manifest = read_manifest(source)
    _check_empty(directory, _MAY_STAND)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in reversed(manifest.files):  # the log last: half a restore is no log
            if name != HEAD_FILE or not (directory / HEAD_FILE).exists():
                _copy_file(source / name, directory / name)
        sync_directory(directory)
    except OSError as error:
        raise explain(error, directory / LOG_FILE, "restore the log") from error
    return manifest


def read_manifest(source: Path) -> Manifest:
    """Return the manifest of a backup that is whole.

    Raises:
        BackupRefused: it is not a backup, or a file is missing or was changed.
    """
    try:
        manifest = msgspec.json.decode((source / MANIFEST_FILE).read_bytes(), type=Manifest)
        for name, digest in manifest.files.items():
            if Path(name).name != name or _digest(source / name) != digest:
                raise BackupRefused(f"{source / name} is not what the backup's manifest says")
        report = verify(source)
    except (OSError, msgspec.DecodeError, LogUnavailable) as error:
        raise BackupRefused(f"{source} is not a whole backup: {error}") from error
    if not report.sound or report.head.position != manifest.position:
        raise BackupRefused(f"the log in {source} does not verify: {report.problem}")
    return manifest


def _copy_all(directory: Path, destination: Path, *, with_key: bool) -> list[str]:
    """The log first: secrets are stored before an event names them, so none will be missing."""
    names = [LOG_FILE, HEAD_FILE]
    _copy_database(directory / LOG_FILE, destination / LOG_FILE)
    with closing(open_reader(destination / LOG_FILE)) as connection:
        write_head(destination, read_head(connection))
    if (directory / SECRETS_FILE).exists():
        _copy_database(directory / SECRETS_FILE, destination / SECRETS_FILE)
        names.append(SECRETS_FILE)
    for name in (*_PLAIN_FILES, *((KEY_FILE,) if with_key else ())):
        if (directory / name).exists():
            _copy_file(directory / name, destination / name)
            names.append(name)
    sync_directory(destination)
    return names


def _copy_database(source: Path, destination: Path) -> None:
    destination.touch(mode=0o600)
    with closing(open_reader(source)) as original, closing(sqlite3.connect(destination)) as copy:
        original.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, that nobody needs to open to read
    sync_file(destination)


def _copy_file(source: Path, destination: Path) -> None:
    fresh = destination.with_name(f"{destination.name}.new")
    fresh.touch(mode=0o600)
    shutil.copyfile(source, fresh)
    sync_file(fresh)
    fresh.replace(destination)


def _check_empty(directory: Path, allowed: frozenset[str]) -> None:
    found = {path.name for path in directory.iterdir()} if directory.exists() else set()
    if in_the_way := sorted(found - allowed):
        raise BackupRefused(
            f"{directory} is not empty (it holds {', '.join(in_the_way[:3])}); "
            "name a new directory, or move these away first"
        )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
