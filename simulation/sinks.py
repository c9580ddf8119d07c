"""Where a control plane's words go: all that others may read is searched for secrets.

All secret values of simulated worlds hold one mark, so that finding it anywhere is proof. Lines of
logs, events, messages, statuses and answers are searched as they come; what a disk keeps, and what
clients were refused, when the world ends.
"""

import base64
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, final, override

import msgspec
import structlog

from reconcilers.object_ports import Json, ObjectKey
from reconcilers.status import AppStatus, StatusMemory, StatusStore, TargetStatus
from simulation.asking import SECRET_MARK
from simulation.disk import Disk
from simulation.invariants.violations import Invariant, Report

type Found = Callable[[str], None]

MARK: Final = SECRET_MARK.encode()
ENCODED: Final = base64.b64encode(MARK[:15])  # as the data of a Secret begins
_encode: Final = msgspec.json.Encoder().encode


@final
class Sinks:
    """Reports every sink that a secret value got into."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def read(self, sink: str, *words: bytes | str) -> None:
        """Something got into a sink; `sink` names it in the report."""
        for one in words:
            text = one.encode() if isinstance(one, str) else one
            if MARK in text or ENCODED in text:
                self._report(Invariant.SECRET, f"{sink} holds a value: {one[:200]!r}")

    def search_objects(self, objects: Iterable[tuple[ObjectKey, Json]]) -> None:
        """Look at the objects of a cluster: a value is in a Secret's data and nowhere else."""
        for key, body in objects:
            shown = {n: v for n, v in body.items() if key.kind != "Secret" or n != "data"}
            self.read(f"{key}", _encode(shown))

    def search(self, disk: Disk) -> None:
        """Look at what a disk keeps beside its events."""
        for (_, key), (_, appended) in disk.keys.items():
            self.read(f"the outcome kept under {key!r}", appended.outcome)
        for name, snapshots in disk.snapshots.kept.items():
            for snapshot in snapshots:
                self.read(f"the snapshot {name} at {snapshot.position}", snapshot.data)


@final
class ReadStatuses(StatusStore):
    """The statuses of one life, or of several that share them; `read` gets each that is put."""

    def __init__(self, read: Callable[[str, bytes], None]) -> None:
        self._read, self._inner = read, StatusMemory()
        self._words: dict[str, tuple[object, ...]] = {}

    @override
    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None:
        words = status.conditions, status.replicas, status.certificates  # the rest are numbers
        if self._words.get(stream) != words:
            self._words[stream] = words
            self._read(f"the status of {stream}", _encode(status))
        self._inner.put(stream, status, epoch, asked)

    @override
    def get(self, stream: str) -> AppStatus | None:
        return self._inner.get(stream)

    @override
    def drop(self, stream: str) -> None:
        self._inner.drop(stream)

    @override
    def put_target(self, name: str, status: TargetStatus, epoch: int = 1) -> None:
        self._read(f"the status of target {name}", _encode(status))
        self._inner.put_target(name, status, epoch)

    @override
    def get_target(self, name: str) -> TargetStatus | None:
        return self._inner.get_target(name)

    @override
    def changes(self) -> Sequence[str]:
        return self._inner.changes()


@contextmanager
def heard(broken: Callable[[str], None], found: Found) -> Iterator[None]:
    """Listen to all logs inside: `found` gets lines with a secret, `broken` reports of bugs."""

    def listen(
        _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        text = str(event)
        if SECRET_MARK in text:
            found(text)
        if method == "exception" or event.get("exc_info"):
            broken(_told(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[listen], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _told(event: MutableMapping[str, Any]) -> str:
    """The event of a log line with its error, if it names one."""
    error = sys.exc_info()[1]
    return f"{event.get('event')}: {error!r}"
