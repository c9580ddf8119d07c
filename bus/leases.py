"""Leases: which worker decides over which partition of a target, and what workers see of it.

A partition is held by a worker's *session*, and a session lives while its worker renews it. No two
clocks are ever compared: a holder counts from before it asked, a bidder from after it saw.
What a holder may do hangs on `Holding`; who should hold what is `assignment`, the same for all.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol, final, override
from zlib import crc32


class Partition(NamedTuple):
    """A part of a target's keys, decided over by one worker at a time."""

    target: str
    number: int


def number_of(stream: str, partitions: int) -> int:
    """Which of a target's partitions a key belongs to; the same for everybody, for ever."""
    return crc32(stream.encode()) % partitions


class LeasesUnavailable(Exception):
    """The leases could not be read or written, or nobody knows whether they were."""


class LeaseRaced(Exception):
    """Somebody else wrote first: nothing was changed."""


class Entry(NamedTuple):
    """One record as it is kept. The revision grows with every write to any record."""

    key: str
    value: bytes
    revision: int


class Look(NamedTuple):
    """All records, and when (seconds since the epoch) their place was made, how long ago.

    Both by the clock of whoever keeps them. A place that is younger than a session can last may
    have replaced another, in which somebody still holds something.
    """

    entries: Sequence[Entry]
    born: int
    age_seconds: float


class LeaseStore(Protocol):
    """Where leases are kept: records that are written only on top of the revision last seen."""

    async def look(self) -> Look:
        """Read everything. What is old or mixed is harmless, what is made up is not.

        Raises:
            LeasesUnavailable: not now.
        """
        ...

    async def write(self, key: str, value: bytes, *, after: int, tell: bool = True) -> int:
        """Write a record on top of a revision (0: there is none), and return the new one.

        Args:
            key: of the record.
            value: what it says from now on.
            after: the revision that it must have until then.
            tell: others should look now.

        Raises:
            LeaseRaced: its revision is another.
            LeasesUnavailable: nobody knows whether it was written.
        """
        ...

    async def forget(self, entry: Entry) -> None:
        """Take a record away that nobody writes any more.

        Raises:
            LeasesUnavailable: not now.
        """
        ...

    async def news(self) -> None:
        """Return when somebody told that there is something to see."""
        ...


class Holding(Protocol):
    """What this worker may do now, by its leases."""

    def holds(self, partition: Partition) -> bool:
        """Whether it may begin something there: it decides over it, and hands nothing over."""
        ...

    def may_call(self, partition: Partition) -> bool:
        """Whether a call to the engine may start this very moment."""
        ...

    def epoch(self, partition: Partition) -> int:
        """The fence: it grows whenever the partition changes hands. 0: it is not held."""
        ...


@final
class HoldsAll(Holding):
    """The only worker there is: everything is its own, always, and needs nothing to be so."""

    @override
    def holds(self, partition: Partition) -> bool:
        return True

    @override
    def may_call(self, partition: Partition) -> bool:
        return True

    @override
    def epoch(self, partition: Partition) -> int:
        return 1


@final
class HoldsNone(Holding):
    """No worker at all: what there is, others decide over."""

    @override
    def holds(self, partition: Partition) -> bool:
        return False

    @override
    def may_call(self, partition: Partition) -> bool:
        return False

    @override
    def epoch(self, partition: Partition) -> int:
        return 0


class Member(NamedTuple):
    """A worker that lives. `serves` are the targets it may work on, `reaches` those that answer."""

    worker: str
    session: str
    serves: frozenset[str]
    reaches: frozenset[str]


def assignment(
    partitions: Iterable[Partition], members: Sequence[Member]
) -> Mapping[Partition, Member]:
    """Who should hold what: even, the same for all who know the same, and slow to change.

    Among the workers that reach a target the one with the highest score of partition and name has
    it, unless that one has its fair share already. Where nobody reaches a target, one of those that
    may work on it has it all the same, to say so. Source: rendezvous hashing (Thaler and
    Ravishankar, 1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2018).
    """
    found: dict[Partition, Member] = {}
    able = {one: able for one in sorted(partitions) if (able := _able(one, members))}
    if not able:
        return found
    share = -(-len(able) // len(members))
    load = dict.fromkeys((member.session for member in members), 0)
    for partition, candidates in able.items():
        least = max(share, min(load[one.session] for one in candidates) + 1)
        free = [one for one in candidates if load[one.session] < least]
        chosen = max(free, key=lambda one: (_score(partition, one.worker), one.session))
        load[chosen.session] += 1
        found[partition] = chosen
    return found


def _able(partition: Partition, members: Sequence[Member]) -> list[Member]:
    reaching = [one for one in members if partition.target in one.reaches]
    return reaching or [one for one in members if partition.target in one.serves]


def _score(partition: Partition, worker: str) -> bytes:
    text = f"{partition.target}/{partition.number}/{worker}"
    return blake2b(text.encode(), digest_size=8).digest()
