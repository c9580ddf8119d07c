"""What a replica has in hand when it is to end is answered first: stories on virtual time."""

import asyncio
from typing import Any

import pytest

from domain import intents as i
from domain.names import app
from projections.route_table import Endpoint
from simulation.router import SimulatedRouter, silent
from tests.support.house import House, play
from tests.support.intents import manifest

WEB = app("shop", "web")
PROPAGATION = 0.25


def spec(image: str = "web:1", **more: Any) -> dict[str, object]:
    check = {"http": {"path": "/", "port": "http"}, "interval": "1s"}
    return {
        "image": image,
        "ports": [{"name": "http", "port": 80}],
        "health": {"readiness": check},
        "routes": [{"host": "a.localhost"}],
        "replicas": 1,
    } | more


def in_hand(house: House) -> dict[Endpoint, int]:
    """The one replica has a request that takes as long as the test likes."""
    [replica] = house.replicas()
    [address] = replica.addresses
    house.router.in_hand = {Endpoint(address.host, address.number): 1}
    return house.router.in_hand


async def leaving(house: House, **more: Any) -> None:
    """Its successor is there, and it gets no new request."""
    await house.send(manifest("App", "web", spec("web:2", **more)))
    await house.until(lambda: len(house.running()) == 2)
    await house.until(lambda: len(behind(house)) == 2)
    await house.until(lambda: len(behind(house)) == 1)


def behind(house: House) -> list[Endpoint]:
    return [one for ends in house.router.endpoints.values() for one in ends]


async def takes(house: House) -> float:
    """Seconds from now until one replica is left."""
    before = house.clock()
    await house.until(lambda: len(house.running()) == 1, within=120)
    return house.clock() - before


def test_a_replica_is_told_to_end_when_its_last_request_is_answered() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        left = in_hand(house)
        await leaving(house)
        await asyncio.sleep(20)
        assert len(house.running()) == 2
        left.clear()
        assert await takes(house) < 1.5  # looked at once a second by then

    play(story)


def test_one_that_has_nothing_in_hand_waits_for_nothing() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        await leaving(house)
        assert await takes(house) < PROPAGATION + 0.1

    play(story)


@pytest.mark.parametrize(("said", "seconds"), [({}, 30.0), ({"drain": "7s"}, 7.0)])
def test_a_request_that_never_ends_has_the_time_of_the_drain(
    said: dict[str, str], seconds: float
) -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(rollout=said)))
        await house.ready()
        in_hand(house)
        await leaving(house, rollout=said)
        assert await takes(house) == pytest.approx(seconds + PROPAGATION, abs=0.1)

    play(story)


def test_no_drain_at_all_is_one_choice() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(rollout={"drain": "0s"})))
        await house.ready()
        in_hand(house)
        await leaving(house, rollout={"drain": "0s"})
        assert await takes(house) < PROPAGATION + 0.1

    play(story)


@pytest.mark.parametrize(("said", "seconds"), [({}, 5.0), ({"drain": "7s"}, 7.0)])
def test_a_router_that_does_not_say_has_the_time_passed_whole(
    said: dict[str, str], seconds: float
) -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(rollout=said)))
        await house.ready()
        house.router.in_hand = None
        await leaving(house, rollout=said)
        assert await takes(house) == pytest.approx(seconds + PROPAGATION, abs=0.1)

    play(story)


def test_a_router_that_falls_silent_meanwhile_holds_nothing_for_ever() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        in_hand(house)
        await leaving(house)
        house.router.silence = silent()
        assert await takes(house) == pytest.approx(5.0 + PROPAGATION, abs=1.1)

    play(story)


@pytest.mark.parametrize("deed", [i.Stop(ref=WEB), i.Delete(ref=WEB)])
def test_a_stop_and_a_delete_let_it_answer_too(deed: i.Stop | i.Delete) -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        left = in_hand(house)
        await house.send(deed)
        await house.until(lambda: not behind(house))
        await asyncio.sleep(10)
        assert len(house.running()) == 1
        left.clear()
        await house.until(lambda: not house.running(), within=1.5)

    play(story)


def test_without_routes_nobody_is_waited_for() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(routes=[])))
        await house.ready()
        house.router.in_hand = None
        await house.send(i.Stop(ref=WEB))
        await house.until(lambda: not house.running(), within=0.5)

    play(story, router=SimulatedRouter(propagation=PROPAGATION))


def test_without_routes_nobody_is_waited_for_beside_others_that_have_some() -> None:
    """The router that another app has cannot tell, and has nothing to tell of this one."""

    async def story(house: House) -> None:
        await house.send(manifest("App", "routed", spec(routes=[{"host": "b.localhost"}])))
        await house.send(manifest("App", "web", spec(routes=[])))
        await house.ready()
        await house.until(lambda: len(behind(house)) == 1)
        house.router.in_hand = None
        await house.send(i.Stop(ref=WEB))
        await house.until(lambda: not house.running(), within=0.5)

    play(story)
