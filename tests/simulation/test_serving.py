"""URLs of routers and clusters at once: what the double of a cluster's router does, and worlds."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from domain import intents as i
from reconcilers.object_ports import ObjectKey
from simulation import seeds
from simulation.invariants.violations import Invariant
from simulation.scenarios import WEB, Scene
from simulation.world import World
from tests.simulation import meeting, serving_mutants

SERVICE = ObjectKey("v1", "Service", "stw-shop", "web")


def play(story: Callable[[Scene], Awaitable[None]]) -> None:
    assert not meeting.told(story)


def states(scene: Scene) -> list[tuple[bool, bool]]:
    """Of each pod behind the app's Service: whether requests meet it, and reach it."""
    serving = scene.world.clusters["cloud"].serving
    return [(serving.meets(pod), serving.reaches(pod)) for pod in serving.behind(SERVICE)]


async def up(scene: Scene) -> World:
    routes = [{"host": meeting.HOST}]
    await scene.apply(WEB, how="slow=3", replicas=1, target="cloud", routes=routes)
    await scene.rest()
    return scene.world


def test_a_pod_is_met_when_it_is_ready_and_reached_a_propagation_later() -> None:
    async def story(scene: Scene) -> None:
        world = await up(scene)
        assert states(scene) == [(True, True)]
        await scene.ask(i.Restart(ref=WEB))
        while len(states(scene)) == 1 or not states(scene)[1][0]:
            await asyncio.sleep(0.5)
        assert states(scene)[1] == (True, False)
        await asyncio.sleep(meeting.PROPAGATION)
        assert states(scene)[1] == (True, True)
        assert [one.host for one in world.clusters["cloud"].serving.urls()] == [meeting.HOST]

    play(story)


def test_a_pod_that_ends_leaves_at_once_is_met_a_while_waits_gets_its_signal_and_goes() -> None:
    async def story(scene: Scene) -> None:
        world = await up(scene)
        cluster, signals = world.clusters["cloud"], list[float]()
        before, began = cluster.machine.witness, world.clock()
        cluster.machine.witness = lambda deed: (
            signals.append(world.clock() - began) if deed.verb == "signal" else before(deed)
        )
        await scene.ask(i.Stop(ref=WEB))
        while cluster.nodes.pods and not any(map(cluster.nodes.is_ending, cluster.nodes.pods)):
            await asyncio.sleep(0.1)
        asked = world.clock() - began
        assert states(scene) == [(True, False)], "requests on their way may still come"
        await asyncio.sleep(meeting.PROPAGATION + 0.2)
        assert states(scene) == [(False, False)]
        while cluster.nodes.pods:
            await asyncio.sleep(0.1)
        gone = world.clock() - began
        [signal] = signals
        assert signal >= asked - 0.2 + 5.0, "the wait that every pod is rendered with"
        assert gone >= signal + 3.0 - 0.2, "it takes its time to obey"

    play(story)


def test_the_url_of_an_app_that_moves_to_a_cluster_and_back_always_leads_to_somebody() -> None:
    play(meeting.there_and_back)


def test_an_app_that_moves_in_the_midst_of_a_rollout_keeps_what_serves() -> None:
    """Seed 7000018: only what had completed its rollout got requests, and that was on its way out.

    The new revision served already, and the old one's last replica was withdrawn for its sake.
    """

    async def story(scene: Scene) -> None:
        routes = [{"host": meeting.HOST}]
        await scene.apply(WEB, replicas=1, routes=routes)
        await scene.rest()
        router = scene.world.routers["local"]
        [before] = router.endpoints.values()
        await scene.apply(WEB, "web:2", replicas=1, routes=routes)
        while not router.endpoints or before[0] in next(iter(router.endpoints.values())):
            await asyncio.sleep(0.1)
        app = scene.world.truth.desired.app(WEB.stream)
        assert app is not None
        assert app.stable == 1, "its rollout is not over"
        await scene.apply(WEB, "web:2", "unready=9", replicas=1, target="cloud", routes=routes)
        for _ in range(40):
            await asyncio.sleep(0.2)
            assert router.endpoints
        await scene.rest()

    play(story)


def test_a_context_on_a_cluster_comes_before_longer_paths_of_others() -> None:
    play(meeting.with_a_context)
    with serving_mutants.longer_paths_forgotten():
        broken = meeting.told(meeting.with_a_context)
    assert [one.invariant for one in broken[:1]] == [Invariant.ROUTES]


@pytest.mark.parametrize("seed", [7000003])
def test_a_seed_with_routers_and_a_cluster_holds_and_tells_one_story(seed: int) -> None:
    first, again = (seeds.run(seed, minutes=2.0, clusters=True, routes=True) for _ in range(2))
    assert not first.violations
    assert first.digest == again.digest


def test_some_worlds_with_a_cluster_have_routers_and_some_have_none() -> None:
    found = {seeds.has_routes(seed, clusters=True) for seed in range(20)}
    assert found == {True, False}
