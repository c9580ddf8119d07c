"""The client of producers under faults, in virtual time: nothing is lost, nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from bus.client import Producer, Submitted, Unanswered
from bus.nats.subjects import SUBMIT_STREAM
from simulation.loop import run
from simulation.message_faults import LOST, Fate, Kind, Sent, on_first
from tests.contracts.producer import WEB
from tests.contracts.test_simulated_producer import SimulatedWorld
from tests.support.nats_server import app
from tests.support.producers import causes


@asynccontextmanager
async def playing() -> AsyncIterator[tuple[SimulatedWorld, Producer]]:
    world = SimulatedWorld()
    await world.desk.furnish()
    await world.bus.start()
    await world.bus.ready()
    async with world.producer() as producer:
        await producer.ask("apply", WEB, app("web"), key="k0")
        yield world, producer
    await world.bus.stop()
    await world.broker.close()


def test_an_answer_that_is_lost_is_asked_for_again_under_the_same_key() -> None:
    async def play() -> None:
        async with playing() as (world, producer):
            world.broker.faults.fate = on_first(Kind.REPLY, LOST, LOST)
            answer = await producer.ask("scale", WEB, {"replicas": 2}, key="k1")
            assert answer.repeated
            assert world.desk.types.count("app.scaled") == 1

    run(play())


def test_who_was_cut_off_or_had_no_server_is_answered_when_that_is_over() -> None:
    async def play() -> None:
        async with playing() as (world, producer):
            world.broker.faults.cut.add("producer")
            asking = asyncio.create_task(
                producer.ask("scale", WEB, {"replicas": 2}, key="k1", patience=3600)
            )
            await asyncio.sleep(120)
            world.broker.faults.cut.clear()
            assert (await asking).changes[0].result == "configured"
            world.broker.faults.down = True
            asking = asyncio.create_task(
                producer.ask("scale", WEB, {"replicas": 3}, key="k2", patience=3600)
            )
            await asyncio.sleep(120)
            world.broker.faults.down = False
            assert (await asking).changes[0].result == "configured"
            world.broker.faults.down = True
            with pytest.raises(Unanswered, match=r"within 60 s"):
                await producer.ask("restart", WEB, key="k3")

    run(play())


def test_an_outcome_that_was_never_heard_is_told_again() -> None:
    async def play() -> None:
        async with playing() as (world, producer):
            told: list[Sent] = []

            def fate(sent: Sent) -> Fate:
                if (
                    sent.subject.startswith("stateward.v1.accepted.")
                    and sent.receiver == "producer"
                ):
                    told.append(sent)
                    return LOST if len(told) == 1 else Fate()
                return Fate()

            world.broker.faults.fate = fate
            kept = await producer.submit("scale", WEB, {"replicas": 2}, key="s1")
            answer = await producer.outcome(kept)
            assert answer.repeated
            assert len(told) == 2
            assert world.desk.types.count("app.scaled") == 1

    run(play())


def test_a_program_that_starts_again_hears_what_became_of_what_it_submitted_before() -> None:
    async def play() -> None:
        async with playing() as (world, producer):
            before = await producer.outcome(
                await producer.submit("scale", WEB, {"replicas": 2}, key="s1")
            )
            async with world.producer() as successor:
                kept = await successor.submit("scale", WEB, {"replicas": 2}, key="s1")
                after = await successor.outcome(kept)
            assert (after.position, after.repeated) == (before.position, True)

    run(play())


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_to_messages_each_has_one_effect_and_one_outcome(seed: int) -> None:
    async def play() -> None:
        random = Random(seed)

        def fate(_sent: Sent) -> Fate:
            return Fate(tuple(random.choice((0.0, 0.1, 8.0)) for _ in range(random.randrange(3))))

        async with playing() as (world, producer):
            world.broker.faults.fate = fate
            await producer.ask("restart", WEB, key="k1", patience=36_000)
            kept: list[Submitted] = [
                await producer.submit(
                    "apply", f"App/shop/a{n}", app(f"a{n}"), key=f"s{n}", patience=36_000
                )
                for n in range(8)
            ]
            for submitted in kept:
                answer = await producer.outcome(submitted, patience=36_000)
                assert answer.changes[0].result == "created"
            world.broker.faults.fate = lambda _sent: Fate()
            while world.broker.stored(SUBMIT_STREAM):
                await asyncio.sleep(1)
            assert set(causes(world.desk)) >= {"k1", *(one.key for one in kept)}
            assert world.desk.types.count("app.defined") == 9
            assert world.desk.types.count("app.restarted") == 1

    run(play())
