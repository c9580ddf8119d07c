"""Stories of a whole worker with several targets, each a machine of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import override

from domain import intents as i
from domain.names import Ref, app
from domain.target import TargetSpec
from reconcilers.ports import ReplicaName
from reconcilers.targets import OpenedEngine
from simulation import loop
from simulation.engine import simulated_engine
from simulation.faults import Trouble, on_verb
from simulation.machine import Machine
from simulation.mischief import Mischief
from tests.support.house import House
from tests.support.intents import manifest

WEB = app("shop", "web")
HANGS = Trouble(delay_seconds=100_000.0)


def spec(**more: object) -> dict[str, object]:
    return {"image": "web:1", "ports": [{"name": "http", "port": 80}]} | more


class Village(House):
    """A house with another machine for each target but `local`; opening may hang or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.machines = {"local": self.machine}
        self.hanging: frozenset[str] = frozenset()

    @override
    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        if name in self.hanging:
            await asyncio.sleep(100_000)
        machine = self.machines.setdefault(name, Machine(self.now))
        engine = simulated_engine(machine, self.installation)

        async def close() -> None:
            return

        return OpenedEngine(engine, close)

    async def target(self, name: str, description: str = "") -> None:
        asked = {"engine": "simulated", "description": description}
        await self.send(manifest("Target", name, asked))
        await self.until(lambda: name in self.machines)

    def on(self, target: str, name: str = "web") -> list[tuple[int, int, int]]:
        found = self.machines[target].owned(self.installation, ("shop", name))
        return sorted(one.seen.name[2:] for one in found)


def tell(story: Callable[[Village], Awaitable[None]]) -> None:
    async def main() -> None:
        village = Village()
        async with village.working():
            await village.furnish()
            await village.target("far")
            await story(village)

    loop.run(main())


def test_a_target_deleted_with_its_apps_leaves_nothing_behind() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        await village.send(i.Delete(ref=Ref("Target", "", "far"), cascade=True))
        await village.until(lambda: "removal.completed" in village.types, within=30)
        assert village.on("far") == []

    tell(story)


def test_a_target_deleted_after_its_app_left_is_kept_until_nothing_is_there() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far", rollout={"drain": "10s"})))
        await village.ready()
        await village.send(manifest("App", "web", spec()))
        await village.send(i.Delete(ref=Ref("Target", "", "far")))
        await village.until(lambda: village.on("far") == [])
        await village.until(lambda: not village.machines["far"].watchers)
        assert village.on("local") == [(2, 0, 1)]

    tell(story)


def test_a_target_deleted_without_its_apps_leaves_them_running() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        await village.send(i.Delete(ref=Ref("Target", "", "far"), orphan=True))
        await village.until(lambda: not village.machines["far"].watchers)
        assert village.on("far") == [(1, 0, 1)]

    tell(story)


def test_a_target_that_was_described_anew_is_watched_once() -> None:
    async def story(village: Village) -> None:
        for number in range(3):
            await village.target("far", f"the {number}th")
        await asyncio.sleep(30)
        assert len(village.machines["far"].watchers) == 1
        assert len(village.worker._watchers) == 2

    tell(story)


def test_what_waits_for_a_target_goes_on_when_it_is_described_anew() -> None:
    async def story(village: Village) -> None:
        far = village.machines["far"]
        far.missing_images.add("web:1")
        await village.send(manifest("App", "web", spec(target="far")))
        await asyncio.sleep(5)
        del village.machines["far"]
        await village.target("far", "another machine")
        await village.until(lambda: village.on("far") == [(1, 0, 1)], within=30)

    tell(story)


def test_a_target_that_hangs_delays_no_app_of_another() -> None:
    async def story(village: Village) -> None:
        for number in range(40):
            await village.send(manifest("App", f"far{number}", spec(target="far")))
        await village.ready("far39")
        village.machines["far"].faults.plan = on_verb("list", HANGS)
        for number in range(40):
            await village.send(i.Restart(ref=app("shop", f"far{number}")))
        await asyncio.sleep(30)
        await village.send(manifest("App", "web", spec()))
        assert await village.ready(within=200) < 5
        village.machine.faults.loses = lambda _event: True
        village.mischief.lose(ReplicaName("shop", "web", 1, 0, 1))
        assert await village.until(village.running, within=200) < 15

    tell(story)


def test_a_target_that_hangs_when_it_is_opened_delays_no_other() -> None:
    async def story(village: Village) -> None:
        village.hanging = frozenset({"dead"})
        await village.send(manifest("Target", "dead", {"engine": "simulated"}))
        await village.send(manifest("App", "web", spec()))
        assert await village.ready(within=100) < 5

    tell(story)


def test_an_app_that_left_a_dead_target_is_cared_for_as_any_other() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        Mischief(village.machines["far"], village.installation).go_away()
        await village.send(manifest("App", "web", spec()))
        await village.until(lambda: village.on("local") == [(2, 0, 1)])
        await asyncio.sleep(900)
        village.machine.faults.loses = lambda _event: True
        for _ in range(3):
            (name,) = [one.name for one in village.replicas() if one.state == "running"]
            village.mischief.kill(name)
            assert await village.until(village.running, within=600) < 15

    tell(story)


def test_an_app_made_anew_elsewhere_does_not_suffer_from_the_target_of_its_former_life() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        Mischief(village.machines["far"], village.installation).go_away()
        await village.send(i.Delete(ref=WEB))
        await village.send(manifest("App", "web", spec()))
        await village.until(lambda: village.on("local") == [(2, 0, 1)])
        await asyncio.sleep(900)
        village.machine.faults.loses = lambda _event: True
        for _ in range(3):
            (name,) = [one.name for one in village.replicas() if one.state == "running"]
            village.mischief.kill(name)
            assert await village.until(village.running, within=600) < 15
        Mischief(village.machines["far"], village.installation).come_back()
        await village.until(lambda: village.on("far") == [])

    tell(story)


def test_an_app_that_moved_leaves_no_ground_behind_although_its_events_are_lost() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        village.machines["far"].faults.loses = lambda _event: True
        await village.send(manifest("App", "web", spec()))
        await village.until(lambda: village.on("far") == [])
        await asyncio.sleep(60)
        ground = village.machines["far"].grounds[village.installation, "shop"]
        assert not ground.is_prepared

    tell(story)
