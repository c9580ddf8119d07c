"""Stories of several workers over one log and one machine, on virtual time."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from itertools import count
from typing import final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.lease_session import LeaseSettings
from bus.leasing import Leasing
from domain import intents as i
from domain.names import Ref, app
from reconcilers.passing import WorkerSettings
from reconcilers.ports import ReplicaName
from reconcilers.status import StatusMemory
from simulation import loop
from simulation.faults import Trouble, on_verb
from simulation.leases import Bucket, SimulatedLeases
from simulation.log import SimulatedLog
from simulation.machine import Deed, Machine, Running
from simulation.secrets import SimulatedSecrets
from tests.support.house import EPOCH, INSTALLATION, House
from tests.support.intents import manifest

TTL = LeaseSettings().ttl
APPS = 24
ACTOR = ContextVar("ACTOR", default="")


@final
class Worker:
    """A house with leases. What it does is noted together with its epoch."""

    def __init__(self, name: str, town: "Town", looks: float = 2.0) -> None:
        sessions = count(1)
        self.name = name
        self.way: SimulatedLeases = town.bucket.way()
        self.leasing = Leasing(
            self.way,
            worker=name,
            new_session=lambda: f"{name}-{next(sessions)}",
            clock=asyncio.get_running_loop().time,
            settings=LeaseSettings(),
        )
        self.house = House(
            log=town.log,
            machine=town.machine,
            secrets=town.secrets,
            status=town.status,
            settings=WorkerSettings(
                passes=8, hints=False, tail_interval=looks, replay_interval=5 * looks
            ),
            leasing=self.leasing,
            elsewhere={"far": town.far},
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        ACTOR.set(self.name)  # tasks take it with them
        self._tasks = [
            asyncio.create_task(self.house.worker.run()),
            asyncio.create_task(self.leasing.run(self.house.worker)),
        ]

    async def die(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@final
class Town:
    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        now = lambda: EPOCH + clock()  # noqa: E731 -- one clock for all
        self.log, self.secrets, self.status = SimulatedLog(), SimulatedSecrets(), StatusMemory()
        self.machine, self.far = Machine(now), Machine(now)
        self.bucket = Bucket(now)
        self.workers: list[Worker] = []
        self.deeds: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.epochs: dict[tuple[str, str], int] = {}
        self.wanted: dict[str, int] = {}
        self.wrong: list[tuple[str, list[str], Deed]] = []
        self.machine.witness = lambda deed: self._note("local", deed)
        self.far.witness = lambda deed: self._note("far", deed)

    def worker(self, name: str, looks: float = 2.0) -> Worker:
        """One who reads the log every so many seconds."""
        worker = Worker(name, self, looks)
        self.workers.append(worker)
        worker.start()
        return worker

    def _note(self, target: str, deed: Deed) -> None:
        """Whoever does something may do it at that moment, and nobody else."""
        stream = f"App/{deed.project}/{deed.app}"
        able = [
            one.name for one in self.workers if one.house.parts.sharing.may_call(target, stream)
        ]
        if able != [ACTOR.get()]:  # what is raised here is caught by a pass
            self.wrong.append((ACTOR.get(), able, deed))
        for one in self.workers:
            if one.name == ACTOR.get():
                epoch = one.house.parts.sharing.epoch(target, stream)
                if epoch < self.epochs.get((target, stream), 0):
                    self.wrong.append((ACTOR.get(), ["a fence that went back"], deed))
                self.epochs[target, stream] = epoch
        self.deeds[stream].append((deed.verb, ACTOR.get()))

    def living(self) -> list[Running]:
        found = [one for one in self.machine.named.values() if one is not None]
        return [one for one in found if one.seen.state == "running"]

    def running(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for (_, _, name), replicas in self.machine.apps.items():
            ready = sum(one.seen.state == "running" for one in replicas.values())
            found[name] = ready
        return found

    async def furnish(self, apps: int = APPS) -> None:
        house = self.workers[0].house
        await house.furnish()
        for number in range(apps):
            await house.send(manifest("App", f"a{number}", {"image": "web:1"}))
        await self.until(lambda: self.is_converged(apps))

    def is_converged(self, apps: int = APPS, replicas: int = 1) -> bool:
        ready = [self.status.get(f"App/shop/a{number}") for number in range(apps)]
        return self.running() == {f"a{number}": replicas for number in range(apps)} and all(
            one is not None and one.is_true("Ready") and one.ready == replicas for one in ready
        )

    async def until(self, holds: Callable[[], object], within: float = 120.0) -> float:
        began = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            while not holds():
                await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time() - began

    def is_shared(self) -> bool:
        held = [len(one.leasing.held) for one in self.workers]
        return sum(held) == 64 and max(held) <= -(-64 // len(self.workers))


def play(story: Callable[[Town], Awaitable[None]]) -> None:
    async def main() -> None:
        town = Town()
        await asyncio.sleep(2 * TTL)
        try:
            await story(town)
        finally:
            for worker in town.workers:
                await worker.die()
        assert not town.wrong

    loop.run(main())


def test_two_workers_share_the_work_and_each_app_is_started_once() -> None:
    async def story(town: Town) -> None:
        for name in "ab":
            town.worker(name)
        await town.furnish()
        by = {by for deeds in town.deeds.values() for _, by in deeds}
        assert by == {"a", "b"}
        assert all(deeds == [("start", deeds[0][1])] for deeds in town.deeds.values())

    play(story)


def test_joining_and_leaving_restarts_nothing_and_what_joined_does_its_share() -> None:
    async def story(town: Town) -> None:
        a = town.worker("a")
        await town.furnish()
        b = town.worker("b")
        await town.until(town.is_shared)
        await asyncio.sleep(30)
        assert town.is_converged()
        assert all(len(deeds) == 1 for deeds in town.deeds.values())
        for number in range(APPS):
            await a.house.send(i.Scale(ref=app("shop", f"a{number}"), replicas=2))
        await town.until(lambda: town.is_converged(replicas=2))
        assert {by for deeds in town.deeds.values() for _, by in deeds} == {"a", "b"}
        await a.leasing.leave()
        await a.die()
        town.workers.remove(a)
        await town.until(town.is_shared)
        house = b.house
        for number in range(APPS):
            house.mischief.kill(ReplicaName("shop", f"a{number}", 1, 0, 1))
        await town.until(lambda: town.is_converged(replicas=2), within=30)
        assert all([verb for verb, _ in deeds].count("start") == 3 for deeds in town.deeds.values())

    play(story)


def test_the_apps_of_a_dead_worker_are_healed_within_its_time_and_two_seconds() -> None:
    async def story(town: Town) -> None:
        town.worker("a")
        b = town.worker("b")
        await town.furnish()
        theirs = [s for s in town.deeds if b.house.parts.sharing.holds("local", s)]
        assert theirs
        await b.die()
        town.workers.remove(b)
        for stream in theirs:
            name = stream.rpartition("/")[2]
            town.workers[0].house.mischief.kill(ReplicaName("shop", name, 1, 0, 1))
        assert await town.until(town.is_converged, within=TTL + 4) < TTL + 2

    play(story)


def test_what_a_cut_off_worker_had_not_begun_is_not_begun_by_it_any_more() -> None:
    async def story(town: Town) -> None:
        a, b = town.worker("a"), town.worker("b")
        await town.furnish()
        town.machine.faults.plan = on_verb("list", Trouble(delay_seconds=25.0))
        for number in range(APPS):
            await a.house.send(i.Scale(ref=app("shop", f"a{number}"), replicas=2))
        await asyncio.sleep(5)  # all passes wait for a list
        b.way.is_cut = True
        await town.until(lambda: len(a.leasing.held) == 64)
        before = {stream: len(deeds) for stream, deeds in town.deeds.items()}
        assert max(before.values()) == 1
        town.machine.faults.plan = on_verb("list", Trouble())
        await town.until(lambda: town.is_converged(replicas=2))
        assert {by for deeds in town.deeds.values() for _, by in deeds[1:]} == {"a"}

    play(story)


def test_an_app_that_moves_to_a_target_of_another_worker_is_up_there_before_it_leaves() -> None:
    async def story(town: Town) -> None:
        a = town.worker("a")
        await town.furnish(1)
        await a.house.send(manifest("Target", "far", {"engine": "simulated"}))
        b = town.worker("b")
        await town.until(lambda: sum(len(w.leasing.held) for w in town.workers) == 128)
        stream = "App/shop/a0"

        def holder(target: str) -> list[str]:
            return [w.name for w in town.workers if w.house.parts.sharing.holds(target, stream)]

        assert holder("local") != holder("far"), "the hash must part them for this story"
        town.far.faults.plan = on_verb("start", Trouble(delay_seconds=40.0))
        await b.house.send(manifest("App", "a0", {"image": "web:2", "target": "far"}))
        await asyncio.sleep(35)
        assert town.running() == {"a0": 1}
        await town.until(lambda: not town.running())
        assert [verb for verb, _ in town.deeds[stream]][-3:] == ["start", "stop", "remove"]
        assert len(town.far.apps) == 1

    play(story)


def test_nobody_clears_the_ground_under_what_another_has_begun_in_the_meantime() -> None:
    """Whoever clears reads first what was asked for until then, however late it is."""

    async def story(town: Town) -> None:
        town.worker("a")
        await town.furnish(0)
        b = town.worker("b", looks=1000.0)
        sharing = b.house.parts.sharing
        await town.until(lambda: sharing.holds_any("local") and not sharing.holds_all("local"))
        projects = (f"p{number}" for number in count())
        home = next(name for name in projects if sharing.holds("local", f"Project/{name}"))
        others = (Ref("App", home, f"x{number}") for number in count())
        theirs = next(one for one in others if not sharing.holds("local", one.stream))
        project = manifest("Project", home, {"target": "local"})
        made = manifest("App", theirs.name, {"image": "web:1"}, project=home)
        await town.workers[0].house.send(project, made)
        await town.until(lambda: town.running().get(theirs.name) == 1)
        assert b.house.desired.app(theirs.stream) is None, "it has not read of it"
        view = b.house.parts.targets.get("local")
        assert view is not None
        tidying = asyncio.create_task(b.house.parts.remover.tidy(view))
        await asyncio.sleep(5)
        assert not tidying.done(), "it waits until it has"
        await b.house.parts.following.catch_up()
        await tidying
        assert home in await view.engine.grounds.projects()

    play(story)


def test_an_app_that_moves_to_where_the_lease_is_older_is_told_and_leaves() -> None:
    """Worlds with several workers: the fences of two targets were compared.

    What was told where the younger lease is stayed for ever: so nobody knew that it had arrived.
    """

    async def story(town: Town) -> None:
        a = town.worker("a")
        await town.furnish(1)
        town.worker("b")
        await a.house.send(manifest("Target", "far", {"engine": "simulated"}))
        await town.until(lambda: sum(len(w.leasing.held) for w in town.workers) == 128)
        stream = "App/shop/a0"

        def epoch(target: str) -> int:
            return max(w.house.parts.sharing.epoch(target, stream) for w in town.workers)

        assert epoch("far") > epoch("local")
        for target, machine in (("far", town.far), ("local", town.machine)):
            await a.house.send(manifest("App", "a0", {"image": "web:2", "target": target}))
            await town.until(lambda machine=machine: machine.apps)  # type: ignore[misc]
            await town.until(lambda: len(town.far.apps) + len(town.machine.apps) == 1)
        status = town.status.get(stream)
        assert status is not None
        assert status.is_true("Ready")

    play(story)


def test_what_was_deleted_goes_and_its_project_leaves_nothing() -> None:
    async def story(town: Town) -> None:
        a = town.worker("a")
        town.worker("b")
        await town.furnish(6)
        await a.house.send(i.Delete(ref=Ref("Project", "", "shop"), cascade=True))
        await town.until(lambda: not town.machine.apps)
        await town.until(
            lambda: not any(ground.is_prepared for ground in town.machine.grounds.values())
        )
        assert INSTALLATION in {owner for owner, _ in town.machine.grounds}

    play(story)


deeds = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["cut", "mend", "lose", "slow", "die", "vanish", "scale", "kill", "leave"]),
        st.integers(0, 7),
        st.floats(0, 12),
    ),
    min_size=3,
    max_size=20,
)


async def happen(town: Town, step: tuple[int, str, int, float], number: int) -> None:
    which, what, app_number, seconds = step
    worker, name = town.workers[which], f"a{app_number}"
    match what:
        case "cut" | "mend":
            worker.way.is_cut = what == "cut"
        case "lose":
            worker.way.loses_answers = not worker.way.loses_answers
        case "slow":
            worker.way.delay_seconds = seconds / 10
        case "vanish":
            town.bucket.vanish()
        case "scale":
            town.wanted[name] = 1 + number % 3
            await worker.house.send(i.Scale(ref=app("shop", name), replicas=town.wanted[name]))
        case "kill":
            for running in town.living():
                if running.order.name.app == name:
                    town.machine.finish(running, 137)
        case _:
            if what == "leave":
                await worker.leasing.leave()
            await worker.die()
            town.workers[which] = Worker(f"{worker.name[0]}{number}", town)
            town.workers[which].start()
    await asyncio.sleep(seconds)


@pytest.mark.timeout(600)
@settings(max_examples=25)
@given(deeds)
def test_whatever_happens_two_never_decide_and_in_the_end_all_is_as_it_should_be(
    steps: list[tuple[int, str, int, float]],
) -> None:
    async def story(town: Town) -> None:
        for name in "abc":
            town.worker(name)
        await town.furnish(8)
        town.wanted = {f"a{number}": 1 for number in range(8)}
        for number, step in enumerate(steps):
            await happen(town, step, number)
        for worker in town.workers:
            worker.way.is_cut = worker.way.loses_answers = False
            worker.way.delay_seconds = 0.001
        await town.until(lambda: town.running() == town.wanted and town.is_shared(), within=600)
        slots = [(one.order.name.app, one.order.name.slot) for one in town.living()]
        assert len(slots) == len(set(slots)), "a slot runs twice"
        await asyncio.sleep(60)
        before = town.machine.writes.total()
        await asyncio.sleep(60)
        assert town.running() == town.wanted
        assert town.machine.writes.total() == before

    play(story)
