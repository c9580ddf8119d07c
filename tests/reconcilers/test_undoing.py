"""Stories of rollouts that fail: what is held, what goes back by itself, and that neither loops."""

import asyncio
from typing import Any

from bus import codec
from domain import events as e
from domain import intents as i
from domain.names import app
from reconcilers.ports import ReplicaName, StartFailed
from simulation.faults import CALM, Call, Trouble, on_verb
from tests.support.house import House, play
from tests.support.intents import manifest

WEB = app("shop", "web")
NO = Trouble(before=StartFailed("it is cursed"))
UNDOES = {"progressDeadline": "1m", "onFailure": "undo"}


def spec(image: str, *, how: str = "", **more: object) -> dict[str, object]:
    checked = {"readiness": {"http": {"path": "/", "port": "http"}}}
    return {
        "image": image,
        "env": {"SIMULATED": how},
        "ports": [{"name": "http", "port": 80}],
        "health": checked,
        "rollout": UNDOES,
        "replicas": 2,
    } | more


def sick(image: str = "web:2", **more: object) -> dict[str, object]:
    return spec(image, how="unready", **more)


def undone(house: House) -> list[e.AppUndone]:
    decoded = [codec.decode(one.type, one.data) for one in house.log.events]
    return [one for one in decoded if isinstance(one, e.AppUndone)]


async def _healthy(house: House, **more: Any) -> None:
    await house.send(manifest("App", "web", spec("web:1", **more)))
    await house.ready()


def test_a_revision_past_its_deadline_goes_back_to_the_last_healthy_one() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        await house.send(manifest("App", "web", sick()))
        await house.until(lambda: undone(house), 90)
        await house.ready()
        [event] = undone(house)
        assert (event.actor, event.to, event.revision) == ("system:rollouts", 1, 3)
        assert {number for number, _, _ in house.running()} == {3}
        assert house.types.count("rollout.stalled") == 1
        await asyncio.sleep(3600)
        assert len(undone(house)) == 1
        assert {number for number, _, _ in house.running()} == {3}

    play(story)


def test_it_goes_back_before_the_deadline_for_nobody_and_by_default_never() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        await house.send(manifest("App", "web", sick()))
        await asyncio.sleep(45)
        assert not undone(house)
        held = {"progressDeadline": "1m"}
        await house.send(manifest("App", "web", sick(rollout=held)))
        await asyncio.sleep(3600)
        assert "rollout.stalled" in house.types
        assert not undone(house)
        await house.send(manifest("App", "web", sick()))
        await house.until(lambda: undone(house), 60)

    play(story)


def test_an_undo_that_fails_too_is_held() -> None:
    def third_never_starts(call: Call) -> Trouble:
        cursed = isinstance(call.about, ReplicaName) and call.about.revision > 2
        return NO if cursed and call.verb == "start" else CALM

    async def story(house: House) -> None:
        await _healthy(house)
        house.machine.faults.plan = third_never_starts
        await house.send(manifest("App", "web", sick()))
        await house.until(lambda: house.types.count("rollout.stalled") == 2, 600)
        await asyncio.sleep(3600)
        assert [event.to for event in undone(house)] == [1]
        assert {number for number, _, _ in house.running()} >= {1}
        status = house.of()
        assert status is not None
        assert status.is_true("Ready")
        assert status.is_true("Degraded")

    play(story)


def test_an_equal_spec_that_fails_is_not_undone() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        house.machine.faults.plan = on_verb("start", NO)
        await house.send(i.Restart(ref=WEB))
        await house.until(lambda: "rollout.stalled" in house.types, 120)
        await asyncio.sleep(600)
        assert not undone(house)

    play(story)


def test_a_first_revision_has_nothing_to_go_back_to() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", sick("web:1")))
        await house.until(lambda: "rollout.stalled" in house.types, 120)
        await asyncio.sleep(600)
        assert not undone(house)

    play(story)


def test_while_it_is_paused_or_stopped_nothing_is_undone() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        await house.send(manifest("App", "web", sick()))
        await asyncio.sleep(10)
        await house.send(i.Hold(ref=WEB, reason="a look"))
        await house.until(lambda: "rollout.stalled" in house.types, 120)
        await house.send(i.Stop(ref=WEB))
        await house.send(i.Resume(ref=WEB))
        await asyncio.sleep(600)
        assert not undone(house)
        await house.send(i.Start(ref=WEB))
        await house.until(lambda: undone(house), 120)

    play(story)


def test_who_asks_for_the_failed_revision_again_gets_another_try() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        for turn in (1, 2):
            await house.send(manifest("App", "web", sick()))
            await house.until(lambda: len(undone(house)) == turn, 120)  # noqa: B023
            await house.ready()
        assert [event.revision for event in undone(house)] == [3, 5]

    play(story)


def test_how_many_there_are_is_not_undone() -> None:
    async def story(house: House) -> None:
        await _healthy(house)
        await house.send(manifest("App", "web", sick()))
        await asyncio.sleep(30)
        await house.send(i.Scale(ref=WEB, replicas=4))
        await house.until(lambda: undone(house), 120)
        await house.ready()
        assert len(house.running()) == 4

    play(story)


def test_what_is_replaced_in_place_goes_back_too() -> None:
    async def story(house: House) -> None:
        in_place = UNDOES | {"strategy": "stopFirst"}
        await _healthy(house, rollout=in_place)
        await house.send(manifest("App", "web", sick(rollout=in_place)))
        await house.until(lambda: house.running() and max(house.running())[0] == 2, 30)
        status = house.of()
        assert status is not None
        assert status.ready == 1, "slot by slot: the other one serves"
        await house.until(lambda: undone(house), 120)
        await house.ready()
        assert {number for number, _, _ in house.running()} == {3}

    play(story)
