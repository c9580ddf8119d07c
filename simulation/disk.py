"""What a log leaves on its disk: it outlives every life of the control plane.

A group is written, then synced; only then it is there to be read. A crash between the two keeps
it or loses it whole, as the luck of the world has it. The head file knows the newest position as
of a moment ago, so that a log that lost what was synced is recognised.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, final

from bus.log import (
    Appended,
    Head,
    IdempotencyKey,
    KeyReused,
    LogRewound,
    NewEvent,
    StoredEvent,
    VersionConflict,
)

EMPTY_SEAL: Final = b""

type KeyName = tuple[str, str]


class Snapshot(NamedTuple):
    """A projection as it was at `position`, under the log's seal there."""

    position: int
    seal: bytes
    data: bytes
    checksum: bytes

    def is_whole(self) -> bool:
        return sha256(self.data).digest() == self.checksum


@final
class Snapshots:
    """The snapshots on a disk: as a real store, it keeps two, and drops those of a lost future."""

    def __init__(self) -> None:
        self.kept: dict[str, list[Snapshot]] = defaultdict(list)

    def found(self, name: str) -> Sequence[Snapshot]:
        return list(reversed(self.kept[name]))

    def save(self, name: str, position: int, seal: bytes, data: bytes) -> None:
        older = [one for one in self.kept[name] if one.position < position]
        snapshot = Snapshot(position, seal, data, sha256(data).digest())
        self.kept[name] = [*older[-1:], snapshot]


class Request(NamedTuple):
    """One append, as the log's port takes it."""

    events: Sequence[NewEvent]
    expect: Mapping[str, int]
    key: IdempotencyKey | None
    outcome: bytes


@dataclass(slots=True)
class Group:
    """A transaction in the making: what it will add, when it is synced."""

    first: int
    versions: dict[str, int] = field(default_factory=dict)
    events: list[StoredEvent] = field(default_factory=list)
    keys: dict[KeyName, tuple[bytes, Appended]] = field(default_factory=dict)


@final
class Disk:
    """The durable part. `events` are those synced, in order of their positions."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.keys: dict[KeyName, tuple[bytes, Appended]] = {}
        self.snapshots = Snapshots()
        self.writing: Group | None = None
        self.noted = Head(0, EMPTY_SEAL)
        self.ceiling = 0
        self.accepted: list[LogRewound] = []
        self.told: Callable[[Sequence[StoredEvent]], None] = lambda _events: None
        self._streams: dict[str, list[StoredEvent]] = defaultdict(list)
        self._seals: list[bytes] = [EMPTY_SEAL]  # behind each event
        self._taken = 0  # the highest position ever handed out

    @property
    def head(self) -> Head:
        return Head(self.events[-1].position if self.events else 0, self._seals[-1])

    def seal_at(self, position: int) -> bytes:
        """The seal over everything up to `position`."""
        return self._seals[self.count_to(position)]

    def count_to(self, position: int) -> int:
        """How many events there are up to `position`; holes are legal."""
        low, high = 0, len(self.events)
        if high and self.events[-1].position <= position:
            return high  # most ask for what is new
        while low < high:
            middle = (low + high) // 2
            if self.events[middle].position <= position:
                low = middle + 1
            else:
                high = middle
        return low

    def stream(self, stream: str) -> Sequence[StoredEvent]:
        return self._streams.get(stream, ())

    # -- one transaction ----------------------------------------------------------------------

    def begin(self) -> Group:
        """Open the one transaction that there may be."""
        assert self.writing is None, "one process writes at a time"
        self.writing = Group(first=self._taken + 1)
        return self.writing

    def add(self, group: Group, request: Request) -> Appended:
        """Take an append into the group.

        Raises:
            KeyReused: the key is known with another digest.
            VersionConflict: a stream is not at the expected version.
        """
        key = request.key
        if key is not None:
            name = (key.actor, key.key)
            known = group.keys.get(name) or self.keys.get(name)
            if known is not None:
                if known[0] != key.digest:
                    raise KeyReused(key.actor, key.key)
                return known[1]._replace(repeated=True)
        for stream, version in request.expect.items():
            actual = self._version(group, stream)
            if actual != version:
                raise VersionConflict(stream, version, actual)
        appended = Appended(tuple(self._add(group, e) for e in request.events), request.outcome)
        if key is not None:
            group.keys[key.actor, key.key] = (key.digest, appended)
        return appended

    def sync(self, group: Group) -> None:
        """The group is on the disk: it can be read, and no crash takes it back."""
        assert self.writing is group, "only what was written is synced"
        self.writing = None
        for event in group.events:
            self._keep(event)
        self.keys.update(group.keys)
        if group.events:
            self.told(group.events)

    def note(self) -> None:
        """Write the head file."""
        self.noted = self.head

    def copy(self) -> "Disk":
        """Another disk with the same history, and nothing else."""
        other = Disk()
        for event in self.events:
            other._keep(event)
        other.keys, other._taken = dict(self.keys), self._taken
        other.note()
        return other

    def fill(self, events: Sequence[StoredEvent]) -> None:
        """Begin with a history from elsewhere: each event keeps its position."""
        assert not self.events, "a disk is filled once, while it is empty"
        for event in events:
            self._keep(event)
            self._taken = event.position
        self.note()

    # -- what goes wrong ----------------------------------------------------------------------

    def crash(self, *, keeps: bool) -> int:
        """The process is gone; return how many written events were lost with it."""
        group, self.writing = self.writing, None
        if group is None:
            return 0
        if keeps:
            self.writing = group
            self.sync(group)
            return 0
        return len(group.events)

    def lose_after(self, position: int) -> int:
        """Forget everything behind a position, as a flipped bit in a write-ahead log does."""
        count = self.count_to(position)
        lost = self.events[count:]
        del self.events[count:], self._seals[count + 1 :]
        for event in lost:
            self._streams[event.stream].remove(event)
        gone = {event.position for event in lost}
        for name, (_, appended) in list(self.keys.items()):
            if gone.intersection(appended.positions):
                del self.keys[name]
        self._taken = self.head.position
        return len(lost)

    def rewound(self) -> LogRewound | None:
        """Whether the head file has seen more than there is."""
        noted, head = self.noted, self.head
        if noted.position > head.position:
            return LogRewound(head=head.position, seen=noted.position, witness="its head file")
        if noted.position and self.seal_at(noted.position) != noted.seal:
            witness = "its head file, which knows another history,"
            return LogRewound(head=head.position, seen=noted.position, witness=witness)
        return None

    def accept(self, rewound: LogRewound) -> None:
        """An operator has: positions that were seen are never handed out again."""
        self.accepted.append(rewound)
        self.ceiling = max(self.ceiling, rewound.seen)
        self._taken = max(self._taken, rewound.seen)
        self.note()

    def _version(self, group: Group, stream: str) -> int:
        return group.versions.get(stream, len(self._streams.get(stream, ())))

    def _add(self, group: Group, event: NewEvent) -> int:
        version = group.versions[event.stream] = self._version(group, event.stream) + 1
        self._taken += 1
        group.events.append(StoredEvent(self._taken, event.stream, version, event.type, event.data))
        return self._taken

    def _keep(self, event: StoredEvent) -> None:
        self.events.append(event)
        self._streams[event.stream].append(event)
        self._seals.append(sha256(self._seals[-1] + repr(event).encode()).digest())
