"""Status: what an app is like now, as people and programs read it.

Computed from desired and observed by one pure function (`reconcilers.judging`), published by the
worker that owns the app, served with its age by whoever asks. It is never in the log; only
transitions are.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, final, override

import msgspec

type Truth = Literal["True", "False", "Unknown"]

CONDITIONS: Final = ("Ready", "Progressing", "Degraded", "Synced", "Paused", "Routed", "Certified")
"""The last two only of apps that have routes, and routes with TLS."""


class Condition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One claim about a resource, with a reason for programs and a sentence for people."""

    type: str
    status: Truth
    reason: str
    message: str
    last_transition_time: float = 0.0


class ReplicaStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One replica. `addresses` maps port names to `host:port`, reachable from this host."""

    name: str
    revision: int
    slot: int
    attempt: int
    state: str
    ready: bool
    message: str = ""
    started_at: float | None = None
    exit_code: int | None = None
    addresses: Mapping[str, str] = {}


class AppStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An app as it was seen at `observed_at` (seconds since the epoch).

    `observed_generation` is the generation the conditions speak of. `serving` is the revision
    that the ready replicas run (the newest if several). `certificates` says of hosts of its routes
    when their certificate ends (seconds since the epoch).
    """

    uid: int
    observed_generation: int
    observed_at: float
    revision: int
    serving: int
    wanted: int
    ready: int
    updated: int
    conditions: tuple[Condition, ...]
    replicas: tuple[ReplicaStatus, ...] = ()
    certificates: Mapping[str, float] = {}

    def condition(self, kind: str) -> Condition | None:
        for condition in self.conditions:
            if condition.type == kind:
                return condition
        return None

    def is_true(self, kind: str) -> bool:
        found = self.condition(kind)
        return found is not None and found.status == "True"


class TargetStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Whether a target answers, since when it is so, and how many replicas are ours there.

    `worker` decides over it, or over its first partition; empty where there is only one.
    """

    answers: bool
    message: str
    observed_at: float
    replicas: int
    worker: str = ""


class Term(NamedTuple):
    """By which right a status was put: by the last event of the app that was known, and the lease.

    `asked` is the position of that event, `epoch` the fence of that lease.
    """

    asked: int
    epoch: int

    def replaces(self, other: "Term") -> bool:
        """Whether what is put by this may replace what was put by another.

        An app that moves has another fence, which may be lower: only those of one target compare.
        A history that went backwards is told by who told it before.
        """
        if self.asked != other.asked and self.epoch != other.epoch:
            return self.asked > other.asked
        return self.epoch >= other.epoch


class StatusStore(Protocol):
    """Where statuses are published. The last one wins, and before it the better `Term`.

    `epoch` is the fence of whoever decides over what the status is about, `asked` the position of
    the app's last event as far as it is known there.
    """

    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None: ...

    def get(self, stream: str) -> AppStatus | None: ...

    def drop(self, stream: str) -> None: ...

    def put_target(self, name: str, status: TargetStatus, epoch: int = 1) -> None: ...

    def get_target(self, name: str) -> TargetStatus | None: ...

    def changes(self) -> Sequence[str]:
        """The streams whose status was put since the last call."""
        ...


@final
class StatusMemory(StatusStore):
    """The store of one process."""

    def __init__(self) -> None:
        self._apps: dict[str, tuple[AppStatus, Term]] = {}
        self._targets: dict[str, tuple[TargetStatus, int]] = {}
        self._changed: dict[str, None] = {}

    @override
    def put(self, stream: str, status: AppStatus, epoch: int = 1, asked: int = 0) -> None:
        known, term = self._apps.get(stream), Term(asked, epoch)
        if known is None or term.replaces(known[1]):
            self._apps[stream] = status, term
            self._changed[stream] = None

    @override
    def get(self, stream: str) -> AppStatus | None:
        found = self._apps.get(stream)
        return found[0] if found is not None else None

    @override
    def drop(self, stream: str) -> None:
        self._apps.pop(stream, None)

    @override
    def put_target(self, name: str, status: TargetStatus, epoch: int = 1) -> None:
        known = self._targets.get(name)
        if known is None or known[1] <= epoch:
            self._targets[name] = status, epoch

    @override
    def get_target(self, name: str) -> TargetStatus | None:
        found = self._targets.get(name)
        return found[0] if found is not None else None

    @override
    def changes(self) -> Sequence[str]:
        changed = list(self._changed)
        self._changed.clear()
        return changed
