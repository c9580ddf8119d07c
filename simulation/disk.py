"""What a log leaves on its disk: it outlives every life of the control plane.

A group is written, then synced; only then it is there to be read. A crash between the two keeps
it, loses it or tears it, as the luck of the world has it; `recover` drops what is not whole. The
head file knows the newest position as of a moment ago, so that a log that lost what was synced is
recognised.
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
TORN: Final = 40  # bytes that a torn record lacks: its checksum, and the end of its events

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


class Recovered(NamedTuple):
    """What was not whole: bytes of a torn record, and the last position before a wrong bit."""

    torn: int
    sound: int | None


@final
class Disk:
    """The durable part. `events` are those synced, in order of their positions."""

    def __init__(self) -> None:
        self.events: list[StoredEvent] = []
        self.keys: dict[KeyName, tuple[bytes, Appended]] = {}
        self.snapshots = Snapshots()
        self.writing: Group | None = None
        self.torn: bytes | None = None  # what a crash left of a record
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

    def crash(self, *, keeps: bool, tears: bool = False) -> int:
        """The process is gone; return how many written events were lost with it.

        Args:
            keeps: whether what was written is on the disk all the same.
            tears: whether all but the end of it is there.
        """
        group, self.writing = self.writing, None
        if group is None:
            return 0
        if tears:
            self.torn = _record(group)[:-TORN]
            return len(group.events)
        if keeps:
            self.writing = group
            self.sync(group)
            return 0
        return len(group.events)

    def flip_a_bit(self, position: int) -> None:
        """One bit of an event is another from now on, and nobody is told."""
        at = self.count_to(position) - 1
        event = self.events[at]
        damaged = bytes([event.data[0] ^ 1]) + event.data[1:]
        self.events[at] = event._replace(data=damaged)

    def recover(self) -> Recovered:
        """Drop what is not whole, as whoever opens the log after a crash does.

        A last record that is torn was never acknowledged. Behind a wrong bit nothing is believed:
        a write-ahead log ends where its checksums do.
        """
        torn, self.torn = self.torn, None
        dropped = len(torn) if torn is not None and not _is_whole(torn) else 0
        sound = self.count_sound()
        return Recovered(dropped, None if sound == len(self.events) else self._position(sound))

    def count_sound(self, start: int = 0) -> int:
        """How many events there are before the first from `start` on that its seal does not fit."""
        for at in range(start, len(self.events)):
            if self._sealed(at, self.events[at]) != self._seals[at + 1]:
                return at
        return len(self.events)

    def _position(self, count: int) -> int:
        return self.events[count - 1].position if count else 0

    def _sealed(self, at: int, event: StoredEvent) -> bytes:
        position, stream, version, kind, data = event
        sealed = sha256(f"{position} {stream} {version} {kind} ".encode())
        sealed.update(self._seals[at])
        sealed.update(data)
        return sealed.digest()

    def lose_after(self, position: int) -> int:
        """Forget everything behind a position."""
        count = self.count_to(position)
        lost = self.events[count:]
        del self.events[count:], self._seals[count + 1 :]
        for stream in {event.stream: None for event in lost}:
            kept = [e for e in self._streams[stream] if e.position <= position]
            self._streams[stream] = kept
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
        self._seals.append(self._sealed(len(self._seals) - 1, event))


def _record(group: Group) -> bytes:
    """A group as it is written: its events, and the checksum that says that they are all there."""
    body = repr(group.events).encode()
    return body + sha256(body).digest()


def _is_whole(record: bytes) -> bool:
    return sha256(record[:-32]).digest() == record[-32:]
