"""Stories of a worker and a router on virtual time: who gets requests, and until when."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from domain import intents as i
from domain.names import Ref, app
from projections.route_matching import Request, match
from reconcilers.ports import ReplicaName
from reconcilers.router_driver import RouterDriver
from reconcilers.router_ports import RouterMissing, RouterRefused, RouterUnavailable, Unserved
from reconcilers.routing import Routing
from reconcilers.status import Condition
from simulation import loop
from simulation.faults import CALM, Call, Trouble, on_verb
from simulation.router import SimulatedRouter, silent
from tests.support.house import House, play
from tests.support.intents import manifest

WEB = app("shop", "web")
HOST = "a.localhost"
CHECKED = {
    "ports": [{"name": "http", "port": 80}],
    "health": {"readiness": {"http": {"path": "/", "port": "http"}, "interval": "1s"}},
}
NO_ROUTER = {"engine": "simulated", "routing": {"router": "none"}}
BLUE = {"header": "x-feature", "value": "blue"}


def spec(image: str = "web:1", **more: Any) -> dict[str, object]:
    return {"image": image, "routes": [{"host": HOST}]} | CHECKED | more


def routed(house: House, name: str = "web") -> Condition:
    status = house.of(name)
    assert status is not None
    found = status.condition("Routed")
    assert found is not None
    return found


def behind(house: House, name: str = "web") -> int:
    """How many endpoints the router has of an app."""
    found = house.router.endpoints
    return sum(len(ends) for backend, ends in found.items() if backend.app == f"App/shop/{name}")


def answers(house: House, **headers: str) -> str | None:
    """The app that answers a request, by what the router serves now."""
    row = match(house.router.table, Request("http", HOST, "/", headers)).row
    if row is None:
        return None
    for shares in (row.shares, row.fallback):
        alive = [one.backend for one in shares if house.router.endpoints.get(one.backend)]
        if alive:
            return alive[0].app
    return "503"


async def serving(house: House, name: str = "web", replicas: int = 2, **more: Any) -> None:
    await house.send(manifest("App", name, spec(replicas=replicas, **more)))
    await house.ready(name)
    await house.until(lambda: routed(house, name).status == "True")


def test_a_route_that_the_router_cannot_serve_is_said_until_it_can() -> None:
    async def story(house: House) -> None:
        await serving(house)
        [row] = house.router.table.rows
        house.router.unserved = (Unserved(row.id, "this router asks nobody who a user is"),)
        await house.until(lambda: routed(house).reason == "RouteUnserved")
        assert routed(house).status == "False"
        assert routed(house).message == "this router asks nobody who a user is"
        house.router.unserved = ()
        await house.until(lambda: routed(house).status == "True")

    play(story)


def test_a_routed_app_is_reached_once_it_is_ready_and_says_so() -> None:
    async def story(house: House) -> None:
        await serving(house)
        assert answers(house) == "App/shop/web"
        assert behind(house) == 2
        assert routed(house).message == "1 URL leads to 2 replicas"
        first = next(one for one in house.router.published if one)
        assert len(house.router.applied[0].rows) <= 1  # endpoints were there before the route was
        assert first

    play(story)


def test_an_app_without_routes_has_no_such_condition_and_needs_no_router() -> None:
    async def story(house: House) -> None:
        await house.send(manifest("App", "web", spec(routes=[])))
        await house.ready()
        status = house.of()
        assert status is not None
        assert status.condition("Routed") is None
        assert not house.router.published

    play(story)


def test_an_app_gets_copies_of_requests_to_another_while_it_has_ready_replicas() -> None:
    async def story(house: House) -> None:
        mirror = {"app": "shadow", "percent": 10}
        shadow = manifest("App", "shadow", spec(routes=[]))
        web = manifest("App", "web", spec(routes=[{"host": HOST, "mirror": mirror}]))
        await house.send(shadow, web)
        await house.ready("shadow")
        await house.until(lambda: behind(house, "shadow") == 1)
        await house.until(lambda: routed(house).message == "1 URL leads to 1 replica")
        await house.send(i.Scale(ref=app("shop", "shadow"), replicas=0))
        await house.until(lambda: "has no replica that is ready" in routed(house).message)
        assert routed(house).status == "True"
        assert behind(house, "shadow") == 0
        await house.send(i.Delete(ref=app("shop", "shadow")))
        await house.until(lambda: "App/shop/shadow gets no copies" in routed(house).message)
        await house.until(lambda: "apply it there" in routed(house).message)
        house.router.uncopied = "it makes none"
        await house.send(manifest("App", "shadow", spec(routes=[])))
        await house.until(lambda: routed(house).message.endswith("requests: it makes none"))
        assert answers(house) == "App/shop/web"

    play(story)


def test_one_old_list_takes_nobody_s_requests_away_and_what_is_gone_gets_none() -> None:
    """Found by seed 533760020: with those gone that an old list left out, too few were left."""

    async def story(house: House) -> None:
        await serving(house)
        await asyncio.sleep(30)
        lists = iter([Trouble(distort=lambda _seen: [])])
        slowly = on_verb("start", Trouble(delay_seconds=3.0))
        house.machine.faults.plan = lambda call: (
            next(lists, CALM) if call.verb == "list" else slowly(call)
        )
        before = len(house.router.published)
        house.parts.worker.engine_event(WEB.stream)
        await asyncio.sleep(5)
        assert next(lists, None) is None
        told = house.router.published[before:]
        assert all(sum(len(ends) for ends in one.values()) == 2 for one in told)
        assert behind(house) == 2
        house.machine.faults.plan = slowly
        house.mischief.lose(ReplicaName("shop", "web", 1, 0, 1))
        assert await house.until(lambda: behind(house) == 1) < 1

    play(story)


def test_a_rollout_ends_nothing_that_a_new_request_may_meet() -> None:
    async def story(house: House) -> None:
        await serving(house)
        for number in range(2, 6):
            await house.send(manifest("App", "web", spec(f"web:{number}", replicas=2)))
            await house.ready()
        assert len(house.running()) == 2
        assert house.router.cut == []
        assert house.router.emptied == []

    play(story, router=SimulatedRouter(propagation=3.0))


def test_the_order_of_a_replacement() -> None:
    """New one ready, published, propagated; old one published no more, propagated, ended."""

    async def story(house: House) -> None:
        await serving(house, replicas=1)
        seen: list[tuple[float, int, int]] = []
        done = asyncio.create_task(_watch(house, seen))
        await house.send(manifest("App", "web", spec("web:2", replicas=1)))
        await house.ready()
        done.cancel()
        both = next(at for at, ends, _ in seen if ends == 2)
        alone = next(at for at, ends, _ in seen if at > both and ends == 1)
        ended = next(at for at, _, running in seen if at > both and running == 1)
        assert alone >= both + 1.98  # looked at every 0.01 s
        assert ended >= alone + 1.98

    play(story, router=SimulatedRouter(propagation=2.0))


async def _watch(house: House, seen: list[tuple[float, int, int]]) -> None:
    while True:
        seen.append((house.clock(), behind(house), len(house.running())))
        await asyncio.sleep(0.01)


def test_a_scale_down_a_stop_and_a_delete_cut_nothing() -> None:
    async def story(house: House) -> None:
        await serving(house, replicas=3)
        await house.send(i.Scale(ref=WEB, replicas=1))
        await house.ready()
        await house.send(i.Stop(ref=WEB))
        await house.until(lambda: not house.running())
        await house.until(lambda: routed(house).reason == "NoEndpoints")
        await house.send(i.Start(ref=WEB))
        await house.until(lambda: routed(house).status == "True")
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: not house.replicas())
        await house.until(lambda: not house.router.table.rows)
        assert house.router.cut == []

    play(story)


def test_while_the_router_is_silent_nothing_old_ends_and_then_it_goes_on() -> None:
    async def story(house: House) -> None:
        await serving(house, replicas=1)
        house.router.plan = on_verb("publish", Trouble(before=silent()))
        await house.send(manifest("App", "web", spec("web:2", replicas=1)))
        await asyncio.sleep(120)
        assert [revision for revision, _, _ in house.running()] == [1, 2]
        assert routed(house).reason == "RouterUnavailable"
        house.router.plan = lambda _call: CALM
        await house.ready()
        assert [revision for revision, _, _ in house.running()] == [2]
        await house.until(lambda: routed(house).status == "True")
        assert house.router.cut == []

    play(story)


def test_what_nothing_replaces_does_not_wait_for_ever_for_a_silent_router() -> None:
    async def story(house: House) -> None:
        await serving(house, replicas=1)
        house.router.plan = on_verb("publish", Trouble(before=silent()))
        await house.send(i.Stop(ref=WEB))
        await asyncio.sleep(20)
        assert house.running()
        await house.until(lambda: not house.running())

    play(story)


def test_without_a_router_apps_run_and_are_told_what_to_install() -> None:
    async def story(house: House) -> None:
        house.router_trouble = RouterMissing("caddy is not installed: apt install caddy")
        for image in ("web:1", "web:2"):
            await house.send(manifest("App", "web", spec(image)))
            await house.ready()
        assert [revision for revision, _, _ in house.running()] == [2]
        assert routed(house).reason == "RouterMissing"
        assert "apt install caddy" in routed(house).message
        status = house.of()
        assert status is not None
        assert status.is_true("Ready")
        house.router_trouble = None
        await house.until(lambda: routed(house).status == "True")

    play(story)


@pytest.mark.parametrize("call", ["open", "apply", "publish"])
def test_what_a_routers_host_refuses_is_told_and_tried_again(call: str) -> None:
    async def story(house: House) -> None:
        full = OSError(28, "No space left on device")
        if call == "open":
            house.router_trouble = full
        else:
            house.router.plan = on_verb(call, Trouble(before=full))
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: house.of() is not None)
        await house.until(lambda: routed(house).reason == "RouterUnavailable")
        assert "No space left on device" in routed(house).message
        assert dict(house.parts.routing.serve()) == {"local": 0.0}  # what an alert asks for
        house.router_trouble, house.router.plan = None, lambda _call: CALM
        await house.until(lambda: routed(house).status == "True", within=60)
        assert dict(house.parts.routing.serve()) == {"local": 1.0}
        await house.send(manifest("App", "web", spec(routes=[])))
        await house.until(lambda: not house.router.table.rows)
        assert dict(house.parts.routing.serve()) == {}

    play(story)


def test_a_router_that_cannot_be_opened_for_a_reason_that_nobody_foresaw_is_opened_later() -> None:
    async def story(house: House) -> None:
        house.router_trouble = LookupError("nobody thought of this")
        await house.send(manifest("App", "web", spec()))
        await asyncio.sleep(30)
        assert routed(house).status == "False"
        house.router_trouble = None
        await house.until(lambda: routed(house).status == "True")

    with capture_logs() as told:
        play(story)
    assert "a loop failed and starts again" in {one["event"] for one in told}


def test_a_target_may_have_no_router_at_all() -> None:
    async def story(house: House) -> None:
        routing = {"router": "none"}
        await house.send(manifest("Target", "local", {"engine": "simulated", "routing": routing}))
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        await house.until(lambda: routed(house).reason == "NoRouter")
        assert not house.router.published

    play(story)


def test_a_router_that_is_not_wanted_any_more_is_ended_and_so_is_that_of_a_target_that_goes() -> (
    None
):
    async def story(house: House) -> None:
        await serving(house)
        await house.send(manifest("Target", "local", NO_ROUTER))
        await house.until(lambda: house.unwanted)
        await house.until(lambda: routed(house).reason == "NoRouter")
        await house.send(manifest("Target", "local", {"engine": "simulated", "routing": {}}))
        await house.until(lambda: routed(house).status == "True")
        house.unwanted.clear()
        await house.send(i.Delete(ref=WEB))
        await house.until(lambda: house.of() is None)
        await house.send(i.Delete(ref=Ref("Target", "", "local")))
        await house.until(lambda: house.unwanted == ["local"])

    play(story)


def test_the_router_of_a_target_that_went_while_nobody_was_here_is_ended_once() -> None:
    async def story(house: House) -> None:
        await serving(house)
        house.left = ["gone", "local"]
        await house.until(lambda: house.unwanted)
        await asyncio.sleep(60)
        assert house.unwanted == ["gone"]
        assert routed(house).status == "True"

    play(story)


def test_what_is_not_known_to_be_gone_keeps_its_router() -> None:
    async def story(house: House) -> None:
        house.rewound = "the log went back"
        house.left = ["gone"]
        await asyncio.sleep(60)
        assert house.unwanted == []

    play(story)


def test_a_refused_table_is_told_and_the_next_one_is_tried_at_once() -> None:
    async def story(house: House) -> None:
        await serving(house)
        refused = RouterRefused("duplicate listener")
        house.router.plan = on_verb("apply", Trouble(before=refused))
        await house.send(manifest("App", "web", spec(routes=[{"host": "b.localhost"}])))
        await house.until(lambda: routed(house).reason == "RouterRefused")
        assert "duplicate listener" in routed(house).message
        assert house.router.table.rows[0].host == HOST
        await asyncio.sleep(60)
        house.router.plan = lambda _call: CALM
        await house.send(manifest("App", "web", spec(routes=[{"host": "c.localhost"}])))
        assert await house.until(lambda: house.router.table.rows[0].host == "c.localhost") < 1

    play(story)


def test_many_changes_within_a_moment_are_one_and_late_by_less_than_a_second() -> None:
    async def story(house: House) -> None:
        await serving(house)
        applied = len(house.router.applied)
        for number in range(20):
            routes = [{"host": f"h{number}.localhost"}]
            await house.send(manifest("App", f"w{number}", spec(routes=routes, replicas=0)))
        took = await house.until(lambda: len(house.router.table.rows) == 21)
        assert took <= 1
        assert len(house.router.applied) - applied <= 3

    play(story)


def test_a_foreign_edit_is_put_right_and_told() -> None:
    async def story(house: House) -> None:
        await serving(house)
        await asyncio.sleep(1)
        house.router.edit(house.router.table.rows[0].id)
        assert answers(house) is None
        await house.until(lambda: answers(house) == "App/shop/web", within=15)
        await asyncio.sleep(2)
        assert house.types.count("router.repaired") == 1

    play(story)


def test_a_router_that_begins_anew_gets_everything_again() -> None:
    async def story(house: House) -> None:
        await serving(house)
        await asyncio.sleep(1)
        published, applied = len(house.router.published), len(house.router.applied)
        house.router.begin_anew()
        await asyncio.sleep(1)
        assert len(house.router.published) > published
        assert len(house.router.applied) > applied

    play(story)


def test_a_context_takes_requests_and_gives_them_back_when_its_app_fails_or_goes() -> None:
    async def story(house: House) -> None:
        await serving(house)
        feature = [{"host": HOST, "contexts": [BLUE]}]
        await serving(house, "feature", 1, routes=feature)
        asked = {"x-feature": "blue"}
        assert answers(house) == "App/shop/web"
        assert answers(house, **asked) == "App/shop/feature"
        assert answers(house, **{"x-feature": "green"}) == "App/shop/web"
        await house.send(i.Stop(ref=app("shop", "feature")))
        await house.until(lambda: answers(house, **asked) == "App/shop/web")
        await house.send(i.Start(ref=app("shop", "feature")))
        await house.until(lambda: answers(house, **asked) == "App/shop/feature")
        await house.send(i.Delete(ref=app("shop", "feature")))
        await house.until(lambda: len(house.router.table.rows) == 1)
        assert answers(house, **asked) == "App/shop/web"
        assert house.router.cut == []

    play(story)


def test_while_no_replica_is_healthy_the_base_answers_or_nobody_as_the_context_says() -> None:
    """They go on running: who fails a readiness check is not ended, and comes back by itself."""

    async def story(house: House) -> None:
        await serving(house)
        green = {"header": "x-feature", "value": "green", "fallback": "none"}
        for name, context in (("blue", BLUE), ("green", green)):
            routes = [{"host": HOST, "contexts": [context]}]
            await serving(house, name, 1, routes=routes, env={"SIMULATED": "sick=30"})
        assert answers(house, **{"x-feature": "green"}) == "App/shop/green"
        await house.until(lambda: answers(house, **{"x-feature": "green"}) == "503", within=60)
        await house.until(lambda: answers(house, **{"x-feature": "blue"}) == "App/shop/web")
        for name, said in (("green", "answered with 503"), ("blue", "left to who has its URLs")):
            await house.until(lambda: routed(house, name).reason == "NoEndpoints")  # noqa: B023
            assert said in routed(house, name).message
        assert len(house.running("green")) == 1

    play(story)


def test_a_new_worker_leaves_requests_where_they_are() -> None:
    """Before it has asked anybody how they are, what ran and was rolled out goes on being met."""

    async def story(house: House) -> None:
        await serving(house)
        house.machine.witness = lambda _deed: None
        other = House(
            log=house.log, machine=house.machine, secrets=house.secrets, router=house.router
        )
        before = len(house.router.published)
        async with other.working():
            await asyncio.sleep(30)
        assert all(
            len(ends) == 2 for one in house.router.published[before:] for ends in one.values()
        )
        assert all(house.router.published[before:])

    play(story)


@pytest.mark.parametrize(
    "looks", [(3.0, [3.0]), (0.004, [0.0, 3.0])], ids=["not looked at", "looked at too early"]
)
def test_a_new_worker_that_has_not_seen_all_takes_nobody_s_requests_away(
    looks: tuple[float, list[float]],
) -> None:
    """World 7000124: a look at one app counted as if it were known what runs there.

    Whoever had not been looked at by then was published no more until a pass had asked how it is;
    and so was who had been looked at before that was known. `looks` are how long the list of all
    takes, and those of one app.
    """
    all_, each = looks[0], list(looks[1])

    def slowly(call: Call) -> Trouble:
        if call.verb == "list" and call.about == ("shop", "web"):
            return Trouble(delay_seconds=each.pop(0) if each else 3.0)
        is_of_all = call.verb == "list" and call.about is None
        return Trouble(delay_seconds=all_) if is_of_all else CALM

    async def main() -> None:
        house = House()
        async with house.working():
            await house.furnish()
            await serving(house)
            await serving(house, "api", routes=[{"host": "b.localhost"}])
        house.machine.faults.plan = slowly
        other = House(
            log=house.log, machine=house.machine, secrets=house.secrets, router=house.router
        )
        before = len(house.router.published)
        async with other.working():
            for number in (3, 2, 3):
                await other.send(i.Scale(ref=app("shop", "api"), replicas=number))
                await asyncio.sleep(0.5)
            await asyncio.sleep(30)
        assert house.router.published[before:]
        for one in house.router.published[before:]:
            assert {backend.app for backend in one} == {"App/shop/web", "App/shop/api"}

    loop.run(main())


def test_a_port_with_another_name_loses_no_request() -> None:
    async def story(house: House) -> None:
        await serving(house, replicas=1)
        renamed: dict[str, Any] = {"ports": [{"name": "web", "port": 80}]}
        renamed |= {"health": {"readiness": {"tcp": {"port": "web"}}}}
        await house.send(manifest("App", "web", spec("web:2", replicas=1, **renamed)))
        await house.ready()
        await house.until(lambda: behind(house) == 1)
        (row,) = house.router.table.rows
        assert row.shares[0].backend.port == "web"
        began = next(n for n, one in enumerate(house.router.published) if one)
        assert all(house.router.published[began:])
        assert any(row.shares[0].backend in one for one in house.router.published[began:-2])
        assert house.router.cut == []

    play(story)


type Deed = Callable[[House, int], Any]


async def _roll(house: House, number: int) -> None:
    await house.send(manifest("App", "web", spec(f"web:{number}")))


async def _scale(house: House, number: int) -> None:
    await house.send(i.Scale(ref=WEB, replicas=1 + number % 3))


async def _restart_router(house: House, _number: int) -> None:
    house.router.begin_anew()


DEEDS: Sequence[Deed] = (_roll, _roll, _scale, _restart_router)


def faults(draws: Sequence[int]) -> Callable[[Call], Trouble]:
    """Late, refused before, or done but answered by silence, as drawn call by call."""
    kinds = (
        CALM,
        CALM,
        Trouble(delay_seconds=1.5),
        Trouble(before=silent()),
        Trouble(after=silent()),
    )
    return lambda call: kinds[draws[call.number % len(draws)] % len(kinds)]


def busy(deeds: Sequence[tuple[int, float]], draws: Sequence[int], propagation: float) -> House:
    """A world in which things are asked while the router has troubles; then it is quiet."""
    kept: list[House] = []

    async def story(house: House) -> None:
        kept.append(house)
        await serving(house)
        house.router.plan = faults(draws)
        for number, (kind, pause) in enumerate(deeds, start=2):
            await DEEDS[kind](house, number)
            await asyncio.sleep(pause)
        house.router.plan = lambda _call: CALM
        await house.ready(within=200)
        await house.until(lambda: behind(house) == len(house.running()))

    play(story, router=SimulatedRouter(propagation=propagation))
    return kept[0]


worlds = {
    "deeds": st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.1, 1.0, 4.0])), min_size=2, max_size=6
    ),
    "draws": st.lists(st.integers(0, 4), min_size=5, max_size=5),
    "propagation": st.sampled_from([0.25, 2.0]),
}


@settings(max_examples=25)
@given(**worlds)
def test_whatever_the_router_does_no_request_is_cut_and_no_app_without_endpoints(
    deeds: list[tuple[int, float]], draws: list[int], propagation: float
) -> None:
    house = busy(deeds, draws, propagation)
    assert house.router.cut == []
    assert house.router.emptied == []


ROLLOUTS = [(0, 4.0), (0, 4.0)]


@pytest.mark.parametrize("skips", ["the wait for what was published", "being published no more"])
def test_who_skips_a_step_of_the_order_is_caught(
    skips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(_driver: RouterDriver, _needed: Callable[[], bool]) -> None:
        return

    async def not_at_all(*_about: object) -> None:
        return

    if skips == "being published no more":
        monkeypatch.setattr(Routing, "withdrawn", not_at_all)
    else:
        monkeypatch.setattr(RouterDriver, "without", at_once)
    assert busy(ROLLOUTS, [2], 2.0).router.cut


def test_a_silent_router_at_the_start_is_tried_again() -> None:
    async def story(house: House) -> None:
        house.router_trouble = RouterUnavailable("its socket is gone")
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        assert routed(house).reason == "RouterUnavailable"
        house.router_trouble = None
        await house.until(lambda: routed(house).status == "True")

    play(story)


def test_a_killed_replica_is_published_no_more_at_once() -> None:
    async def story(house: House) -> None:
        await serving(house)
        house.mischief.kill(ReplicaName("shop", "web", 1, 0, 1))
        before = len(house.router.published)
        await house.until(lambda: len(house.router.published) >= before + 2, within=1.0)
        counts = [sum(map(len, one.values())) for one in house.router.published[before:]]
        assert counts == [1, 2]  # without the dead one at once, with its successor when it is ready

    play(story)
