"""Invariants of the log: what was acknowledged, in which order, once, and what it adds up to."""

import random
from collections.abc import Sequence
from typing import Final, final

from bus import codec
from bus.intents import Answer
from bus.log import StoredEvent
from domain.events import REVISING, AppEvent, Event
from domain.names import Ref
from projections.desired import DesiredState
from reconcilers import projecting
from simulation.disk import Disk
from simulation.invariants.violations import Invariant, Report

SAMPLED: Final = (
    0.01  # of positions, at which a rebuild and a snapshot are compared; live ones soon
)


@final
class HistoryInvariants:
    """Told of every commit and every answer."""

    def __init__(self, disk: Disk, report: Report, rng: random.Random) -> None:
        self._disk, self._report, self._rng = disk, report, rng
        self._last = 0
        self._answers: dict[tuple[str, str], Answer] = {}
        self._causes: dict[tuple[str, str], int] = {}
        self._commits = 0
        self._revisions: dict[str, int] = {}
        self.due: bool = False
        """Whether a prefix is to be checked at the next chance."""

    def committed(self, events: Sequence[StoredEvent]) -> None:
        """A group is on the disk."""
        self._commits += 1
        count = len(self._disk.events)
        if self._disk.count_sound(count - len(events)) != count:
            self._report(Invariant.ORDERED, f"no seal fits what was added after {self._last}")
        for event in events:
            if event.position <= self._last:
                self._report(Invariant.ORDERED, f"{event.position} came after {self._last}")
            self._last = event.position
            if self._rng.random() < SAMPLED:
                self.due = True
                self._check_snapshot(event.position, self._rebuilt(event.position))
            if not event.stream.endswith("#status"):
                self._check_once(event)

    def answered(self, actor: str, key: str, answer: Answer) -> None:
        """Somebody was told that an intent is on disk."""
        name = (actor, key)
        before = self._answers.setdefault(name, answer)
        if (before.position, before.changes) != (answer.position, answer.changes):
            self._report(Invariant.ONCE, f"{key} was answered {before} and then {answer}")
        self._check_durable(name, answer)

    def crashed(self) -> None:
        """A process is gone: what was acknowledged must be there."""
        for name, answer in self._answers.items():
            self._check_durable(name, answer)

    def lost(self, after: int) -> None:
        """The disk itself lost what came after a position, and nobody is to blame."""
        self._last = self._disk.head.position
        for name, answer in list(self._answers.items()):
            if answer.position > after or name not in self._disk.keys:
                del self._answers[name]
        self._causes.clear()
        self._revisions.clear()

    def prefix(self, desired: DesiredState) -> None:
        """Compare a live state with itself read again, a rebuild, and a snapshot with its tail."""
        live, rebuilt = desired.dump(), self._rebuilt(desired.position)
        if rebuilt != live:
            self._report(Invariant.PURE, f"states at {desired.position} differ from a rebuild")
        again = DesiredState(codec.decode)
        again.load(live)
        if again.dump() != live:
            self._report(Invariant.PURE, f"the state at {desired.position} is read as another")
        self._check_snapshot(desired.position, rebuilt)

    def _rebuilt(self, position: int) -> bytes:
        """The state at a position, from nothing but the log."""
        rebuilt = DesiredState(codec.decode)
        rebuilt.fold(self._disk.events[: self._disk.count_to(position)])
        rebuilt.position = position
        return rebuilt.dump()

    def _check_snapshot(self, position: int, rebuilt: bytes) -> None:
        """The newest snapshot that is not behind a position gives the same, with its tail."""
        disk = self._disk
        for snapshot in disk.snapshots.found(projecting.name()):
            here = snapshot.position <= position
            if not here or snapshot.seal != disk.seal_at(snapshot.position):
                continue
            state = DesiredState(codec.decode)
            state.load(snapshot.data)
            for event in disk.events[disk.count_to(snapshot.position) : disk.count_to(position)]:
                state.fold([event])
            state.position = position
            if state.dump() != rebuilt:
                words = f"the snapshot at {snapshot.position} gives another state at {position}"
                self._report(Invariant.PURE, words)
            return

    def _check_durable(self, name: tuple[str, str], answer: Answer) -> None:
        known = self._disk.keys.get(name)
        if known is None:
            self._report(Invariant.DURABLE, f"the log knows nothing of {name[1]!r}")
            return
        positions = known[1].positions
        if positions and positions[-1] != answer.position:
            self._report(Invariant.ONCE, f"{name[1]!r} is at {positions}, not {answer.position}")

    def _check_once(self, event: StoredEvent) -> None:
        """All events of one cause come from one commit."""
        try:
            decoded = codec.decode(event.type, event.data)
        except codec.Undecodable:
            return
        self._check_decided(event, decoded)
        cause = (decoded.actor, decoded.cause)
        commit = self._causes.setdefault(cause, self._commits)
        if commit != self._commits:
            self._report(Invariant.ONCE, f"{cause[1]!r} took effect twice, at {event.position} too")

    def _check_decided(self, event: StoredEvent, decoded: Event) -> None:
        """Revisions of an app follow each other without a gap, and none is made twice."""
        if not isinstance(decoded, AppEvent):
            return
        before = self._revisions.get(event.stream)
        self._revisions[event.stream] = decoded.revision
        if before is None:  # the first that is heard of it
            return
        makes = event.type in REVISING
        if decoded.revision != before + makes and (makes or decoded.revision != before):
            made = f"revision {decoded.revision} after {before}"
            self._report(Invariant.DECIDED, f"{event.type} in {event.stream} made {made}")


def app_of(event: StoredEvent) -> Ref | None:
    """The app that an event shapes, if it shapes one."""
    if "#" in event.stream or not event.stream.startswith("App/"):
        return None
    return Ref.parse(event.stream)
