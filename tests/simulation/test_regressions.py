"""What simulated worlds found broken, each as the shortest story that shows it."""

import asyncio
from contextlib import suppress

import pytest

from bus.log import LogUnavailable
from domain import intents as i
from domain.names import app
from domain.refusals import NotFound
from reconcilers import projecting
from simulation import loop, releases
from simulation.faults import CALM, Trouble
from simulation.log import LogFaults, SimulatedLog
from simulation.sweep import Run, tell
from simulation.world import World
from tests.support.house import House
from tests.support.intents import manifest

WEB = app("shop", "web")


def test_a_refusal_that_rests_on_old_knowledge_is_decided_again() -> None:
    """`ControlPlaneMachine`: an app whose making was answered by silence never got its image.

    The process did not know what it had itself committed, refused what followed as being about no
    app, and kept that refusal under the key of the image for ever.
    """

    async def main() -> None:
        faults = LogFaults()
        house = House(log=SimulatedLog(faults=faults))
        await house.furnish()
        with suppress(NotFound):
            await house.send(i.Scale(ref=WEB, replicas=2))  # from now on it knows of no such app
        faults.swallows = lambda: LogUnavailable("the answer was lost")
        with pytest.raises(LogUnavailable):
            await house.send(manifest("App", "web", {"image": "web:1"}))
        faults.swallows = lambda: None
        async with house.working():
            await asyncio.sleep(60)
            assert house.running() == [(1, 0, 1)]
        answer = await house.send(i.Scale(ref=WEB, replicas=2))
        assert answer.changes[0].result == "configured"

    loop.run(main())


def test_a_refused_start_of_what_is_wanted_no_more_is_not_told_for_ever() -> None:
    """`move`: an app was called degraded long after it had arrived.

    Its former revision could not start on the new target, which has other images; that was told
    until the next intent.
    """
    assert tell(Run("move")).end["status of App/shop/web"][2][1:] == ("False", "AsExpected")


def test_an_image_that_went_from_its_machine_is_had_again() -> None:
    """Seed 103: an app stayed refused for ever because nobody asked for its image again."""

    async def main() -> None:
        house = House()
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", {"image": "web:1"}))
            await house.ready()
            await house.send(i.Stop(ref=WEB))
            await house.until(lambda: not house.running())
            house.machine.present_images.clear()
            await house.send(i.Start(ref=WEB))
            await house.until(house.running, within=30)

    loop.run(main())


def test_a_dead_replica_of_an_app_that_is_gone_is_taken_away() -> None:
    """Seed 111: a list left it out when its app was removed, and no later one was compared."""

    async def main() -> None:
        house = House()
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", {"image": "web:1"}))
            await house.ready()
            (dead,) = house.replicas()
            house.mischief.kill(dead.name)
            await house.ready()
            house.machine.is_believed, faults = False, house.machine.faults
            faults.plan = lambda _call: Trouble(
                distort=lambda seen: [one for one in seen if one.id != dead.id]
            )
            await house.send(i.Delete(ref=WEB))
            await house.until(lambda: "removal.completed" in house.types)
            faults.plan = lambda _call: CALM
            await house.until(lambda: not house.replicas(), within=30)

    loop.run(main())


def test_a_snapshot_of_another_release_is_not_used() -> None:
    """Seed 110: what an older release could not read stayed frozen under a newer one."""
    before = projecting.name()
    releases.become_newer()
    try:
        assert projecting.name() != before
    finally:
        releases.become_ours()
    assert projecting.name() == before


def test_a_paused_app_stays_where_it_is_whatever_target_is_asked_for() -> None:
    """Seed 446: a change of target was recorded in a pause, and followed at once."""

    async def main() -> None:
        world = World(1, targets=("local", "other"))
        ask = world.client.ask

        def running() -> list[tuple[str, int]]:
            found = world.truth.running("shop", "web")
            return [(target, one.order.name.revision) for target, one in found]

        async with world.living():
            targets = [manifest("Target", n, {"engine": "simulated"}) for n in world.machines]
            await ask([*targets, manifest("Project", "shop", {})], "furniture")
            await ask([manifest("App", "web", {"image": "web:1"})], "made")
            await asyncio.sleep(30)
            await ask([i.Hold(ref=WEB, reason="a sale")], "paused")
            await ask([manifest("App", "web", {"image": "web:1", "target": "other"})], "moved")
            await asyncio.sleep(120)
            assert running() == [("local", 1)]
            await ask([i.Resume(ref=WEB)], "resumed")
            await asyncio.sleep(60)
            assert running() == [("other", 2)]
        world.check()

    loop.run(main())
