"""The simulated machine: faults on the way, programs that misbehave, and no impossible worlds."""

import asyncio
import tracemalloc

import pytest

from domain.app import Check, HttpCheck, Port
from reconcilers.ports import (
    EngineEvent,
    EngineUnavailable,
    Replica,
    ReplicaName,
    ReplicaState,
    StartFailed,
    StartReplica,
)
from simulation.engine import simulated_engine
from simulation.faults import CALM, Call, Trouble, on_call, on_verb
from simulation.looking import SimulatedProber
from simulation.machine import Machine
from simulation.mischief import Mischief
from simulation.program import ImpossibleWorld

INSTALLATION = "11111111-1111-4111-8111-111111111111"
NAME = ReplicaName("shop", "web", 1, 0, 1)
PORTS = (Port(name="http", port=80),)
READY = Check(http=HttpCheck(path="/ready", port="http"))


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def order(name: ReplicaName = NAME, simulated: str = "") -> StartReplica:
    return StartReplica(
        name=name,
        uid=1,
        digest="d",
        position=1,
        image=None,
        command=("program",),
        args=(),
        workdir=None,
        env={"SIMULATED": simulated},
        ports=PORTS,
        volumes=(),
        cpu_millis=None,
        memory_bytes=None,
        stop_signal="SIGTERM",
        stop_grace=1.0,
    )


class Place:
    """A machine, its engine for one installation, and mischief."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.machine = Machine(self.clock, steady=self.clock)
        self.engine = simulated_engine(self.machine, INSTALLATION)
        self.mischief = Mischief(self.machine, INSTALLATION)
        self.prober = SimulatedProber(self.machine)

    async def start(self, simulated: str = "") -> Replica:
        await self.engine.grounds.prepare("shop")
        await self.engine.replicas.start(order(simulated=simulated))
        return await self.seen()

    async def seen(self) -> Replica:
        [replica] = await self.engine.replicas.list()
        return replica

    async def is_ready(self) -> bool:
        return (await self.prober.probe(READY, await self.seen(), self.engine.io)).passed


@pytest.fixture
def place() -> Place:
    return Place()


async def test_an_error_before_the_effect_leaves_the_machine_alone(place: Place) -> None:
    await place.engine.grounds.prepare("shop")
    place.machine.faults.plan = on_call(2, Trouble(before=EngineUnavailable("lost")))
    with pytest.raises(EngineUnavailable):
        await place.engine.replicas.start(order())
    assert list(await place.engine.replicas.list()) == []


async def test_an_error_after_the_effect_leaves_the_effect(place: Place) -> None:
    await place.engine.grounds.prepare("shop")
    place.machine.faults.plan = on_verb("start", Trouble(after=EngineUnavailable("late")))
    with pytest.raises(EngineUnavailable):
        await place.engine.replicas.start(order())
    assert (await place.seen()).state is ReplicaState.RUNNING


async def test_a_call_cancelled_on_its_way_has_no_effect(place: Place) -> None:
    await place.engine.grounds.prepare("shop")
    place.machine.faults.plan = on_verb("start", Trouble(delay_seconds=3600))
    starting = asyncio.create_task(place.engine.replicas.start(order()))
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list(await place.engine.replicas.list()) == []


async def test_a_list_can_be_distorted_on_its_way(place: Place) -> None:
    await place.start()
    place.machine.faults.plan = on_verb("list", Trouble(distort=lambda _truth: ()))
    assert list(await place.engine.replicas.list()) == []


async def test_a_plan_is_told_what_each_call_is(place: Place) -> None:
    met = list[Call]()

    def remember(call: Call) -> Trouble:
        met.append(call)
        return CALM

    place.machine.faults.plan = remember
    await place.start()
    assert met[:2] == [Call(1, "prepare", "shop"), Call(2, "start", NAME)]


async def test_writes_are_counted_and_reads_are_not(place: Place) -> None:
    replica = await place.start()
    before = place.machine.writes.copy()
    assert before == {"prepare": 1, "start": 1}
    await place.engine.replicas.list(("shop", "web"))
    await place.engine.grounds.projects()
    await place.is_ready()
    assert place.machine.writes == before
    await place.engine.replicas.stop(replica, grace=1)
    await place.engine.replicas.remove(replica)
    assert place.machine.writes - before == {"stop": 1, "remove": 1}


async def test_what_is_away_answers_nothing_and_runs_on(place: Place) -> None:
    await place.start()
    place.mischief.go_away()
    with pytest.raises(EngineUnavailable):
        await place.engine.replicas.list()
    place.mischief.come_back()
    assert (await place.seen()).state is ReplicaState.RUNNING


async def test_a_watcher_learns_that_it_missed_something(place: Place) -> None:
    events = place.engine.events.watch()
    await anext(events)
    await place.start()
    assert await anext(events) == EngineEvent(("shop", "web"))
    place.mischief.go_away()
    place.mischief.kill(NAME)
    place.mischief.come_back()
    assert await anext(events) == EngineEvent(None)


async def test_a_watcher_that_falls_behind_is_told_to_list_again(place: Place) -> None:
    events = place.engine.events.watch()
    await anext(events)
    replica = await place.start()
    for _ in range(300):
        place.machine.tell(place.machine.named[replica.name.of(INSTALLATION)])  # type: ignore[arg-type]
    assert await anext(events) == EngineEvent(None)


async def test_a_lost_event_reaches_nobody(place: Place) -> None:
    events = place.engine.events.watch()
    await anext(events)
    place.machine.faults.loses = lambda _event: True
    await place.start()
    place.machine.faults.loses = lambda _event: False
    place.mischief.kill(NAME)
    assert await anext(events) == EngineEvent(("shop", "web"))
    assert place.machine.watchers
    assert all(queue.empty() for queue in place.machine.watchers)


async def test_a_program_that_dies_has_its_exit_code(place: Place) -> None:
    dead = await place.start("exit=3")
    assert (dead.state, dead.exit_code) == (ReplicaState.EXITED, 3)


async def test_a_program_lives_as_long_as_it_says(place: Place) -> None:
    assert (await place.start("lives=0.01,exit=4")).state is ReplicaState.RUNNING
    events = place.engine.events.watch()
    await anext(events)
    await anext(events)
    assert (await place.seen()).exit_code == 4


async def test_what_dies_while_it_is_stopped_died_of_that(place: Place) -> None:
    replica = await place.start("slow=0.05")
    stopping = asyncio.create_task(place.engine.replicas.stop(replica, grace=1))
    await asyncio.sleep(0)
    place.mischief.kill(NAME, exit_code=1)
    await stopping
    assert (await place.seen()).exit_code == 1


async def test_a_program_gets_ready_and_sick_when_it_says(place: Place) -> None:
    await place.start("unready=5,sick=10")
    seen = []
    for place.clock.time in (1000, 1004.9, 1005, 1009.9, 1010):
        seen.append(await place.is_ready())
    assert seen == [False, False, True, True, False]


async def test_a_program_can_fail_on_one_path(place: Place) -> None:
    replica = await place.start("failing=/live")
    live = Check(http=HttpCheck(path="/live", port="http"))
    assert await place.is_ready()
    failed = await place.prober.probe(live, replica, place.engine.io)
    assert failed == (False, "GET /live answered 503")


async def test_a_program_falls_sick_and_gets_well(place: Place) -> None:
    await place.start()
    place.mischief.sicken(NAME)
    assert not await place.is_ready()
    place.mischief.cure(NAME)
    assert await place.is_ready()


async def test_a_refused_program_leaves_what_was_created(place: Place) -> None:
    with pytest.raises(StartFailed):
        await place.start("refused")
    assert (await place.seen()).state is ReplicaState.CREATED


async def test_what_cannot_be_is_refused(place: Place) -> None:
    replica = await place.start()
    with pytest.raises(ImpossibleWorld, match="already there"):
        place.mischief.squat(NAME)
    with pytest.raises(ImpossibleWorld, match="cleared under"):
        await place.engine.grounds.clear("shop")
    with pytest.raises(ImpossibleWorld, match="removed under"):
        await place.engine.grounds.remove_volumes("shop", "web")
    place.mischief.kill(NAME)
    with pytest.raises(ImpossibleWorld, match="does not run"):
        place.mischief.kill(NAME)
    await place.engine.replicas.remove(replica)
    with pytest.raises(ImpossibleWorld, match="no replica"):
        place.mischief.lose(NAME)
    with pytest.raises(ImpossibleWorld, match="no program knows"):
        await place.start("mystery")


async def test_ten_thousand_replicas_cost_little(place: Place) -> None:
    await place.engine.grounds.prepare("shop")
    names = [ReplicaName("shop", f"app-{n}", 1, 0, 1) for n in range(10_000)]
    tracemalloc.start()
    for name in names:
        await place.engine.replicas.start(order(name))
    used, _ = tracemalloc.get_traced_memory()
    listed = await place.engine.replicas.list()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listed) == 10_000
    assert used < 10_000 * 4096  # bytes: 4 KiB each, order and log included
    assert after - used < 10_000 * 64  # bytes: a list shows what is there, and copies nothing
