"""What is written about a replica, and what its end means."""

import os
import signal
from typing import NamedTuple

import msgspec

from adapters.keeping.files import PID, STREAMS
from reconcilers.ports import Address, Replica, ReplicaName

OUT_OF_MEMORY = "the kernel ended it or a part of it: it used more memory than its limit"
UNSEEN = "it ended while nobody watched; its exit code is unknown"


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """What `order.json` says: the order without its environment, and what was made for it."""

    installation: str
    name: ReplicaName
    uid: int
    digest: str
    position: int
    addresses: tuple[Address, ...]
    workdir: str
    stop_signal: str
    cgroups: tuple[str, ...]
    data_bytes: int | None
    unenforced: str


class Ended(msgspec.Struct, frozen=True):
    code: int | None
    at: float


class Slot(NamedTuple):
    """A directory, told from a later one of the same name by its inode."""

    path: str
    inode: int
    filed: Filed
    replica: Replica


def why(code: int | None) -> str:
    if code is None:
        return UNSEEN
    if code > 128 and (code - 128) in signal.Signals:
        return f"ended by {signal.Signals(code - 128).name}"
    return ""


def touched(directory: int) -> float:
    """When the program last wrote something: the best guess at its end."""
    return max(os.stat(name, dir_fd=directory).st_mtime for name in (PID, *STREAMS))
