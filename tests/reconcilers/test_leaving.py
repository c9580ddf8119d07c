"""What simulated worlds with routers found broken, each as the shortest story that shows it."""

import asyncio
from typing import Any

from domain import intents as i
from projections.route_table import Endpoint
from reconcilers.replica_facts import Seen
from reconcilers.replicas import Stop, needed_again
from simulation import loop
from simulation.faults import CALM, Trouble, on_verb
from simulation.router import SimulatedRouter, silent
from simulation.scenarios import ROUTES, Scene
from simulation.sweep import SETTINGS, Crash, Run, tell
from simulation.world import World
from tests.reconcilers.test_routing import WEB, behind, serving, spec
from tests.support.house import House, play
from tests.support.intents import manifest
from tests.support.replicas import World as Decision
from tests.support.replicas import replica, wanting


def ends(house: House) -> list[Endpoint]:
    return [end for found in house.router.endpoints.values() for end in found]


def test_what_becomes_ready_while_it_drains_gets_no_request() -> None:
    """Seed 8: it was not published when its end began, so nobody noted that it was to end."""

    async def story(house: House) -> None:
        house.router.in_hand = None  # it tells nobody: all of the drain is waited for
        slowly: dict[str, Any] = {"rollout": {"drain": "10s"}}
        late = spec(replicas=1, env={"SIMULATED": "unready=6"}, **slowly)
        await house.send(manifest("App", "web", late))
        await asyncio.sleep(3)
        assert house.running() == [(1, 0, 1)]
        await house.send(manifest("App", "web", spec("web:2", replicas=1, **slowly)))
        await house.until(lambda: behind(house) == 1)
        await house.until(lambda: len(house.running()) == 1)
        assert all(len(ends) == 1 for one in house.router.published for ends in one.values())
        assert house.router.cut == []

    play(story)


def test_an_app_that_gives_up_its_routes_has_nobody_met_who_was_never_ready() -> None:
    """Seed 13: until the router had let go of the row, whatever ran was published."""

    async def story(house: House) -> None:
        slow: dict[str, Any] = {"env": {"SIMULATED": "unready=5"}}
        await serving(house, replicas=1, **slow)
        house.router.plan = on_verb("apply", Trouble(before=silent()))
        await house.send(manifest("App", "web", spec(replicas=3, routes=[], **slow)))
        await asyncio.sleep(3)
        assert len(house.running()) == 3
        assert behind(house) == 1

    play(story)


def test_a_replica_is_replaced_as_soon_as_requests_reach_its_successor() -> None:
    """`rollout-behind-a-router`: whatever led to a look before that took the place of the wake."""
    told = tell(Run("rollout-behind-a-router"))
    assert not told.violations
    assert told.rested < 11.0  # two replicas: unready for 3 s, published, drained; no replay tick


def test_an_end_that_failed_is_tried_again_although_others_are_just_enough() -> None:
    """Seed 113: withdrawn and ready, it was kept for ever as one that may be needed."""
    want = wanting(2, 2, stable=1)
    ready = [Seen(replica(2, slot), ready=True) for slot in range(2)]
    decision = Decision(want)
    decision.put(*ready, Seen(replica(1, 0), ready=True, routed=False))
    (stop,) = decision.plan().actions
    assert isinstance(stop, Stop)
    assert stop.replica.name.revision == 1
    down = Decision(wanting(1, stable=1))
    down.put(
        Seen(replica(1, 0), ready=True),
        Seen(replica(1, 1), ready=True, routed=False),
    )
    (stop,) = down.plan().actions
    assert isinstance(stop, Stop)
    assert stop.replica.name.slot == 1


def test_the_rows_of_a_deleted_app_go_although_the_control_plane_died_meanwhile() -> None:
    """`delete-behind-a-router`: the next life saw no route, and drove no router."""
    for crash in (Crash("after", 1), Crash("after", 2)):
        told = tell(Run("delete-behind-a-router", (crash,)))
        assert told.happened == 1
        assert not told.violations


def test_a_new_life_waits_until_nothing_is_met_that_the_former_one_published() -> None:
    """Seed 21: what it had not published itself counted as met by nobody."""

    async def main() -> None:
        house = House(router=SimulatedRouter(propagation=2.0))
        async with house.working():
            await house.furnish()
            await serving(house, replicas=1)
        house.machine.witness = lambda _deed: None
        other = House(
            log=house.log, machine=house.machine, secrets=house.secrets, router=house.router
        )
        await other.send(manifest("App", "web", spec(replicas=1, routes=[])))
        async with other.working():
            await other.until(lambda: not other.router.endpoints)
            await other.send(i.Stop(ref=WEB))
            await other.until(lambda: not other.running())
        assert other.router.cut == []

    loop.run(main())


def test_an_app_that_comes_back_keeps_what_was_to_be_removed_there() -> None:
    """Seed 24: replicas waited for a silent router to be removed, and were when it answered."""

    async def main() -> None:
        world = World(1, targets=("local", "spare"), propagation=1.0, settings=SETTINGS)
        world.site.bus_of = None
        wanted: dict[str, Any] = {"replicas": 2, "routes": ROUTES}
        async with world.living():
            targets = [manifest("Target", name, {"engine": "simulated"}) for name in world.machines]
            await world.client.ask([*targets, manifest("Project", "shop", {})], "furniture")
            scene = Scene(world, 60.0)
            await scene.apply(WEB, target="local", **wanted)
            await scene.rest()
            router = world.routers["local"]
            router.away = "its socket is gone"
            await scene.apply(WEB, target="spare", **wanted)
            await asyncio.sleep(10)
            assert len(world.truth.running("shop", "web")) == 4  # two are waited for
            await scene.apply(WEB, "web:2", "unready=5", target="local", **wanted)
            await asyncio.sleep(2)
            router.begin_anew()
            await scene.rest()
        world.check()

    loop.run(main())


def test_a_list_that_leaves_out_what_ends_brings_it_no_requests() -> None:
    """While it drained it was forgotten that it was to end, and then a list showed it again."""

    async def story(house: House) -> None:
        house.router.in_hand = None
        await serving(house, replicas=2, rollout={"drain": "10s"})
        leaving = house.replicas()[1].id
        await house.send(i.Scale(ref=WEB, replicas=1))
        await house.until(lambda: behind(house) == 1)
        house.machine.is_believed, faults = False, house.machine.faults
        faults.plan = lambda _call: Trouble(
            distort=lambda seen: [one for one in seen if one.id != leaving]
        )
        house.mischief.edit(house.replicas()[0].name)  # leads to a look
        await asyncio.sleep(1)
        faults.plan = lambda _call: CALM
        await house.until(lambda: len(house.running()) == 1)
        assert house.router.cut == []

    play(story)


def test_an_end_is_taken_back_when_what_replaces_it_dies_while_it_drains() -> None:
    """Seeds 314 to 328: what was decided when enough others served was carried out at any cost."""

    async def story(house: House) -> None:
        house.router.in_hand = None
        drains: dict[str, Any] = {"rollout": {"drain": "10s"}}
        await serving(house, replicas=1, **drains)
        (first,) = house.replicas()
        mortal = spec("web:2", replicas=1, env={"SIMULATED": "lives=6"}, **drains)
        await house.send(manifest("App", "web", mortal))
        await house.until(lambda: len(house.running()) == 2)
        await house.until(lambda: behind(house) == 1)  # the old one drains
        await house.until(lambda: (1, 0, 1) in house.running() and len(house.running()) == 1)
        await house.until(lambda: any(first.addresses[0].host == end.host for end in ends(house)))
        await asyncio.sleep(10)
        assert (1, 0, 1) in house.running()

    play(story)


def test_only_as_many_ends_are_taken_back_as_are_needed() -> None:
    want = wanting(2, 2, stable=1)
    new, old = [replica(2, slot) for slot in range(2)], [replica(1, slot) for slot in range(2)]
    seen = [Seen(new[0], ready=True), *(Seen(one, ready=True, routed=False) for one in old)]
    ids = {one.id for one in old}
    assert [one.replica for one in needed_again(want, seen, ids, ids)] == [old[0]]
    assert [one.replica for one in needed_again(want, seen, ids, {old[1].id})] == [old[1]]
    assert not needed_again(want, [*seen, Seen(new[1], ready=True)], ids, ids)
    assert not needed_again(wanting(0, stable=1), seen, ids, ids)
