"""What the simulated router does with calls, and that nothing of it is silent in seeded worlds."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from projections.route_table import Backend, Endpoint, RouteTable, Row, Share
from reconcilers.router_ports import RouterUnavailable
from simulation import knobs, loop, seeds
from simulation.faults import CALM, Trouble, on_call
from simulation.router import ANSWER_SECONDS, SimulatedRouter, silent

WEB = Backend("App/shop/web", 1, "http")
OLD, NEW = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)
RATES = {fault: 3 * rate for fault, rate in knobs.ROUTER_DEEDS.items()} | dict(knobs.ROUTER_CALLS)


def table(*hosts: str) -> RouteTable:
    return RouteTable(
        rows=tuple(
            Row(
                id=host,
                target="local",
                scheme="http",
                host=host,
                path="/",
                context=None,
                precedence=1,
                shares=(Share(WEB, 1),),
            )
            for host in hosts
        )
    )


def met(router: SimulatedRouter) -> list[str]:
    return [one.host for one in (OLD, NEW) if router.meets((one.host, one.number))]


def play(story: Callable[[SimulatedRouter], Awaitable[None]]) -> None:
    async def main() -> None:
        await story(SimulatedRouter(propagation=2.0))

    loop.run(main())


def test_what_is_published_no_more_is_met_until_a_propagation_after_the_call_returned() -> None:
    async def story(router: SimulatedRouter) -> None:
        await router.publish({WEB: (OLD,)})
        router.plan = lambda _call: Trouble(delay_seconds=1.0)
        await router.publish({WEB: (NEW,)})
        await asyncio.sleep(1.9)
        assert met(router) == [OLD.host, NEW.host]
        assert router.reaches((NEW.host, NEW.number))
        await asyncio.sleep(0.2)
        assert met(router) == [NEW.host]

    play(story)


def test_a_call_that_nobody_waits_for_any_more_takes_effect_before_the_next() -> None:
    async def story(router: SimulatedRouter) -> None:
        router.plan = on_call(1, Trouble(delay_seconds=2 * ANSWER_SECONDS + 2))
        with pytest.raises(RouterUnavailable, match="no answer within 5 s"):
            await router.publish({WEB: (OLD,)})
        assert router.endpoints == {}
        await asyncio.sleep(ANSWER_SECONDS)  # it still works on the first
        await router.publish({WEB: (NEW,)})
        assert router.published == [{WEB: (OLD,)}, {WEB: (NEW,)}]

    play(story)


def test_a_router_that_is_away_takes_nothing_and_comes_back_as_it_was() -> None:
    async def story(router: SimulatedRouter) -> None:
        await router.apply(table("a.test"))
        await router.publish({WEB: (OLD,)})
        news = asyncio.ensure_future(anext(aiter(router.watch())))
        await asyncio.sleep(0)
        router.away = "it is dead"
        for call in (router.apply(table()), router.publish({})):
            with pytest.raises(RouterUnavailable, match="it is dead"):
                await call
        router.begin_anew()
        await news
        assert met(router) == [OLD.host]
        assert not (await router.apply(table("a.test"))).changed

    play(story)


def test_a_lost_answer_is_that_of_a_call_that_took_effect() -> None:
    async def story(router: SimulatedRouter) -> None:
        router.plan = lambda _call: Trouble(after=silent())
        with pytest.raises(RouterUnavailable):
            await router.publish({WEB: (OLD,)})
        router.plan = lambda _call: CALM
        assert met(router) == [OLD.host]

    play(story)


def test_who_reads_an_old_table_writes_nothing_over_the_present_one() -> None:
    async def story(router: SimulatedRouter) -> None:
        await router.apply(table("a.test"))
        await router.apply(table("b.test"))
        router.seen = lambda _table: router.former
        assert not (await router.apply(table("a.test"))).changed  # as far as it can see
        with pytest.raises(RouterUnavailable, match="412"):
            await router.apply(table("c.test"))
        assert router.table == table("b.test")

    play(story)


def test_what_a_foreign_hand_did_is_put_right_once_and_named() -> None:
    async def story(router: SimulatedRouter) -> None:
        await router.apply(table("a.test"))
        router.intrude(table("foreign.test").rows[0])
        router.edit("a.test")
        applied = await router.apply(table("a.test"))
        assert (applied.changed, applied.drift) == (True, ("foreign.test", "a.test"))
        assert router.table == table("a.test")
        assert (await router.apply(table("a.test"))).drift == ()

    play(story)


def test_every_fault_of_routers_takes_effect_and_breaks_nothing() -> None:
    outcomes = [seeds.run(seed, RATES, minutes=4.0, clusters=False, routes=True) for seed in (1, 2)]
    assert not [one.violations for one in outcomes if one.violations]
    fired = {fault for one in outcomes for fault in one.fired}
    assert fired == set(RATES)


def test_one_seed_with_routers_tells_one_story() -> None:
    first, again = (seeds.run(5, minutes=3.0, clusters=False, routes=True).digest for _ in range(2))
    assert first == again
