"""The directories of one installation's replicas, read as the state of each.

DATA/replicas/PROJECT/APP/rREVISION.SLOT.ATTEMPT appears whole, with its order in it, or not at
all. A replica runs while its lock is held and no exit is written: a bare process number is never
believed.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from adapters.keeping.files import (
    EXIT,
    KEEPER,
    LOCK,
    ORDER,
    PID,
    WORK,
    Process,
    folders,
    read_text,
    write_whole,
)
from adapters.process.filed import OUT_OF_MEMORY, Ended, Filed, Slot, touched, why
from reconcilers.ports import Replica, ReplicaName, ReplicaState

_ENDED = (ReplicaState.EXITED, ReplicaState.KEPT)
_KEPT = "kept"  # a file beside the exit of one that was stopped to be kept


class Slots:
    """All replicas of one installation below `root`."""

    def __init__(
        self,
        root: Path,
        installation: str,
        ran_out_of_memory: Callable[[tuple[str, ...]], bool] = lambda _cgroups: False,
    ) -> None:
        self.root = root
        self._ran_out_of_memory = ran_out_of_memory
        self.installation = installation
        self._known: dict[str, Slot] = {}

    def path(self, name: ReplicaName) -> str:
        leaf = f"r{name.revision}.{name.slot}.{name.attempt}"
        return f"{self.root}/{name.project}/{name.app}/{leaf}"

    def list(self, app: tuple[str, str] | None) -> list[Slot]:
        """Every replica's present state, ordered by path."""
        slots = [slot for leaf in _leaves(self.root, app) if (slot := self.at(leaf))]
        if app is None:
            self._known = {slot.path: slot for slot in slots}
        return slots

    def taken_ports(self) -> set[int]:
        """Ports of replicas that may run, as far as they have been looked at."""
        return {
            address.number
            for slot in tuple(self._known.values())
            if slot.replica.state not in _ENDED
            for address in slot.replica.addresses
        }

    def find(self, name: ReplicaName) -> Slot | None:
        return self.at(self.path(name))

    def at(self, path: str) -> Slot | None:
        """Read one directory; None when it is not there, or not this installation's."""
        known = self._known.get(path)
        if known and _is_as_known(known):
            return known
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            self._known.pop(path, None)
            return None
        try:
            inode = os.fstat(directory).st_ino
            if known is None or known.inode != inode:
                known = self._read(path, inode, directory)
            if known and known.replica.state not in _ENDED:
                replica = self._state(directory, known.replica, known.filed)
                known = known._replace(replica=replica)
        finally:
            os.close(directory)
        if known:
            self._known[path] = known
        return known

    def _read(self, path: str, inode: int, directory: int) -> Slot | None:
        try:
            filed = msgspec.json.decode(read_text(directory, ORDER) or "", type=Filed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None  # Whatever it is, it is not ours.
        if filed.installation != self.installation or self.path(filed.name) != path:
            return None
        replica = Replica(
            id=filed.name.of(filed.installation),
            name=filed.name,
            uid=filed.uid,
            digest=filed.digest,
            position=filed.position,
            state=ReplicaState.CREATED,
            addresses=filed.addresses,
            reason=filed.unenforced,
        )
        return Slot(path, inode, filed, replica)

    def _state(self, directory: int, replica: Replica, filed: Filed) -> Replica:
        """Bring a replica that has not ended up to date."""
        if (ended := read_text(directory, EXIT)) is not None:
            return self._ended(directory, replica, filed, ended)
        written = read_text(directory, PID)
        if written is None:
            return replica
        if _is_locked(LOCK, directory):
            if replica.state is ReplicaState.RUNNING:
                return replica
            started_at = Process.parse(written).started_at
            return replace(replica, state=ReplicaState.RUNNING, started_at=started_at)
        ended = read_text(directory, EXIT)  # Perhaps written just before the lock was let go.
        return self._ended(directory, replica, filed, ended)

    def _ended(
        self, directory: int, replica: Replica, filed: Filed, written: str | None
    ) -> Replica:
        end = (
            msgspec.json.decode(written, type=Ended) if written else Ended(None, touched(directory))
        )
        process = read_text(directory, PID)
        reason = OUT_OF_MEMORY if self._ran_out_of_memory(filed.cgroups) else why(end.code)
        return replace(
            replica,
            state=ReplicaState.EXITED if read_text(directory, _KEPT) is None else ReplicaState.KEPT,
            started_at=Process.parse(process).started_at if process else None,
            finished_at=end.at,
            exit_code=end.code,
            reason="; ".join(filter(None, (reason, filed.unenforced))),
        )

    def create(self, filed: Filed) -> None:
        """Make a replica's directory.

        Raises:
            FileExistsError: there is one of that name.
        """
        path = Path(self.path(filed.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.root / KEEPER).mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self.root / KEEPER / f"new.{filed.name.of(filed.installation)}"
        shutil.rmtree(new, ignore_errors=True)  # Left by a crash, and nobody's.
        new.mkdir(mode=0o700)
        (new / WORK).mkdir(mode=0o755)
        directory = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        try:
            write_whole(directory, ORDER, msgspec.json.encode(filed).decode(), durable=True)
            os.fsync(directory)
        finally:
            os.close(directory)
        try:
            new.rename(path)
        except OSError as error:
            shutil.rmtree(new)
            raise FileExistsError(f"{path} is there already") from error

    def keep(self, slot: Slot) -> None:
        """Mark one that has ended as kept."""
        if slot.replica.state is ReplicaState.EXITED:
            (Path(slot.path) / _KEPT).touch()
            self._known.pop(slot.path, None)

    def inherit(self, slot: Slot, former: Slot) -> None:
        """Let one that has not run yet have the folder that a kept one worked in."""
        with contextlib.suppress(FileNotFoundError):  # it was moved, and then the rest had no time
            Path(former.path, WORK).rename(Path(slot.path, WORK))

    def discard(self, slot: Slot) -> None:
        """Remove the directory of what does not run, in one step for whoever looks."""
        self._known.pop(slot.path, None)
        gone = self.root / KEEPER / f"gone.{slot.inode}"
        try:
            Path(slot.path).rename(gone)
        except FileNotFoundError:
            return
        shutil.rmtree(gone)
        with contextlib.suppress(OSError):  # It has other replicas, or just got one.
            Path(slot.path).parent.rmdir()


def installations(root: Path, app: tuple[str, str] | None) -> set[str]:
    """Whose replicas are below `root`, or of one app there."""
    found: set[str] = set()
    for leaf in _leaves(root, app):
        with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
            filed = msgspec.json.decode(Path(leaf, ORDER).read_bytes(), type=Filed)
            found.add(filed.installation)
    return found


def _leaves(root: Path, app: tuple[str, str] | None) -> list[str]:
    """The directories where replicas may be, ordered by path within each app."""
    if app is not None:
        apps = [f"{root}/{app[0]}/{app[1]}"]
    else:
        apps = [path for project in folders(str(root)) for path in folders(project)]
    return [leaf for path in apps for leaf in sorted(folders(path))]


def _is_as_known(slot: Slot) -> bool:
    """Whether nothing has changed: the answer for nearly every replica of every sweep."""
    state = slot.replica.state
    try:
        if state is ReplicaState.CREATED or os.lstat(slot.path).st_ino != slot.inode:
            return False
        return state in _ENDED or (
            not os.access(f"{slot.path}/{EXIT}", os.F_OK) and _is_locked(f"{slot.path}/{LOCK}")
        )
    except FileNotFoundError:
        return False


def _is_locked(path: str, directory: int | None = None) -> bool:
    lock = os.open(path, os.O_RDWR, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
