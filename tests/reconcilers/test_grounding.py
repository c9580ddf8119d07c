"""What a project's apps share on a target is not cleared under one of them."""

import asyncio

from domain import intents as i
from domain.names import app
from reconcilers.grounding import GroundUse
from simulation import loop
from simulation.faults import CALM, Call, Trouble, on_verb
from tests.support.house import House, play
from tests.support.intents import manifest

WEB, API = app("shop", "web"), app("shop", "api")
IMAGE = {"image": "web:1"}


def test_an_app_that_comes_while_the_ground_is_cleared_waits_for_that() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", IMAGE))
        await house.ready()
        house.machine.faults.plan = on_verb("clear", Trouble(delay_seconds=20.0))
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: house.running() == [])
        await asyncio.sleep(5)
        house.machine.faults.plan = lambda _call: CALM
        await house.send(manifest("App", "api", IMAGE))
        await asyncio.sleep(4)
        assert house.running("api") == []
        await asyncio.sleep(30)
        assert house.running("api") == [(1, 0, 1)], "it was begun once, on a ground that stayed"

    play(story)


def test_what_is_being_started_keeps_the_ground_of_an_app_that_goes() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "api", IMAGE))
        await house.ready("api")
        cleared: list[bool] = []

        def plan(call: Call) -> Trouble:
            if call.verb == "clear":
                cleared.append(bool(house.running("web")))
            return Trouble(delay_seconds=60.0) if call.verb == "start" else CALM

        house.machine.faults.plan = plan
        await house.send(manifest("App", "web", IMAGE))
        await asyncio.sleep(3)
        await house.send(i.Delete(ref=WEB), i.Delete(ref=API))
        await asyncio.sleep(20)
        assert house.running("api") == []
        assert cleared == [], "web is being started"
        await asyncio.sleep(120)
        assert house.running("web") == []
        assert cleared == [False], "once, when nothing ran"

    play(story)


def test_only_a_list_that_began_after_a_pass_says_what_it_left() -> None:
    async def story() -> None:
        use, key = GroundUse(), ("shop", "web")
        early = use.listing()
        async with use.passing(key):
            use.listed(early, None)
            assert not use.is_free("shop")
            during = use.listing()
        for number in (early, during):
            use.listed(number, None)
            assert not use.is_free("shop")
        late = use.listing()
        use.listed(late, ("shop", "api"))
        assert not use.is_free("shop"), "that list was of another app"
        use.listed(late, key)
        assert use.is_free("shop")
        with use.clearing("shop"):
            assert not use.is_free("shop")
            assert use.is_free("lab")
        assert use.is_free("shop")

    loop.run(story())
