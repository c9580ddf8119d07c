"""The simulated log under two writers, crashes and a disk that loses what it had.

The model is a list: what was acknowledged, and what a crash was said to have kept. The disk must
hold exactly that, in order, each key once; and a state that was folded as it came, or taken from a
snapshot, must be the one that the whole history gives.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from bus import codec
from bus.log import (
    Appended,
    IdempotencyKey,
    KeyReused,
    LogError,
    LogRewound,
    NewEvent,
    StoredEvent,
    VersionConflict,
)
from projections.desired import DesiredState, rebuilt
from simulation.disk import EMPTY_SEAL, Disk
from simulation.log import NOTE_SECONDS, LogFaults, SimulatedLog
from simulation.loop import VirtualLoop

SAMPLES: Final = Path(__file__).parent.parent / "support" / "event_samples"
KINDS: Final = ("app.defined", "app.scaled", "app.stopped", "app.deleted", "rollout.completed")
DATA: Final = {kind: (SAMPLES / f"{kind}.v1.json").read_bytes() for kind in KINDS}

WRITERS = st.sampled_from([0, 1])
STREAMS = st.sampled_from(["App/shop/web", "App/shop/api", "App/shop/web#status"])
EVENTS = st.lists(st.tuples(STREAMS, st.sampled_from(KINDS)), min_size=1, max_size=3)
KEYS = st.sampled_from(["", "", "k1", "k2"])
DIGESTS = st.sampled_from([b"one", b"other"])

type Events = Sequence[tuple[str, str]]


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.disk = Disk()
        self.faults = LogFaults()
        self.stops: int | None = None
        """The writer that ends between writing and syncing."""
        self.logs = [self._opened(0), self._opened(1)]
        self.events: list[StoredEvent] = []
        self.keys: dict[str, tuple[bytes, Appended]] = {}
        self.highest = 0
        """The highest position that anybody may have seen."""
        self.live = DesiredState(codec.decode)
        self.snapshots: list[tuple[int, bytes, bytes]] = []

    def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    # -- what writers do ----------------------------------------------------------------------

    @rule(writer=WRITERS, events=EVENTS, key=KEYS, digest=DIGESTS)
    def append(self, writer: int, events: Events, key: str, digest: bytes) -> None:
        self._expect(self.run(self._append(writer, events, key, digest)), events, key, digest)

    @rule(events=EVENTS, others=EVENTS, key=KEYS)
    def both_append_at_once(self, events: Events, others: Events, key: str) -> None:
        async def both() -> list[Appended | LogError]:
            one = self._append(0, events, key, b"one")
            other = self._append(1, others, key, b"one")
            return list(await asyncio.gather(one, other))

        first, second = self.run(both())
        earlier = not isinstance(second, Appended) or second.repeated or _before(first, second)
        for answer, asked in sorted(
            ((first, events), (second, others)), key=lambda pair: (pair[0] is first) != earlier
        ):
            self._expect(answer, asked, key, b"one")

    @rule(writer=WRITERS, events=EVENTS, stream=STREAMS, off=st.sampled_from([-1, 1, 2]))
    def append_at_another_version(self, writer: int, events: Events, stream: str, off: int) -> None:
        version = len(self._of(stream)) + off
        answer = self.run(self._append(writer, events, "", b"", {stream: version}))
        if self.logs[writer].rewound is None:
            assert isinstance(answer, VersionConflict)
            assert (answer.stream, answer.expected) == (stream, version)
            assert answer.actual == len(self._of(stream))
        else:
            assert isinstance(answer, LogRewound)

    @rule(writer=WRITERS, events=EVENTS, key=KEYS, digest=DIGESTS)
    def append_and_never_hear_of_it(
        self, writer: int, events: Events, key: str, digest: bytes
    ) -> None:
        """The answer is lost; whoever asks again under the same key learns what came of it."""
        if self.logs[writer].rewound is not None:
            return
        lost = LogError("its answer was lost")
        self.faults.swallows = lambda: lost
        answer = self.run(self._append(writer, events, key, digest))
        self.faults.swallows = lambda: None
        if answer is lost and (not key or key not in self.keys):
            self._take(len(events), key, digest)

    # -- what goes wrong ----------------------------------------------------------------------

    @rule(writer=WRITERS, events=EVENTS, key=KEYS, keeps=st.booleans())
    def crash_before_the_sync(self, writer: int, events: Events, key: str, keeps: bool) -> None:
        log = self.logs[writer]
        if log.rewound is not None:
            return
        written = self.run(self._crash(writer, events, key, keeps))
        self.logs[writer] = self._opened(writer)
        if keeps and written:
            self._take(written, key, b"one")
        self.highest = max(self.highest, self.disk.head.position)

    @rule(writer=WRITERS)
    def close_and_open_again(self, writer: int) -> None:
        self.run(self.logs[writer].close())
        self.logs[writer] = self._opened(writer)

    @precondition(lambda self: len(self.events) > 1)
    @rule(back=st.integers(1, 4))
    def the_disk_loses_its_newest(self, back: int) -> None:
        """While nobody has it open. Who opens it next must know, if the head file did."""
        for log in self.logs:
            log.abandon(keeps=True)
        kept = self.events[: max(0, len(self.events) - back)]
        self.disk.lose_after(kept[-1].position if kept else 0)
        gone = {event.position for event in self.events[len(kept) :]}
        self.events = list(kept)
        for key, (_, appended) in list(self.keys.items()):
            if gone.intersection(appended.positions):
                del self.keys[key]
        noted = self.disk.noted.position
        self.highest = noted
        self.logs = [self._opened(0), self._opened(1)]
        for log in self.logs:
            assert (log.rewound is not None) == (noted > self.disk.head.position)
        self.live = rebuilt(codec.decode, [self.disk.events])

    @rule(writer=WRITERS)
    def an_operator_accepts(self, writer: int) -> None:
        if self.logs[writer].rewound is None:
            return
        self.logs[writer].accept_rewind()
        self.logs[1 - writer] = self._opened(1 - writer)

    @rule(seconds=st.sampled_from([0.1, NOTE_SECONDS, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    # -- snapshots ----------------------------------------------------------------------------

    @rule()
    def a_snapshot_is_taken(self) -> None:
        position, seal = self.disk.head
        state = rebuilt(codec.decode, [self.disk.events])
        self.snapshots.append((position, seal, state.dump()))

    @precondition(lambda self: bool(self.snapshots))
    @rule(number=st.integers(0, 5))
    def a_snapshot_and_the_tail_give_the_whole(self, number: int) -> None:
        """One of another history is known by its seal."""
        position, seal, data = self.snapshots[number % len(self.snapshots)]
        whole = rebuilt(codec.decode, [self.disk.events])
        if position > self.disk.head.position or self.disk.seal_at(position) != seal:
            return
        state = DesiredState(codec.decode)
        state.load(data)
        state.fold(self.run(self.logs[0].read(position, 1_000_000)))
        assert state.dump() == whole.dump()

    # -- what must hold -----------------------------------------------------------------------

    @invariant()
    def what_was_acknowledged_is_there_in_order_and_once(self) -> None:
        log = self.logs[0]
        assert list(self.run(log.read(0, 1_000_000))) == self.events
        positions = [event.position for event in self.events]
        assert positions == sorted(set(positions))
        for stream in {event.stream for event in self.events}:
            assert list(self.run(log.stream(stream))) == self._of(stream)
            assert [e.version for e in self._of(stream)] == list(
                range(1, len(self._of(stream)) + 1)
            )

    @invariant()
    def seals_chain(self) -> None:
        seal = EMPTY_SEAL
        for event in self.events:
            said = f"{event.position} {event.stream} {event.version} {event.type} ".encode()
            seal = sha256(said + seal + event.data).digest()
            assert self.disk.seal_at(event.position) == seal
        assert self.disk.head.seal == seal

    @invariant()
    def every_key_is_answered_as_before(self) -> None:
        for key, (digest, appended) in self.keys.items():
            again = self.disk.keys["ada", key]
            assert again == (digest, appended)

    @invariant()
    def what_was_folded_as_it_came_is_what_the_history_gives(self) -> None:
        behind = self.disk.count_to(self.live.position)
        self.live.fold(self.disk.events[behind:])
        assert self.live.dump() == rebuilt(codec.decode, [self.disk.events]).dump()

    def teardown(self) -> None:
        for log in self.logs:
            log.abandon(keeps=True)
        self.runner.close()

    # -- the model ----------------------------------------------------------------------------

    def _opened(self, writer: int) -> SimulatedLog:
        async def syncing(_events: Sequence[StoredEvent]) -> None:
            if self.stops == writer:
                await asyncio.Event().wait()

        return SimulatedLog(self.disk, self.faults, syncing)

    async def _append(
        self,
        writer: int,
        events: Events,
        key: str,
        digest: bytes,
        expect: dict[str, int] | None = None,
    ) -> Appended | LogError:
        new = [NewEvent(stream, kind, DATA[kind]) for stream, kind in events]
        known = IdempotencyKey("ada", key, digest) if key else None
        try:
            return await self.logs[writer].append(
                new, expect=expect or {}, key=known, outcome=b"done"
            )
        except (LogError, KeyReused) as error:
            return error

    async def _crash(self, writer: int, events: Events, key: str, keeps: bool) -> int:
        """Let an append come as far as its sync, and take the process away; what it wrote."""
        self.stops = writer
        asked = asyncio.create_task(self._append(writer, events, key, b"one"))
        await asyncio.sleep(0.1)
        written = len(self.disk.writing.events) if self.disk.writing is not None else 0
        lost = self.logs[writer].abandon(keeps=keeps)
        assert lost == (0 if keeps else written)
        asked.cancel()
        self.stops = None
        await asyncio.sleep(0)
        return written

    def _expect(self, answer: Appended | LogError, events: Events, key: str, digest: bytes) -> None:
        """Hold an answer against the model."""
        known = self.keys.get(key)
        if isinstance(answer, LogRewound):
            assert any(log.rewound is not None for log in self.logs)
        elif isinstance(answer, KeyReused):
            assert known is not None
            assert known[0] != digest
        else:
            assert isinstance(answer, Appended)
            if known is not None:
                assert known == (digest, answer._replace(repeated=False))
                assert answer.repeated
                return
            self._take(len(events), key, digest)
            mine = self.events[len(self.events) - len(events) :]
            assert [(e.stream, e.type, e.data) for e in mine] == [
                (stream, kind, DATA[kind]) for stream, kind in events
            ]
            assert answer.positions == tuple(e.position for e in mine)

    def _take(self, count: int, key: str, digest: bytes) -> None:
        """The disk has taken in so many more events than the model knows, all of them new."""
        new = self.disk.events[len(self.events) :][:count]
        assert len(new) == count
        assert all(event.position > self.highest for event in new)
        self.events += new
        self.highest = new[-1].position
        if key:
            positions = tuple(event.position for event in new)
            self.keys[key] = (digest, Appended(positions, b"done"))

    def _of(self, stream: str) -> list[StoredEvent]:
        return [event for event in self.events if event.stream == stream]


def _before(one: Appended | LogError, other: Appended) -> bool:
    return isinstance(one, Appended) and not one.repeated and one.positions < other.positions


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=max(200, settings().max_examples), stateful_step_count=30)
