"""The directory of a replica, as the keeper and the engine read and write it.

`order` says what it is (no secret in it); `lock` is held by the program and its keeper until the
end is written; `pid` is written before the program runs, `exit` once after it; `stdout` and
`stderr` are written by the program itself, `times` dates their bytes; `work` is where it runs.
Nothing but the standard library is imported here: the keeper starts in a few milliseconds.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

ORDER, LOCK, PID, EXIT, TIMES, WORK = "order.json", "lock", "pid", "exit", "times", "work"
STREAMS = ("stdout", "stderr")
KEEPER = ".keeper"  # the keeper's own directory; no project's name begins with a dot


class Process(NamedTuple):
    """A process that is never mistaken for another: numbers are used again, this is not."""

    number: int
    ticks: str  # from boot to its start
    boot: str
    started_at: float  # seconds since the epoch

    @classmethod
    def parse(cls, text: str) -> "Process":
        number, ticks, boot, started_at = text.split()
        return cls(int(number), ticks, boot, float(started_at))

    def __str__(self) -> str:
        return f"{self.number} {self.ticks} {self.boot} {self.started_at}"

    @property
    def is_alive(self) -> bool:
        return self.boot == boot_id() and self.ticks == ticks_of(self.number)


def ticks_of(pid: int) -> str | None:
    """When a process started, in the kernel's ticks since boot; None for a dead one.

    Source: proc(5), field 22 of /proc/PID/stat, counted after the name's closing bracket.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes 10 ms to import
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else fields[19].decode()


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
        return file.read().strip()


def write_whole(directory: int, name: str, text: str, *, durable: bool = False) -> None:
    """Write a file into an open directory; nobody ever sees a part of it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    file = os.open(f".{name}", flags, 0o600, dir_fd=directory)
    try:
        os.write(file, text.encode())
        if durable:
            os.fsync(file)
    finally:
        os.close(file)
    os.rename(f".{name}", name, src_dir_fd=directory, dst_dir_fd=directory)


def read_text(directory: int, name: str) -> str | None:
    try:
        file = os.open(name, os.O_RDONLY, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        return os.read(file, 2**20).decode()
    finally:
        os.close(file)


def directories(root: str) -> Iterator[str]:
    """The directories of all replicas: ROOT/project/app/replica."""
    level = [root]
    for _ in range(3):
        level = [below for parent in level for below in folders(parent)]
    yield from level


def folders(path: str) -> list[str]:
    """The folders in a folder, but for hidden ones; none when it is not there."""
    try:
        with os.scandir(path) as entries:
            return [
                entry.path
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return []
