"""Workers share partitions through a bucket that loses, cuts and delays, on virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import final, override

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.lease_session import LeaseSettings
from bus.leases import Partition
from bus.leasing import Leasing, Tenant
from simulation import loop
from simulation.leases import Bucket, SimulatedLeases
from tests.support.intents import NOON

TTL = LeaseSettings().ttl
FLEET = [Partition("fleet", number) for number in range(8)]


@final
class Worker(Tenant):
    """Holds what it gets, and says when two of them do."""

    def __init__(
        self,
        name: str,
        way: SimulatedLeases,
        village: "Village",
        skew: float = 0.0,
        pace: float = 1.0,
    ) -> None:
        clock = asyncio.get_running_loop().time
        sessions = count(1)
        self.name, self.way, self.village = name, way, village
        self.leasing = Leasing(
            way,
            worker=name,
            new_session=lambda: f"{name}-{next(sessions)}",
            clock=lambda: skew + pace * clock(),
            settings=LeaseSettings(),
        )
        self.leasing.offer(FLEET, serves=["fleet"], reaches=["fleet"])
        self.busy: dict[Partition, asyncio.Event] = {}
        self.here: dict[Partition, None] = {}
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.leasing.run(self))

    async def die(self) -> None:
        """Without a word: its tasks are gone, and what it held stays in its name."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @override
    def gained(self, partition: Partition) -> None:
        self.here[partition] = None
        self.village.epochs.setdefault(partition, []).append(self.leasing.epoch(partition))

    @override
    async def finish(self, partition: Partition) -> None:
        if partition in self.busy:
            await self.busy[partition].wait()

    @override
    def lost(self, partition: Partition) -> None:
        del self.here[partition]


@final
class Village:
    def __init__(self) -> None:
        self.now = lambda: NOON.timestamp() + asyncio.get_running_loop().time()
        self.bucket = Bucket(self.now)
        self.workers: list[Worker] = []
        self.epochs: dict[Partition, list[int]] = {}

    def worker(self, name: str, *, skew: float = 0.0, pace: float = 1.0) -> Worker:
        worker = Worker(name, self.bucket.way(), self, skew, pace)
        self.workers.append(worker)
        worker.start()
        return worker

    def deciders(self, partition: Partition) -> list[str]:
        return [one.name for one in self.workers if one.leasing.may_call(partition)]

    async def watch(self) -> None:
        """Fail when two decide over one partition, at any moment."""
        while True:
            for partition in FLEET:
                assert len(self.deciders(partition)) <= 1, (partition, self.deciders(partition))
            await asyncio.sleep(0.01)

    async def until(self, holds: Callable[[], object], within: float = 60.0) -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            while not holds():
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began

    def is_shared(self, *workers: Worker) -> bool:
        held = [len(one.leasing.held) for one in workers]
        return sum(held) == len(FLEET) and max(held) <= -(-len(FLEET) // len(workers))


def play(story: Callable[[Village], Awaitable[None]]) -> None:
    async def main() -> None:
        village = Village()
        watching = asyncio.create_task(village.watch())
        await asyncio.sleep(2 * TTL)  # the bucket is no newcomer
        told = asyncio.create_task(_told(story, village))
        await asyncio.wait([watching, told], return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        for worker in village.workers:
            await worker.die()
        await told
        (seen,) = await asyncio.gather(watching, return_exceptions=True)
        assert isinstance(seen, asyncio.CancelledError), seen
        for epochs in village.epochs.values():
            assert epochs == sorted(set(epochs)), "a fence went back"

    loop.run(main())


async def _told(story: Callable[[Village], Awaitable[None]], village: Village) -> None:
    await story(village)
    await asyncio.sleep(1)  # what overlaps now is seen, too


def test_workers_share_and_who_joins_or_leaves_is_followed_within_seconds() -> None:
    async def story(village: Village) -> None:
        a = village.worker("a")
        assert await village.until(lambda: village.is_shared(a)) < 1
        b = village.worker("b")
        assert await village.until(lambda: village.is_shared(a, b)) < 2
        await b.leasing.leave()
        assert await village.until(lambda: village.is_shared(a)) < 2
        assert (a.leasing.takeovers, a.leasing.losses) == (0, 0)

    play(story)


def test_what_a_dead_worker_held_is_taken_after_its_time_and_not_before() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        await asyncio.sleep(7.3)
        await b.die()
        took = await village.until(lambda: village.is_shared(a))
        assert TTL - LeaseSettings().renew_every < took < TTL + 2
        assert a.leasing.takeovers == 4

    play(story)


def test_clocks_that_differ_by_minutes_and_a_little_in_pace_change_nothing() -> None:
    async def story(village: Village) -> None:
        a = village.worker("a", skew=60.0, pace=1.02)
        b = village.worker("b", skew=-60.0, pace=0.98)
        await village.until(lambda: village.is_shared(a, b))
        b.way.is_cut = True
        took = await village.until(lambda: village.is_shared(a))
        assert TTL - LeaseSettings().renew_every < took < TTL + 2
        b.way.is_cut = False
        await village.until(lambda: village.is_shared(a, b))

    play(story)


def test_who_is_cut_off_stops_before_another_begins_and_comes_back_with_a_new_session() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        b.way.is_cut = True
        await village.until(lambda: village.is_shared(a))
        assert not b.here
        assert b.leasing.losses == 4
        b.way.is_cut = False
        await village.until(lambda: village.is_shared(a, b))

    play(story)


def test_when_nobody_reaches_the_bucket_for_long_nobody_decides_and_then_all_go_on() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        for one in (a, b):
            one.way.is_cut = True
        await asyncio.sleep(3 * TTL)
        assert not any(village.deciders(one) for one in FLEET)
        for one in (a, b):
            one.way.is_cut = False
        assert await village.until(lambda: village.is_shared(a, b)) < 8
        assert (a.leasing.takeovers, b.leasing.takeovers) == (0, 0)  # each took up its own

    play(story)


def test_a_renewal_whose_answer_is_lost_counts_as_failed_and_the_next_goes_on() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        for _ in range(4):
            b.way.loses_answers = True
            await asyncio.sleep(TTL / 3)
            b.way.loses_answers = False
            await asyncio.sleep(TTL / 3)
        assert village.is_shared(a, b)
        b.way.loses_answers = True
        await village.until(lambda: not b.here, within=2 * TTL)  # applied, for all that it knows
        b.way.loses_answers = False
        await village.until(lambda: village.is_shared(a, b))

    play(story)


def test_a_lease_counts_from_before_its_renewal_was_asked_for() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        b.way.answer_delay_seconds = 2.4
        known, key = village.bucket.entries, "session.b-1"
        for _ in range(2):  # the second is written while the answer to it still has to come
            revision = known[key].revision
            await village.until(lambda: known[key].revision > revision)  # noqa: B023 -- awaited
        await asyncio.sleep(2.45)
        b.way.is_cut = True
        await village.until(lambda: village.is_shared(a))

    play(story)


def test_what_is_under_way_is_waited_for_but_not_for_ever() -> None:
    async def story(village: Village) -> None:
        a = village.worker("a")
        await village.until(lambda: village.is_shared(a))
        a.busy = {one: asyncio.Event() for one in FLEET}
        b = village.worker("b")
        await asyncio.sleep(2)
        going = [one for one in FLEET if not a.leasing.holds(one)]
        assert len(going) == 4
        assert all(a.leasing.may_call(one) for one in going)
        a.busy[going[0]].set()
        await asyncio.sleep(1)
        assert b.leasing.held == [going[0]]
        await asyncio.sleep(LeaseSettings().hand_over)
        assert village.is_shared(a, b)

    play(story)


def test_a_bucket_that_vanished_gives_nothing_away_before_the_old_leases_have_ended() -> None:
    async def story(village: Village) -> None:
        a = village.worker("a")
        await village.until(lambda: village.is_shared(a))
        a.way.is_cut = True
        village.bucket.vanish()
        b = village.worker("b")
        await asyncio.sleep(TTL - 1)
        assert not b.here
        await village.until(lambda: village.is_shared(b))
        a.way.is_cut = False
        await village.until(lambda: village.is_shared(a, b))

    play(story)


def test_a_holder_that_sees_a_new_bucket_keeps_the_fence_of_the_one_in_which_it_took() -> None:
    """Else it would be above that of whoever takes next, whose revisions begin anew."""

    async def story(village: Village) -> None:
        a = village.worker("a")
        await village.until(lambda: village.is_shared(a))
        first = FLEET[0]
        before = a.leasing.epoch(first)
        await asyncio.sleep(2)
        village.bucket.vanish()
        while first in a.here:
            assert a.leasing.epoch(first) == before
            await asyncio.sleep(0.01)
        b = village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        assert all(epochs == sorted(epochs) for epochs in village.epochs.values())

    play(story)


def test_a_target_moves_to_a_worker_that_reaches_it_and_stays_where_nobody_does() -> None:
    async def story(village: Village) -> None:
        a, b = village.worker("a"), village.worker("b")
        await village.until(lambda: village.is_shared(a, b))
        a.leasing.offer(FLEET, serves=["fleet"], reaches=[])
        await village.until(lambda: village.is_shared(b), within=10)
        b.leasing.offer(FLEET, serves=["fleet"], reaches=[])
        await village.until(lambda: village.is_shared(a, b), within=10)
        b.leasing.offer(FLEET, serves=[], reaches=[])
        await village.until(lambda: village.is_shared(a), within=10)
        a.leasing.offer([], serves=["fleet"], reaches=["fleet"])
        await village.until(lambda: not a.here, within=10)

    play(story)


faults = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["cut", "mend", "lose", "slow", "die", "vanish"]),
        st.floats(0, 15),
    ),
    max_size=25,
)


@pytest.mark.timeout(300)
@given(faults)
def test_never_do_two_decide_and_in_the_end_all_is_shared(
    steps: list[tuple[int, str, float]],
) -> None:
    async def story(village: Village) -> None:
        for name in "abc":
            village.worker(name)
        for number, (which, what, seconds) in enumerate(steps):
            worker = village.workers[which]
            match what:
                case "cut" | "mend":
                    worker.way.is_cut = what == "cut"
                case "lose":
                    worker.way.loses_answers = not worker.way.loses_answers
                case "slow":
                    worker.way.delay_seconds = seconds / 10
                case "vanish":
                    village.bucket.vanish()
                case _:
                    await worker.die()
                    village.workers[which] = Worker(f"{'abc'[which]}{number}", worker.way, village)
                    village.workers[which].start()
            await asyncio.sleep(seconds)
        for worker in village.workers:
            worker.way.is_cut = worker.way.loses_answers = False
            worker.way.delay_seconds = 0.001
        await village.until(lambda: village.is_shared(*village.workers), within=6 * TTL)

    play(story)
