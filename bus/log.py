"""The log: the one durable truth, as a port.

An append is all or nothing: every event of it, in order, with the versions it expects, or a named
error and nothing. When `append` returns, the events are on disk (fsync). Positions grow in commit
order; a hole is legal and never filled later, so a reader that asks for `after` its last position
misses nothing.

LogError
├── VersionConflict   a stream moved on: decide again on fresh state
├── KeyReused         the idempotency key was used for another intent: take a new key
├── LogRewound        the log is older than what it acknowledged: an operator must accept it
└── LogUnavailable    not now: nothing was appended (or the key tells), retrying may succeed
    ├── LogFull       no space: the log is read-only until there is space
    └── LogUnusable   not as it is set up: the message says what to change
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple, Protocol


class NewEvent(NamedTuple):
    """An event to append: its stream, its wire type (`app.scaled`) and its JSON."""

    stream: str
    type: str
    data: bytes


class StoredEvent(NamedTuple):
    """An event of the log. `version` counts from 1 in its stream, `position` in the whole log."""

    position: int
    stream: str
    version: int
    type: str
    data: bytes


class Head(NamedTuple):
    """The end of the log: its last position (0 when empty) and the seal over all up to there."""

    position: int
    seal: bytes


EMPTY: Final = Head(0, bytes(32))
"""The head of a log without events."""


class IdempotencyKey(NamedTuple):
    """Who asked, under which key, for what: `digest` is over the whole intent."""

    actor: str
    key: str
    digest: bytes


class Appended(NamedTuple):
    """What an append did.

    `positions` are those of its events, in order. `repeated` means the key was known: nothing was
    written, and `positions` and `outcome` are those of the first time.
    """

    positions: tuple[int, ...]
    outcome: bytes
    repeated: bool = False


class LogError(Exception):
    """The log did not do what was asked."""


class VersionConflict(LogError):
    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(
            f"stream {stream!r} is at version {actual}, not {expected}: somebody else was faster; "
            "read it again and decide afresh"
        )
        self.stream, self.expected, self.actual = stream, expected, actual


class KeyReused(LogError):
    def __init__(self, actor: str, key: str) -> None:
        super().__init__(
            f"idempotency key {key!r} of {actor!r} was already used for another intent; "
            "use a new key for a new intent"
        )
        self.actor, self.key = actor, key


class LogUnavailable(LogError):
    """The log cannot be reached or written now; retrying later may succeed."""


class LogFull(LogUnavailable):
    """There is no space to append; reading goes on, and appends work again once there is."""


class LogUnusable(LogUnavailable):
    """Somebody has to change something first: waiting alone does not help."""


class LogRewound(LogError):
    def __init__(self, *, head: int, seen: int, witness: str) -> None:
        super().__init__(
            f"the log ends at position {head}, but {witness} has seen position {seen}: "
            "it was restored from an old copy or damaged; nothing will be changed until "
            "`stateward verify` explains it and `stateward restore --accept-rewind` accepts it"
        )
        self.head, self.seen, self.witness = head, seen, witness


class Log(Protocol):
    """The append-only history of one installation."""

    async def append(
        self,
        events: Sequence[NewEvent],
        *,
        expect: Mapping[str, int],
        key: IdempotencyKey | None = None,
        outcome: bytes = b"",
    ) -> Appended:
        """Append `events` atomically and return once they are on disk.

        Args:
            events: in order; a stream's events get its next versions. May be empty, to record
                a key's outcome only.
            expect: the version each stream must be at (0: no event yet), for every stream that is
                relied on; checked inside the commit. A written stream that is not named takes its
                next version, whatever that is: only for facts that rely on nothing.
            key: recorded with `outcome` in the same commit. A key that is known with the same
                digest writes nothing and returns what the first append did.
            outcome: opaque to the log.

        Raises:
            VersionConflict: a stream is not at the expected version.
            KeyReused: the key is known with another digest.
            LogUnavailable: nothing is known to be written; with a key, asking again is safe.
            LogRewound: the log went backwards and nobody has accepted that yet.
        """
        ...

    async def read(self, after: int, limit: int) -> Sequence[StoredEvent]:
        """Return up to `limit` events with a position above `after`, in order."""
        ...

    async def stream(self, stream: str, after_version: int = 0) -> Sequence[StoredEvent]:
        """Return the events of one stream above `after_version`, in order; none if unknown."""
        ...

    async def head(self) -> Head: ...

    def tail(self, after: int) -> AsyncIterator[Sequence[StoredEvent]]:
        """Yield non-empty pages of all events above `after`, for ever, as they are committed.

        Waits for commits of this process and looks on a timer (2 s) for those of others.
        """
        ...


class WatchedLog(Log, Protocol):
    """A log as a control plane holds it open: it can say how it is without being asked for data."""

    @property
    def position(self) -> int:
        """The last position of the log, as far as this process has been told."""
        ...

    @property
    def rewound(self) -> LogRewound | None:
        """Why nothing is appended, when the log is older than what it acknowledged."""
        ...

    @property
    def read_only(self) -> str | None:
        """Why the store takes nothing new though it answers, while that is so."""
        ...

    def report_seen(self, position: int, witness: str) -> None:
        """Tell that `witness` (an owned object's label) knows a position of this log."""
        ...

    async def close(self) -> None:
        """Commit what waits, answer it, and let go of the store. Twice is as once."""
        ...


def once_more(rewound: LogRewound) -> LogRewound:
    """An error is raised once: its traceback belongs to one caller."""
    return LogRewound(head=rewound.head, seen=rewound.seen, witness=rewound.witness)
