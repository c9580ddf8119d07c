"""What a plan of replicas is made from: what is wanted, what is seen, what past passes left. Pure.

Replicas are *new* when they are of the wanted revision and as it was ordered, else *old*. A
revision is *proven* once one of its replicas was ready, or its rollout completed earlier; until
then the revision before it keeps serving and is healed, and a *failing* one gets a single probe.
What serves is ready and, where a router sends it requests, reached by them: nothing ends for the
sake of a replica that is ready and not yet routed.
"""

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

import msgspec

from reconcilers.ports import Replica, ReplicaState


class Slot(NamedTuple):
    """A place for one replica of a revision."""

    revision: int
    number: int


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What one app should have on one target.

    `replicas` is 0 when it is stopped or deleted; `keep_dead` are the slots whose last dead replica
    is kept for its logs. `stable` is the last revision that completed a rollout (0: none).
    `startable` are the revisions whose image and secrets are at hand: no old replica ends for one
    that is not. `stalled` says that the revision missed its deadline. `waits` is why none may start
    yet although all is at hand, in a sentence, or empty. Of so many former revisions as `keep` says
    the replicas stay, stopped; `returns` says that those like the wanted one are started again, for
    what is wanted is not what serves: else somebody wants new ones, as by a restart.
    """

    uid: int
    revision: int
    digest: str
    replicas: int
    keep_dead: int = 0
    stable: int = 0
    surge: int = 1
    max_unavailable: int = 0
    stop_first: bool = False
    startable: Set[int] = frozenset()
    stalled: bool = False
    waits: str = ""
    keep: int = 0
    returns: bool = False


class Seen(msgspec.Struct, frozen=True):
    """A replica and what health says of it. `failed` is why it must be replaced, or empty.

    `known` is False until its health was asked for the first time, as after a restart. `routed` is
    False while a router that should send it requests does not do so yet.
    """

    replica: Replica
    ready: bool = False
    failed: str = ""
    known: bool = True
    routed: bool = True

    @property
    def serves(self) -> bool:
        """Whether requests are answered by it: only then may another end for it."""
        return self.ready and self.routed

    @property
    def slot(self) -> Slot:
        return Slot(self.replica.name.revision, self.replica.name.slot)

    @property
    def revision(self) -> int:
        return self.replica.name.revision

    @property
    def number(self) -> int:
        return self.replica.name.slot


class Memory(msgspec.Struct, frozen=True):
    """What past passes left: the last attempt of each slot, when a slot may start again, and the

    attempts that are over: died, refused, or ended by us.
    """

    attempts: Mapping[Slot, int] = {}
    not_before: Mapping[Slot, float] = {}
    spent: Set[tuple[Slot, int]] = frozenset()


class View:
    """The replicas of one app, sorted into what they are to the decision."""

    def __init__(self, want: Want, seen: Sequence[Seen], memory: Memory) -> None:
        ordered = sorted(seen, key=lambda s: s.replica.name)
        self.strangers = [s for s in ordered if s.replica.uid != want.uid]
        mine = [s for s in ordered if s.replica.uid == want.uid]
        self.unstarted = [s for s in mine if _waits(s, want, memory)]
        self.kept = [s for s in mine if s.replica.state is ReplicaState.KEPT]
        others = (*self.unstarted, *self.kept)
        self.dead = [s for s in mine if not runs(s) and s not in others]
        self.failed = [s for s in mine if runs(s) and s.failed]
        live = [s for s in mine if runs(s) and not s.failed]
        self.new: dict[int, Seen] = {}
        self.old: list[Seen] = []
        self.doubles: list[Seen] = []
        for one in sorted(live, key=lambda s: (not s.serves, not s.ready, s.replica.name)):
            if not _is_new(one, want):
                self.old.append(one)
            elif one.number in self.new:
                self.doubles.append(one)
            else:
                self.new[one.number] = one
        self.old.sort(key=lambda s: (s.number, s.ready, s.replica.name))
        self.ready_new = {number for number, one in self.new.items() if one.ready}
        self.serving_new = {number for number, one in self.new.items() if one.serves}
        self.proven = want.revision == want.stable or bool(self.ready_new)
        tried = {s.slot for s in self.dead if s.revision == want.revision}
        tried |= {s for s, n in memory.attempts.items() if n > 1 and s.revision == want.revision}
        self.failing = not self.proven and (want.stalled or bool(tried))

    @property
    def serving(self) -> int:
        """How many replicas serve, of whatever revision."""
        return len(self.serving_new) + sum(1 for one in self.old if one.serves)


def is_there(want: Want, seen: Sequence[Seen]) -> bool:
    """Whether each slot has one replica, as wanted and ready, and nothing else is there."""
    slots = {
        one.number
        for one in seen
        if one.ready
        and not one.failed
        and one.replica.uid == want.uid
        and runs(one)
        and _is_new(one, want)
    }
    return 0 < len(seen) == len(slots) == want.replicas == max(slots) + 1


def runs(one: Seen) -> bool:
    return one.replica.state is ReplicaState.RUNNING


def _is_new(one: Seen, want: Want) -> bool:
    replica = one.replica
    as_ordered = replica.digest == want.digest and not replica.edited
    return replica.name.revision == want.revision and as_ordered


def _waits(one: Seen, want: Want, memory: Memory) -> bool:
    """Whether it was created but never started, and may still be."""
    return (
        one.replica.state is ReplicaState.CREATED
        and one.number < want.replicas
        and one.replica.digest != ""
        and (one.slot, one.replica.name.attempt) not in memory.spent
    )
