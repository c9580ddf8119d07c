"""Taking over from an installation whose log is lost: two control planes in turn on one machine."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from bus.log import LogUnavailable
from domain import intents as i
from domain.names import app
from reconcilers.ports import EngineUnavailable, ReplicaState
from simulation import loop
from simulation.faults import CALM, Call, Trouble, on_verb
from tests.support.house import House
from tests.support.intents import manifest

FORMER = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"
PRESENT = "11111111-1111-4111-8111-111111111111"
THIRD = "77777777-7777-4777-8777-777777777777"
WEB = app("shop", "web")
ADOPT = i.Adopt(ref=WEB, installation=FORMER)
CHECK = {"readiness": {"http": {"path": "/", "port": "http"}}}


def spec(simulated: str = "", replicas: int = 2, **more: object) -> dict[str, object]:
    return {
        "image": "web:1",
        "replicas": replicas,
        "env": {"SIMULATED": simulated},
        "ports": [{"name": "http", "port": 80}],
        "health": CHECK,
        **more,
    }


def left_of(house: House, installation: str, name: str = "web") -> int:
    """How many replicas of an installation run on the machine."""
    found = house.machine.owned(installation, ("shop", name))
    return sum(1 for one in found if one.seen.state is ReplicaState.RUNNING)


def ready(house: House) -> int:
    status = house.of()
    return status.ready if status else 0


async def former(installation: str = FORMER, house: House | None = None) -> House:
    """An installation that ran `web` and `api`, and whose control plane is gone for good."""
    lost = House(installation=installation, machine=house.machine if house else None)
    async with lost.working():
        await lost.furnish()
        for name in ("web", "api"):
            await lost.send(manifest("App", name, spec()))
            await lost.ready(name)
    return lost


def successor(lost: House) -> House:
    return House(machine=lost.machine, secrets=lost.secrets, installation=PRESENT, seed=2)


@asynccontextmanager
async def taking_over(simulated: str = "") -> AsyncIterator[House]:
    """A new installation beside what the former one left, with the same app applied."""
    house = successor(await former())
    async with house.working():
        await house.furnish()
        await house.send(manifest("App", "web", spec(simulated)))
        yield house


def tell(story: Callable[[House], Awaitable[None]], simulated: str = "") -> None:
    async def main() -> None:
        async with taking_over(simulated) as house:
            await story(house)

    loop.run(main())


async def adopted(house: House, within: float = 60.0) -> None:
    await house.until(lambda: "adoption.completed" in house.types, within)
    await house.ready()


def test_without_adopt_both_run_for_ever() -> None:
    async def story(house: House) -> None:
        await house.ready()
        await asyncio.sleep(300)
        assert (left_of(house, FORMER), left_of(house, PRESENT)) == (2, 2)

    tell(story)


def test_what_the_former_ran_of_the_app_goes_and_nothing_else() -> None:
    async def main() -> None:
        lost = await former()
        await former(THIRD, lost)
        house = successor(lost)
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", spec()))
            await house.send(ADOPT)
            await adopted(house)
            assert (left_of(house, FORMER), left_of(house, PRESENT)) == (0, 2)
            assert left_of(house, FORMER, "api") == 2
            assert left_of(house, THIRD) == 2
            assert house.machine.ground(FORMER, "shop").is_prepared
            assert house.types.count("adoption.completed") == 1

    loop.run(main())


def test_nothing_ends_before_ours_are_ready() -> None:
    async def story(house: House) -> None:
        await house.send(ADOPT)

        async def watch() -> None:
            while "adoption.completed" not in house.types:
                assert ready(house) == 2 or left_of(house, FORMER) == 2
                await asyncio.sleep(0.05)

        await asyncio.wait_for(watch(), 120)
        assert left_of(house, FORMER) == 0

    tell(story, "unready=20")


def test_while_ours_never_get_ready_theirs_go_on() -> None:
    async def story(house: House) -> None:
        await house.send(ADOPT)
        await asyncio.sleep(3600)
        assert left_of(house, FORMER) == 2
        await house.send(manifest("App", "web", spec()))
        await adopted(house)
        assert left_of(house, FORMER) == 0

    tell(story, "exit=1")


def test_theirs_stay_while_a_revision_is_on_its_way() -> None:
    async def story(house: House) -> None:
        await house.ready()
        await house.send(manifest("App", "web", spec("unready=30")))
        await house.send(ADOPT)
        await asyncio.sleep(20)
        assert left_of(house, FORMER) == 2
        await adopted(house, 120)
        assert left_of(house, FORMER) == 0

    tell(story)


def test_an_app_that_should_not_run_ends_theirs_at_once() -> None:
    async def story(house: House) -> None:
        await house.ready()
        await house.send(i.Stop(ref=WEB))
        await house.send(ADOPT)
        await house.until(lambda: "adoption.completed" in house.types)
        assert (left_of(house, FORMER), left_of(house, PRESENT)) == (0, 0)

    tell(story)


def test_a_deleted_app_adopts_nothing_any_more() -> None:
    async def story(house: House) -> None:
        await house.send(ADOPT)
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: "removal.completed" in house.types)
        await asyncio.sleep(60)
        assert left_of(house, FORMER) == 2
        assert not house.desired.adopting()

    tell(story, "unready=20")


def test_the_project_is_cleared_with_its_last_app_and_its_volumes_stay() -> None:
    async def main() -> None:
        lost = await former()
        ground = lost.machine.ground(FORMER, "shop")
        ground.volumes["web", "data", 0] = {"jewels": "many"}
        house = successor(lost)
        async with house.working():
            await house.furnish()
            for name in ("web", "api"):
                await house.send(manifest("App", name, spec()))
                await house.send(i.Adopt(ref=app("shop", name), installation=FORMER))
            await house.until(lambda: house.types.count("adoption.completed") == 2)
        assert not ground.is_prepared
        assert ground.volumes == {("web", "data", 0): {"jewels": "many"}}

    loop.run(main())


def test_what_has_ended_there_goes_too() -> None:
    async def story(house: House) -> None:
        for one in list(house.machine.owned(FORMER, ("shop", "web"))):
            house.machine.finish(one, 1)
        await house.send(ADOPT)
        await adopted(house)
        assert not list(house.machine.owned(FORMER, ("shop", "web")))

    tell(story)


def test_an_adoption_of_nothing_is_over_at_once() -> None:
    async def story(house: House) -> None:
        await house.send(i.Adopt(ref=WEB, installation=THIRD))
        await adopted(house)
        assert left_of(house, FORMER) == 2

    tell(story)


def test_once_it_is_over_nothing_is_written_any_more() -> None:
    async def story(house: House) -> None:
        await house.send(ADOPT)
        await adopted(house)
        await asyncio.sleep(30)
        before, position = house.writes(), len(house.log.events)
        await asyncio.sleep(600)
        assert (house.writes(), len(house.log.events)) == (before, position)

    tell(story)


def test_a_status_says_that_it_is_not_over() -> None:
    async def story(house: House) -> None:
        await house.ready()
        house.machine.faults.plan = on_verb("end_foreign", Trouble(before=EngineUnavailable("no")))
        await house.send(ADOPT)
        await asyncio.sleep(30)
        status = house.of()
        synced = status.condition("Synced") if status else None
        assert synced is not None
        assert (synced.status, synced.reason) == ("False", "Adopting")
        assert FORMER in synced.message
        house.machine.faults.plan = lambda _call: CALM
        await adopted(house, 90)

    tell(story)


@pytest.mark.parametrize("verb", ["list_foreign", "end_foreign", "clear_foreign"])
@pytest.mark.parametrize("effect", ["before", "after"])
def test_an_engine_that_fails_at_a_step_is_asked_again(verb: str, effect: str) -> None:
    async def story(house: House) -> None:
        error = EngineUnavailable("lost")
        trouble = Trouble(before=error) if effect == "before" else Trouble(after=error)
        house.machine.faults.plan = on_verb(verb, trouble)
        await house.send(ADOPT)
        await asyncio.sleep(60)
        assert "adoption.completed" not in house.types or effect == "after"
        house.machine.faults.plan = lambda _call: CALM
        await adopted(house, 90)
        assert (left_of(house, FORMER), left_of(house, PRESENT)) == (0, 2)

    tell(story)


def test_an_engine_that_hangs_holds_up_no_healing() -> None:
    async def story(house: House) -> None:
        await house.ready()
        house.machine.faults.plan = on_verb("end_foreign", Trouble(delay_seconds=1_000_000.0))
        await house.send(ADOPT)
        await asyncio.sleep(5)
        house.mischief.kill(house.replicas()[0].name)
        await house.until(lambda: "replica.healed" in house.types, 10)

    tell(story)


def test_a_halted_control_plane_ends_nothing_foreign() -> None:
    async def story(house: House) -> None:
        await house.ready()
        house.rewound = "the log went back"
        await house.send(ADOPT)
        await asyncio.sleep(120)
        assert left_of(house, FORMER) == 2

    tell(story)


def test_without_the_log_nothing_foreign_ends() -> None:
    async def story(house: House) -> None:
        house.machine.faults.plan = on_verb("end_foreign", Trouble(before=EngineUnavailable("no")))
        await house.send(ADOPT)
        await asyncio.sleep(30)
        read = house.log.read

        async def away(*_: object) -> object:
            raise LogUnavailable("the disk is gone")

        house.log.read = away  # type: ignore[method-assign, assignment]
        await asyncio.sleep(10)
        house.machine.faults.plan = lambda _call: CALM
        await asyncio.sleep(120)
        assert left_of(house, FORMER) == 2
        house.log.read = read  # type: ignore[method-assign]
        await adopted(house, 120)

    tell(story)


def test_a_control_plane_that_still_runs_is_not_fought_at_full_speed() -> None:
    async def main() -> None:
        lost = await former()
        house = successor(lost)
        again = House(log=lost.log, machine=lost.machine, secrets=lost.secrets, installation=FORMER)
        async with again.working(), house.working():
            await house.furnish()
            await house.send(manifest("App", "web", spec()))
            await house.ready()
            await house.send(ADOPT)
            await asyncio.sleep(1200)
            assert ready(house) == 2
            assert house.machine.calls["end_foreign"] < 150
        async with house.working():  # as it was stopped
            await adopted(house, 120)
            assert left_of(house, FORMER) == 0

    loop.run(main())


def test_a_crash_between_any_two_steps_is_taken_up_by_the_next_worker() -> None:
    """The control plane dies right before, or right after, the n-th call to the engine."""

    async def main() -> None:
        for effect in ("before", "after"):
            for number in range(1, 100):
                if await _crashed(number, effect):
                    break
            else:
                pytest.fail("the adoption takes more calls than a crash was tried at")

    loop.run(main())


async def _crashed(number: int, effect: str) -> bool:
    """Crash at a call; return whether there were fewer calls until the adoption was over."""
    first = successor(await former())
    crash = asyncio.Event()
    calls = count(1)

    def plan(_call: Call) -> Trouble:
        """Everything goes well until a call, and from then on nothing gets through."""
        at = next(calls)
        if at < number:
            return CALM
        crash.set()
        dead: Any = asyncio.CancelledError()
        return Trouble(after=dead) if (at, effect) == (number, "after") else Trouble(before=dead)

    async with first.working():
        await first.furnish()
        await first.send(manifest("App", "web", spec()))
        await first.ready()
        first.machine.faults.plan = plan
        await first.send(ADOPT)
        over = asyncio.create_task(adopted(first))
        crashed = asyncio.create_task(crash.wait())
        await asyncio.wait((over, crashed), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        crashed.cancel()
        survived = not crash.is_set()
    first.machine.faults.plan = lambda _call: CALM
    second = House(
        log=first.log,
        machine=first.machine,
        secrets=first.secrets,
        installation=PRESENT,
        seed=number,
    )
    async with second.working():
        await second.until(lambda: "adoption.completed" in second.types)
        await second.ready()
        await asyncio.sleep(30)
        assert (left_of(second, FORMER), left_of(second, PRESENT)) == (0, 2)
        assert not list(second.machine.owned(FORMER, ("shop", "web")))
        assert left_of(second, FORMER, "api") == 2
        assert not second.desired.adopting()
    return survived
