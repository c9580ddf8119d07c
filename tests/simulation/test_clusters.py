"""What simulated worlds with a cluster found broken, and what the simulated cluster itself does."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import pytest

from domain import intents as i
from reconcilers.object_labels import REVISION
from reconcilers.object_ports import ObjectKey
from reconcilers.ports import EngineUnavailable
from simulation import loop, seeds
from simulation.cluster.merging import fields, merged, without
from simulation.cluster.rollout import Set, scaled
from simulation.faults import CALM, Trouble, on_verb
from simulation.invariants.violations import Invariant
from simulation.scenarios import CLOUD, SCENARIOS, WEB, Scene
from simulation.sweep import SETTINGS
from simulation.world import World
from tests.simulation import replacing

DEPLOYMENT: Final = ObjectKey("apps/v1", "Deployment", "stw-shop", "web")
HELD_SECONDS: Final = 60.0
_AWAY: Final = Trouble(before=EngineUnavailable("no answer"))


async def told(story: Any, clusters: Sequence[str] = CLOUD) -> World:
    """Tell a story in a world with a machine and clusters."""
    scenario = SCENARIOS["move-to-a-cluster"]._replace(clusters=clusters)
    world = World(1, targets=scenario.targets, clusters=clusters, settings=SETTINGS)
    world.site.bus_of = None
    async with world.living():
        await world.client.ask(scenario.furniture(), "furniture")
        await story(Scene(world, 300.0))
    world.check()
    return world


def test_an_app_that_comes_back_is_not_there_while_its_former_pods_end() -> None:
    """Seed 30: what a cluster still had of its last stay was counted as the new revision.

    Somebody's finalizer held the old Deployment. Its pods were ready, so the rollout counted as
    complete and the former place was emptied; then the old pods went, and nothing served.
    """

    async def story(scene: Scene) -> None:
        cluster = scene.world.clusters["cloud"]
        await scene.apply(WEB, replicas=2, target="cloud")
        await scene.rest()
        cluster.lingers = lambda key: HELD_SECONDS if key == DEPLOYMENT else 0.0
        await scene.apply(WEB, replicas=2, target="local")
        machine = scene.world.machines["local"]
        await scene._until(lambda: [] if cluster.held else [(Invariant.ENDED, "it stays")])
        await scene.apply(WEB, "web:2", replicas=2, target="cloud")
        cluster.lingers = lambda _key: 0.0
        before = cluster.store.get(DEPLOYMENT)
        assert before is not None
        assert before["metadata"]["labels"][REVISION] == "1"
        await scene._until(
            lambda: (
                []
                if (cluster.store.get(DEPLOYMENT) or before)["metadata"]["labels"][REVISION] != "1"
                else [(Invariant.ENDED, "the old one is held")]
            )
        )
        kept = list(machine.owned(scene.world.site.installation, ("shop", "web")))
        assert len(kept) == 2, "it left before the new one was there"
        await scene.rest()

    loop.run(told(story))


def test_a_stopped_app_that_moves_leaves_nothing_where_it_was() -> None:
    """Seed 225: its objects were as they should be when it was last looked at, so nobody looked."""

    async def story(scene: Scene) -> None:
        await scene.apply(WEB, replicas=2, target="cloud")
        await scene.rest()
        await scene.ask(i.Stop(ref=WEB))
        await scene.rest()
        await asyncio.sleep(30.0)
        scene.world.machines["cloud"].faults.plan = on_verb("delete", _AWAY)
        await scene.apply(WEB, "web:2", target="local")
        await asyncio.sleep(30.0)
        scene.world.machines["cloud"].faults.plan = lambda _call: CALM
        await scene.rest()
        assert scene.world.clusters["cloud"].store.get(DEPLOYMENT) is None

    loop.run(told(story))


def test_a_stopped_app_keeps_its_objects_and_no_pods() -> None:
    async def story(scene: Scene) -> None:
        await scene.apply(WEB, replicas=2, target="cloud")
        await scene.rest()
        await scene.ask(i.Stop(ref=WEB))
        await scene.rest()
        cluster = scene.world.clusters["cloud"]
        assert not [key for key, _ in cluster.store.all("Pod") if key.namespace == "stw-shop"]
        found = cluster.store.get(DEPLOYMENT)
        assert found is not None
        assert found["spec"]["replicas"] == 0

    loop.run(told(story))


class Asked(NamedTuple):
    """How somebody says that an app should have no replica, and where it is then."""

    of: i.Intent
    target: str


NONE_WANTED: Final = {
    "a stop": Asked(i.Stop(ref=WEB), "cloud"),
    "no replica": Asked(i.Scale(ref=WEB, replicas=0), "cloud"),
    "a stop elsewhere": Asked(i.Stop(ref=WEB), "other"),
}


@pytest.mark.parametrize("asked", NONE_WANTED.values(), ids=NONE_WANTED)
def test_no_pod_stays_because_a_cluster_refuses_what_is_new(asked: Asked) -> None:
    """Seed 72: what ran before went on, for the plan began with what the cluster refused."""

    async def story(scene: Scene) -> None:
        world = scene.world
        await scene.apply(WEB, replicas=2, target="cloud")
        await scene.rest()
        assert len(pods_of(world, "cloud")) == 2
        await scene.apply(WEB, "web:2", "refused", replicas=2, target=asked.target)
        await scene.until_told(WEB, "Degraded")
        assert len(pods_of(world, "cloud")) == 2, "what serves stays while its successor cannot be"
        await scene.ask(asked.of)
        await scene._until(
            lambda: [(Invariant.SETTLED, "a pod runs")] if pods_of(world, "cloud") else []
        )
        await scene.apply(WEB, "web:3", replicas=3, running=True, target="cloud")
        await scene.rest()
        assert len(pods_of(world, "cloud")) == 3

    loop.run(told(story, ("cloud", "other")))


def pods_of(world: World, cluster: str) -> list[ObjectKey]:
    found = world.clusters[cluster].store.all("Pod")
    return [key for key, _ in found if key.namespace == DEPLOYMENT.namespace]


@pytest.mark.parametrize("seed", [30, 72, 78, 224, 225], ids=lambda seed: f"seed-{seed}")
def test_a_seed_with_a_cluster_that_broke_something_holds(seed: int) -> None:
    outcome = seeds.run(seed, minutes=10.0, clusters=True)
    assert not outcome.violations


def test_one_seed_with_a_cluster_tells_one_story() -> None:
    first, again = (seeds.run(5, minutes=4.0, clusters=True) for _ in range(2))
    assert first.digest == again.digest


def test_what_somebody_made_by_a_name_of_ours_outlives_the_app() -> None:
    assert not replacing.broken_by_a_removal()


# -- the arithmetic of a rollout -------------------------------------------------------------------


def spec(replicas: int, surge: int, unavailable: int) -> dict[str, Any]:
    steps = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {"replicas": replicas, "strategy": {"type": "RollingUpdate", "rollingUpdate": steps}}


def test_new_pods_come_while_the_surge_lasts_and_old_ones_stay_until_they_are_ready() -> None:
    old, new = Set("old", 2, 2, is_new=False), Set("new", 0, 0, is_new=True)
    assert scaled(spec(2, 1, 0), [old, new]) == {"old": 2, "new": 1}
    assert scaled(spec(2, 1, 0), [old, new._replace(pods=1)]) == {"old": 2, "new": 1}
    assert scaled(spec(2, 1, 0), [old, new._replace(pods=1, ready=1)]) == {"old": 1, "new": 1}


def test_old_pods_that_serve_nobody_go_first() -> None:
    old, new = Set("old", 2, 0, is_new=False), Set("new", 1, 0, is_new=True)
    assert scaled(spec(2, 1, 1), [old, new]) == {"old": 1, "new": 1}


def test_recreate_waits_until_all_old_ones_are_gone() -> None:
    asked = {"replicas": 2, "strategy": {"type": "Recreate"}}
    old, new = Set("old", 2, 2, is_new=False), Set("new", 0, 0, is_new=True)
    assert scaled(asked, [old, new]) == {"old": 0, "new": 0}
    assert scaled(asked, [old._replace(pods=0), new]) == {"old": 0, "new": 2}


# -- whose a field is ------------------------------------------------------------------------------


def test_what_was_applied_before_and_is_not_now_goes_and_what_others_set_stays() -> None:
    live = {"a": 1, "b": 2, "c": {"mine": 1, "theirs": 2}}
    former = {"a": 1, "b": 2, "c": {"mine": 1}}
    assert merged(live, {"a": 3, "c": {}}, former) == {"a": 3, "c": {"theirs": 2}}


def test_containers_are_somebody_by_their_name() -> None:
    live = {"containers": [{"name": "web", "image": "1"}, {"name": "mesh", "image": "m"}]}
    wanted = {"containers": [{"name": "web", "image": "2"}]}
    found = merged(live, wanted, {"containers": [{"name": "web", "image": "1"}]})
    assert found == {"containers": [{"name": "web", "image": "2"}, {"name": "mesh", "image": "m"}]}


def test_a_selector_is_one_value() -> None:
    theirs, ours = {"selector": {"app": "theirs"}}, {"selector": {"name": "web"}}
    assert merged(theirs, ours, {}) == ours
    assert without(theirs, ours) == {}
    assert fields(ours) == {"f:selector": {}}


def test_who_is_overruled_owns_the_field_no_more() -> None:
    owned = {"spec": {"replicas": 5, "paused": True}}
    assert without(owned, {"spec": {"replicas": 2}}) == {"spec": {"paused": True}}
    assert fields({"spec": {"paused": True}}) == {"f:spec": {"f:paused": {}}}
