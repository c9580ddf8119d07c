"""Stories of a whole worker with several targets, each a machine of its own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import override

import pytest

from domain import intents as i
from domain.names import Ref, app
from domain.refusals import InUse
from domain.target import TargetSpec
from reconcilers.ports import ReplicaName
from reconcilers.targets import OpenedEngine
from simulation import loop
from simulation.engine import simulated_engine
from simulation.faults import CALM, Trouble, on_verb
from simulation.machine import Machine
from simulation.mischief import Mischief
from tests.support.house import House
from tests.support.intents import manifest

WEB = app("shop", "web")
HANGS = Trouble(delay_seconds=100_000.0)


def spec(**more: object) -> dict[str, object]:
    return {"image": "web:1", "ports": [{"name": "http", "port": 80}]} | more


class Village(House):
    """A house with another machine for each target but `local`; opening may hang or fail.

    A target with a docker.host leads to the machine of that host.
    """

    def __init__(self, former: "Village | None" = None) -> None:
        if former is None:
            super().__init__()
            self.machines = {"local": self.machine}
        else:
            super().__init__(log=former.log, machine=former.machine, secrets=former.secrets)
            self.machines = former.machines
        self.hanging: frozenset[str] = frozenset()

    @override
    async def _open(self, name: str, spec: TargetSpec) -> OpenedEngine:
        if name in self.hanging:
            await asyncio.sleep(100_000)
        place = spec.docker.host.removeprefix("tcp://") if spec.docker else name
        machine = self.machines.setdefault(place, Machine(self.now))
        engine = simulated_engine(machine, self.installation)

        async def close() -> None:
            return

        return OpenedEngine(engine, close)

    async def target(self, name: str, description: str = "") -> None:
        asked = {"engine": "simulated", "description": description}
        await self.send(manifest("Target", name, asked))
        await self.until(lambda: name in self.machines)

    async def host(self, name: str, host: str) -> None:
        """Let a target lead to a host."""
        asked = {"engine": "docker", "docker": {"host": f"tcp://{host}"}}
        await self.send(manifest("Target", name, asked))
        await self.until(lambda: host in self.machines)

    def away(self, host: str) -> Mischief:
        """Make a host unavailable; the mischief brings it back."""
        done = Mischief(self.machines[host], self.installation)
        done.go_away()
        return done

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


def test_what_ran_as_an_image_is_not_tried_as_a_process_where_the_app_moves_to() -> None:
    """Else the move of an app shows it as refused, until its own revision has come."""

    async def story(village: Village) -> None:
        await village.host("dock", "there")
        await village.send(manifest("Target", "proc", {"engine": "process"}))
        await village.send(manifest("App", "web", spec(target="dock", replicas=2)))
        await village.ready()
        moved = {"target": "proc", "command": ["serve"], "replicas": 2}
        await village.send(manifest("App", "web", moved))
        await village.ready()
        await village.until(lambda: village.on("there") == [])
        assert village.machines["proc"].writes["start"] == 2, "nothing of revision 1 among them"

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


PATIENT = {"env": {"SIMULATED": "slow=150"}, "stopGrace": "200s", "rollout": {"drain": "20s"}}


async def _ends_patiently(village: Village) -> None:
    """What runs on `far` serves on for its drain, and then has its grace to stop by itself."""
    took = await village.until(lambda: village.on("far") == [], within=400)
    assert 165 < took < 175
    assert village.machines["far"].calls["stop"] == 1


def test_an_app_that_moves_takes_its_time_to_leave() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far", **PATIENT)))
        await village.ready()
        await village.send(manifest("App", "web", spec(**PATIENT)))
        await village.until(lambda: village.on("local") != [])
        await _ends_patiently(village)

    tell(story)


def test_a_deleted_app_takes_its_time_to_stop_and_its_successor_does_not_wait() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far", **PATIENT)))
        await village.ready()
        await village.send(i.Delete(ref=WEB))
        await asyncio.sleep(1)
        await village.send(manifest("App", "web", spec()))
        assert await village.ready() < 3
        village.mischief.kill(ReplicaName("shop", "web", 2, 0, 1))
        assert await village.ready() < 3
        await _ends_patiently(village)
        await village.until(lambda: "removal.completed" in village.types)

    tell(story)


def test_a_crash_while_a_deleted_app_stops_is_finished_by_the_next_worker() -> None:
    async def main() -> None:
        first = Village()
        async with first.working():
            await first.furnish()
            await first.target("far")
            await first.send(manifest("App", "web", spec(target="far", **PATIENT)))
            await first.ready()
            await first.send(i.Delete(ref=WEB))
            await asyncio.sleep(60)
        second = Village(first)
        async with second.working():
            await second.until(lambda: "removal.completed" in second.types, within=300)
            assert second.on("far") == []

    loop.run(main())


def _prepared(village: Village, target: str) -> bool:
    ground = village.machines[target].grounds.get((village.installation, "shop"))
    return ground is not None and ground.is_prepared


def test_a_crash_before_the_ground_was_cleared_leaves_none_behind() -> None:
    async def main() -> None:
        first = Village()
        async with first.working():
            await first.furnish()
            await first.target("far")
            await first.send(manifest("App", "web", spec(target="far")))
            await first.ready()
            first.machines["far"].faults.plan = on_verb("clear", HANGS)
            await first.send(manifest("App", "web", spec()))
            await first.until(lambda: first.on("far") == [])
            await asyncio.sleep(5)
        assert _prepared(first, "far")
        first.machines["far"].faults.plan = lambda _call: CALM
        second = Village(first)
        async with second.working():
            await second.until(lambda: not _prepared(second, "far"))
            assert _prepared(second, "local")

    loop.run(main())


def test_an_app_without_replicas_that_moves_leaves_no_ground_behind() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        await village.send(i.Scale(ref=WEB, replicas=0))
        await asyncio.sleep(60)
        assert _prepared(village, "far")
        await village.send(manifest("App", "web", spec(replicas=1)))
        await village.ready()
        await village.until(lambda: not _prepared(village, "far"), within=30)
        assert _prepared(village, "local")

    tell(story)


def test_no_ground_is_cleared_while_nothing_may_be_written() -> None:
    async def story(village: Village) -> None:
        await village.send(manifest("App", "web", spec(target="far")))
        await village.ready()
        await village.send(i.Scale(ref=WEB, replicas=0))
        await asyncio.sleep(60)
        village.rewound = "the log went backwards"
        await village.send(manifest("App", "web", spec()))
        await asyncio.sleep(60)
        assert _prepared(village, "far")

    tell(story)


def test_two_targets_on_one_daemon_leave_each_other_the_ground() -> None:
    async def story(village: Village) -> None:
        await village.host("hub", "one")
        await village.host("spoke", "one")
        await village.send(manifest("App", "web", spec(target="hub")))
        await village.ready()
        await village.send(i.Stop(ref=WEB))
        await asyncio.sleep(60)
        assert _prepared(village, "one")
        await village.send(i.Delete(ref=WEB))
        await village.until(lambda: not _prepared(village, "one"))

    tell(story)


async def _deleted_while_away(village: Village) -> Mischief:
    """An app ran on target `hub`, at host `one`, and was deleted while that is away."""
    await village.host("hub", "one")
    await village.send(manifest("App", "web", spec(target="hub")))
    await village.ready()
    away = village.away("one")
    await village.send(i.Delete(ref=WEB))
    await asyncio.sleep(5)
    return away


def test_a_target_with_apps_keeps_its_host() -> None:
    async def story(village: Village) -> None:
        await village.host("hub", "one")
        await village.send(manifest("App", "web", spec(target="hub")))
        await village.ready()
        with pytest.raises(InUse, match=r"docker\.host"):
            await village.host("hub", "two")
        await village.send(i.Delete(ref=WEB))
        await village.host("hub", "two")

    tell(story)


@pytest.mark.parametrize("anew", [False, True], ids=["redefined", "deleted and made anew"])
def test_a_removal_is_done_where_its_app_ran_although_its_target_leads_elsewhere_now(
    anew: bool,
) -> None:
    async def story(village: Village) -> None:
        away = await _deleted_while_away(village)
        if anew:
            await village.send(i.Delete(ref=Ref("Target", "", "hub")))
            await asyncio.sleep(5)
        await village.host("hub", "two")
        await asyncio.sleep(120)
        assert "removal.completed" not in village.types
        away.come_back()
        await village.until(lambda: "removal.completed" in village.types, within=400)
        assert village.on("one") == []
        await village.until(lambda: not village.machines["one"].watchers)
        assert len(village.machines["two"].watchers) == 1

    tell(story)


def test_a_removal_where_its_target_led_before_survives_a_start_of_the_worker() -> None:
    async def main() -> None:
        first = Village()
        async with first.working():
            await first.furnish()
            away = await _deleted_while_away(first)
            await first.host("hub", "two")
        second = Village(first)
        async with second.working():
            await asyncio.sleep(60)
            away.come_back()
            await second.until(lambda: "removal.completed" in second.types, within=400)
            assert second.on("one") == []

    loop.run(main())


def test_an_app_made_anew_where_its_target_leads_now_does_not_wait_for_the_former_place() -> None:
    async def story(village: Village) -> None:
        away = await _deleted_while_away(village)
        await village.host("hub", "two")
        await village.send(manifest("App", "web", spec(target="hub")))
        await village.ready()
        away.come_back()
        await village.until(lambda: "removal.completed" in village.types, within=400)
        await asyncio.sleep(60)
        assert (village.on("one"), village.on("two")) == ([], [(2, 0, 1)])
        assert not village.machines["one"].watchers

    tell(story)


def test_what_an_app_left_behind_goes_although_its_former_target_leads_elsewhere_now() -> None:
    async def story(village: Village) -> None:
        await village.host("hub", "one")
        await village.send(manifest("App", "web", spec(target="hub")))
        await village.ready()
        away = village.away("one")
        await village.send(manifest("App", "web", spec()))
        await village.ready()
        await village.host("hub", "two")
        await village.send(manifest("App", "web", spec(target="hub")))
        await village.ready()
        away.come_back()
        await village.until(lambda: village.on("one") == [], within=400)
        await village.until(lambda: not village.machines["one"].watchers)
        assert (village.on("local"), village.on("two")) == ([], [(3, 0, 1)])

    tell(story)


def test_another_way_to_the_same_daemon_takes_nothing_away_there() -> None:
    async def story(village: Village) -> None:
        away = await _deleted_while_away(village)
        village.machines["alias"] = village.machines["one"]
        await village.host("hub", "alias")
        await village.send(manifest("App", "web", spec(target="hub")))
        away.come_back()
        await village.until(lambda: "removal.completed" in village.types, within=400)
        await village.ready()
        await asyncio.sleep(60)
        assert village.on("one") == [(2, 0, 1)]
        assert len(village.machines["one"].watchers) == 1

    tell(story)
