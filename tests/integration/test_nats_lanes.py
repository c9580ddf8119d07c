"""Work on the same resource runs in order, and work that hangs holds nobody else."""

import asyncio
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from bus.nats.lanes import Lanes


def noting(
    done: list[str], name: str, after: asyncio.Event | None = None
) -> Callable[[], Awaitable[None]]:
    async def work() -> None:
        if after is not None:
            await after.wait()
        done.append(name)

    return work


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_work_waits_for_what_came_before_it_in_any_of_its_lanes() -> None:
    lanes, done, gate = Lanes(), list[str](), asyncio.Event()
    lanes.add(["a"], noting(done, "a1", gate))
    lanes.add(["b"], noting(done, "b1"))
    lanes.add(["a", "b"], noting(done, "both"))
    lanes.add(["b"], noting(done, "b2"))
    lanes.add(["c"], noting(done, "c1"))
    lanes.add([], noting(done, "none"))
    await settled()
    assert done == ["b1", "c1", "none"]
    gate.set()
    await settled()
    assert done == ["b1", "c1", "none", "a1", "both", "b2"]


async def test_stopping_ends_what_waits_and_what_runs() -> None:
    lanes, done, never = Lanes(), list[str](), asyncio.Event()
    lanes.add(["a"], noting(done, "a1", never))
    lanes.add(["a"], noting(done, "a2"))
    await settled()
    await lanes.stop()
    assert done == []


@given(works=st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 5)), max_size=20))
def test_order_within_each_lane_is_the_order_of_adding(works: list[tuple[set[str], int]]) -> None:
    async def run() -> list[int]:
        lanes, done = Lanes(), list[int]()

        def work(number: int, turns: int) -> Callable[[], Awaitable[None]]:
            async def take() -> None:
                for _ in range(turns):
                    await asyncio.sleep(0)
                done.append(number)

            return take

        for number, (names, turns) in enumerate(works):
            lanes.add(names, work(number, turns))
        for _ in range(400):
            await asyncio.sleep(0)
        return done

    done = asyncio.run(run())
    assert sorted(done) == list(range(len(works)))
    for lane in "abc":
        ran = [number for number in done if lane in works[number][0]]
        assert ran == sorted(ran)
