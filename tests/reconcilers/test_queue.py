"""The order in which keys are looked at, and what waits for what."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from hypothesis import given
from hypothesis import strategies as st

from reconcilers.queue import BACKOFF_MOST, KeyQueue, Priority
from simulation import loop

INTENT, ENGINE, REPLAY = Priority.INTENT, Priority.ENGINE, Priority.REPLAY


def play(story: Callable[[KeyQueue], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(KeyQueue(clock=asyncio.get_running_loop().time, rng=random.Random(1)))

    loop.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def take(queue: KeyQueue) -> str:
    key, _, _ = await queue.get()
    return key


def test_fresh_intents_go_before_engine_events_and_those_before_replay_ticks() -> None:
    async def story(queue: KeyQueue) -> None:
        for key, priority in (("c", REPLAY), ("b", ENGINE), ("a", INTENT), ("d", REPLAY)):
            queue.add(key, priority)
        assert [await take(queue) for _ in range(4)] == ["a", "b", "c", "d"]

    play(story)


def test_who_takes_intents_only_leaves_all_else_and_is_told_when_one_comes() -> None:
    async def story(queue: KeyQueue) -> None:
        queue.add("tick", REPLAY)
        queue.add("event", ENGINE)
        taking = asyncio.create_task(queue.get_intent())
        await asyncio.sleep(1)
        assert not taking.done()
        queue.add("tick", INTENT)
        key, priority, since = await taking
        assert (key, priority, since) == ("tick", INTENT, 0.0)
        queue.add("other", INTENT)
        assert (await queue.get_intent())[0] == "other"
        assert [await take(queue), len(queue)] == ["event", 0]

    play(story)


def test_a_key_is_queued_once_and_moves_ahead_when_it_is_wanted_sooner() -> None:
    async def story(queue: KeyQueue) -> None:
        queue.add("late", REPLAY)
        queue.add("other", ENGINE)
        queue.add("late", INTENT)
        assert [await take(queue), await take(queue)] == ["late", "other"]
        assert len(queue) == 0

    play(story)


def test_a_key_that_is_added_during_its_pass_is_looked_at_once_more_after_it() -> None:
    async def story(queue: KeyQueue) -> None:
        queue.add("a", INTENT)
        key = await take(queue)
        queue.add("a", REPLAY)
        queue.add("a", INTENT)
        assert len(queue) == 0
        queue.done(key)
        assert await take(queue) == "a"
        queue.done("a")
        assert queue.idle()

    play(story)


def test_a_failing_key_is_never_given_up_and_waits_longer_each_time() -> None:
    async def story(queue: KeyQueue) -> None:
        queue.add("a", INTENT)
        waits = []
        for _ in range(30):
            key = await take(queue)
            waits.append(queue.failed(key))
            queue.done(key)
        assert waits[5] > 4 * waits[0]
        assert BACKOFF_MOST * 0.7 < waits[-1] <= BACKOFF_MOST * 1.25

    play(story)


def test_a_tick_does_not_shorten_a_backoff_and_an_intent_ends_it() -> None:
    async def story(queue: KeyQueue) -> None:
        delay = 0.0
        for _ in range(8):
            queue.add("a", INTENT if len(queue) else ENGINE)
            delay = queue.failed(await take(queue))
            queue.done("a")
        began = now()
        queue.add("a", REPLAY)
        await take(queue)
        assert now() - began >= delay * 0.99
        queue.failed("a")
        queue.done("a")
        began = now()
        queue.add("a", INTENT)
        await take(queue)
        assert now() == began
        assert queue.failed("a") < 0.3

    play(story)


def test_a_key_that_waits_for_a_time_may_be_wanted_earlier() -> None:
    async def story(queue: KeyQueue) -> None:
        queue.add_at("a", 100.0, ENGINE)
        queue.add_at("a", 50.0, ENGINE)
        queue.add_at("a", 70.0, ENGINE)
        await take(queue)
        assert now() == 50.0
        queue.done("a")
        assert queue.delayed == 0

    play(story)


actions = st.lists(
    st.tuples(
        st.sampled_from(["add", "take", "done", "fail", "later"]),
        st.sampled_from("abc"),
        st.sampled_from(list(Priority)),
    ),
    max_size=40,
)


@given(actions)
def test_no_key_that_was_added_is_ever_lost_or_run_twice_at_once(
    told: list[tuple[str, str, Priority]],
) -> None:
    async def story(queue: KeyQueue) -> None:
        running: set[str] = set()
        wanted: set[str] = set()
        for what, key, priority in told:
            match what:
                case "add":
                    queue.add(key, priority)
                    wanted.add(key)
                case "later":
                    queue.add_at(key, now() + 5, priority)
                    wanted.add(key)
                case "take" if len(queue):
                    taken = await take(queue)
                    assert taken not in running
                    running.add(taken)
                    wanted.discard(taken)
                case "done" | "fail" if running:
                    ended = min(running)
                    if what == "fail":
                        queue.failed(ended)
                        wanted.add(ended)
                    queue.done(ended)
                    running.discard(ended)
                case _:
                    pass
        for ended in sorted(running):
            queue.done(ended)
        async with asyncio.timeout(10_000):
            while wanted:
                taken = await take(queue)
                wanted.discard(taken)
                queue.done(taken)

    play(story)
