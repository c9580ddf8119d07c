"""Limits of CPU and memory, and a fence around what a replica starts.

Each replica gets control groups of its own where the kernel and our rights allow: version 2 (one
group) or version 1 (one below `memory` and one below `cpu`). Without them memory is limited by
RLIMIT_DATA, per process instead of per replica, and CPU is not limited; `unenforced` says so.
RLIMIT_AS is not used: runtimes that only reserve address space would die of it.
"""

import contextlib
import hashlib
import os
import signal
from pathlib import Path
from typing import NamedTuple

from adapters.keeping.files import folders

_PERIOD = 100_000  # microseconds over which CPU time is counted; the kernel's default


class Fence(NamedTuple):
    """cgroups: the folders of the groups to join.

    data_bytes: for RLIMIT_DATA.
    unenforced: which limits do not hold, in a sentence; empty when all do.
    """

    cgroups: tuple[str, ...] = ()
    data_bytes: int | None = None
    unenforced: str = ""


class Limits:
    """The control groups below `root` that belong to one owner, and to nobody else."""

    def __init__(self, root: Path, owner: str) -> None:
        self._root = root
        self._ours = Path("stateward", owner)

    def fence(self, name: str, cpu_millis: int | None, memory_bytes: int | None) -> Fence:
        """Make the groups of a replica. Twice is as once."""
        try:
            if (self._root / "cgroup.controllers").exists():
                return Fence((self._version_2(name, cpu_millis, memory_bytes),))
            return Fence(self._version_1(name, cpu_millis, memory_bytes))
        except OSError as error:
            why = f"control groups are out of reach ({error.strerror}: {error.filename})"
        cpu = f"its CPU limit of {cpu_millis}m does not hold: {why}" if cpu_millis else ""
        memory = f"its memory limit holds per process only: {why}" if memory_bytes else ""
        return Fence((), memory_bytes, "; ".join(filter(None, (cpu, memory))))

    def _version_2(self, name: str, cpu_millis: int | None, memory_bytes: int | None) -> str:
        group = self._root
        for part in self._ours.parts:
            _write(group / "cgroup.subtree_control", "+cpu +memory")
            group /= part
            group.mkdir(exist_ok=True)
        _write(group / "cgroup.subtree_control", "+cpu +memory")
        group /= name
        group.mkdir(exist_ok=True)
        if memory_bytes:
            _write(group / "memory.max", str(memory_bytes))
        if cpu_millis:
            _write(group / "cpu.max", f"{cpu_millis * _PERIOD // 1000} {_PERIOD}")
        return str(group)

    def _version_1(
        self, name: str, cpu_millis: int | None, memory_bytes: int | None
    ) -> tuple[str, ...]:
        memory, cpu = (self._root / kind / self._ours / name for kind in ("memory", "cpu"))
        for kind in ("memory", "cpu"):
            if not (self._root / kind / "cgroup.procs").exists():
                raise FileNotFoundError(0, "no such hierarchy", str(self._root / kind))
        memory.mkdir(parents=True, exist_ok=True)
        cpu.mkdir(parents=True, exist_ok=True)
        if memory_bytes:
            _write(memory / "memory.limit_in_bytes", str(memory_bytes))
        if cpu_millis:
            _write(cpu / "cpu.cfs_quota_us", str(cpu_millis * _PERIOD // 1000))
        return str(memory), str(cpu)

    def empty(self, cgroups: tuple[str, ...]) -> None:
        """Kill whatever is left in the groups, also what left its process group."""
        for group in cgroups:
            with contextlib.suppress(FileNotFoundError):
                for pid in Path(group, "cgroup.procs").read_text(encoding="ascii").split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)

    def clear(self, cgroups: tuple[str, ...]) -> None:
        """Remove the groups; the owner's own as well, with the last one.

        Raises:
            OSError: something in them does not die.
        """
        for group in cgroups:
            with contextlib.suppress(FileNotFoundError):
                Path(group).rmdir()
            with contextlib.suppress(OSError):
                Path(group).parent.rmdir()

    def strays(self, names: set[str]) -> tuple[str, ...]:
        """The owner's groups of replicas that are not among `names`."""
        return tuple(
            path
            for hierarchy in ("", "memory", "cpu")
            for path in folders(str(self._root / hierarchy / self._ours))
            if Path(path).name not in names
        )

    def ran_out(self, cgroups: tuple[str, ...]) -> bool:
        """Whether the kernel killed something in the groups for its memory."""
        for group in cgroups:
            for name in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    text = Path(group, name).read_text(encoding="ascii")
                    counts = dict(line.split() for line in text.splitlines())
                    return counts.get("oom_kill", "0") != "0"
        return False


def owner(installation: str, data: Path) -> str:
    """Whose groups those of a data directory are: several targets of a host have one installation.

    What is in a group and in no directory is ended, so nobody may see the groups of another.
    """
    return f"{installation}-{hashlib.sha256(bytes(data)).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    # Opened without O_CREAT: in a group that has no such limit, this says so.
    with path.open("r+", encoding="ascii") as file:
        file.write(text)
