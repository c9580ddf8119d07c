"""Adoption on a simulated cluster: what strangers have is theirs until an intent names it."""

import pytest

from domain import intents as i
from reconcilers.object_labels import ADOPTED, INSTALLATION
from reconcilers.object_ports import ObjectKey
from simulation import seeds
from simulation.cluster import strangers
from simulation.knobs import ADOPTION_DEEDS
from simulation.scenarios import WEB, Scene
from tests.simulation import taking

RATES = {fault: 3 * rate for fault, rate in ADOPTION_DEEDS.items()}


def test_what_is_named_with_its_uid_is_taken_over_and_all_comes_to_rest() -> None:
    async def story(scene: Scene) -> None:
        await taking.all_taken_over(scene)
        world = scene.world
        cluster = world.clusters["cloud"]
        claim = cluster.store.get(taking.CLAIM)
        assert claim is not None
        assert claim["metadata"]["labels"][ADOPTED] == "true"
        assert claim["spec"]["storageClassName"] == "slow", "what others said of it stays"
        assert not [
            key
            for key, _ in cluster.store.all("Pod")
            if "of-others" in str((cluster.store.get(key) or {})["metadata"]["labels"])
        ]
        written = world.written()
        await scene._until(list)
        assert world.written() == written

    assert not taking.told(story)


def test_without_an_intent_and_without_a_word_of_data_all_is_as_it_was() -> None:
    async def story(scene: Scene) -> None:
        before = await taking.occupied(scene)
        cluster = scene.world.clusters["cloud"]
        named = [one.object for one in await taking.found(scene)]
        adopt = i.Adopt(ref=WEB, objects=tuple(named))
        assert await scene.world.client.ask([adopt], "no word") is None
        assert "--volumes" in scene.world.client.requests.refused["no word"]
        assert cluster.foreign(scene.world.site.installation) == before

    assert not taking.told(story)


def test_what_was_made_anew_since_it_was_shown_is_not_taken() -> None:
    async def story(scene: Scene) -> None:
        await taking.occupied(scene)
        service = ObjectKey("v1", "Service", taking.HOME, "web")
        cluster, named = scene.world.clusters["cloud"], await taking.found(scene)
        body = cluster.store.get(service)
        assert body is not None
        cluster.store.remove(service)
        cluster.store.make(strangers.again(body))
        scene.world.objects.others_changed("cloud", service)
        objects = tuple(one.object for one in named)
        scene.world.objects.volumes_named(objects)
        await scene.ask(i.Adopt(ref=WEB, objects=objects, volumes=True))
        await scene._until(list)
        there = cluster.store.get(service)
        assert there is not None
        assert INSTALLATION not in there["metadata"]["labels"]

    assert not taking.told(story)


def test_a_namespace_of_ours_stays_while_somebody_keeps_data_in_it() -> None:
    assert not taking.told(taking.beside_somebody)


@pytest.mark.parametrize("seed", [3])
def test_a_seed_with_strangers_holds_and_counts_what_they_did(seed: int) -> None:
    outcome = seeds.run(seed, RATES, minutes=5.0, clusters=True, routes=False)
    assert not outcome.violations
    assert all(outcome.fired[fault] for fault in ADOPTION_DEEDS)
