"""Stories of strangers on a cluster, who have names that an app needs, or something beside it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from domain import intents as i
from reconcilers.object_adopting import InTheWay
from reconcilers.object_ports import Json, ObjectKey
from simulation import loop
from simulation.cluster import strangers
from simulation.invariants.violations import Invariant, Violation
from simulation.scenarios import SCENARIOS, WEB, Restless, Scene
from simulation.sweep import SETTINGS
from simulation.world import World

HOME: Final = "stw-shop"
DATA: Final = [{"name": "data", "path": "/data", "scope": "app"}]
CLAIM: Final = ObjectKey("v1", "PersistentVolumeClaim", HOME, strangers.SHARED.format("web"))


class Everything(random.Random):
    """The luck of somebody who makes all that can be made."""

    def random(self) -> float:
        return 0.0


def told(story: Callable[[Scene], Awaitable[None]]) -> Sequence[Violation]:
    """Tell a story in a world with a cluster; what broke."""

    async def living() -> Sequence[Violation]:
        scenario = SCENARIOS["first-deploy-to-a-cluster"]
        world = World(1, targets=(), clusters=scenario.clusters, settings=SETTINGS)
        world.site.bus_of = None
        async with world.living():
            await world.client.ask(scenario.furniture(), "furniture")
            try:
                await story(Scene(world, scenario.bound))
            except Restless:
                assert world.violations, "what keeps it from rest is told"
        return world.violations

    return loop.run(living())


async def found(scene: Scene) -> Sequence[InTheWay]:
    """What is shown to who asks what is in the way of the app."""
    controller = scene.world.acting()
    assert controller is not None
    return await controller.serve(controller.parts.passing.in_the_way(WEB.stream))


async def occupied(scene: Scene) -> dict[ObjectKey, Json]:
    """Strangers have everything by the app's names, and the app is asked for; what is theirs."""
    world = scene.world
    cluster = world.clusters["cloud"]
    for key in strangers.occupy(cluster, HOME, "web", Everything()):
        world.objects.others_changed("cloud", key)
    await scene.apply(WEB, volumes=DATA)

    def waits() -> list[tuple[Invariant, str]]:
        controller = world.acting()
        status = controller.status.get(WEB.stream) if controller else None
        said = status.condition("Synced") if status else None
        is_taken = said is not None and said.reason == "NameTaken"
        return [] if is_taken else [(Invariant.ENDED, "the app does not say what is in its way")]

    await scene._until(waits)
    return cluster.foreign(world.site.installation)


async def all_taken_over(scene: Scene) -> None:
    """Everything is taken over as it was shown, and the app comes to rest."""
    await occupied(scene)
    named = [one.object for one in await found(scene)]
    scene.world.objects.volumes_named(named)
    await scene.ask(i.Adopt(ref=WEB, objects=tuple(named), volumes=True))
    await scene.rest()


async def taken_without_a_word_of_data(scene: Scene) -> None:
    """All that is shown is named, and nothing is said of volumes."""
    await occupied(scene)
    named = tuple(one.object for one in await found(scene))
    adopt = i.Adopt(ref=WEB, objects=named)
    await scene.world.client.ask([adopt], "all but data")
    if "all but data" not in scene.world.client.requests.refused:
        await scene.rest()


async def beside_somebody(scene: Scene) -> None:
    """Somebody keeps data beside the app, which goes then."""
    world = scene.world
    await scene.apply(WEB)
    await scene.rest()
    cluster = world.clusters["cloud"]
    for key in strangers.occupy(cluster, HOME, "web", Everything()):
        world.objects.others_changed("cloud", key)
    assert cluster.store.get(CLAIM) is not None
    await scene._until(lambda: _young(world))
    await scene.ask(i.Delete(ref=WEB))
    await scene.rest()


def _young(world: World) -> list[tuple[Invariant, str]]:
    """What has just come may go with a namespace that was looked through a moment ago."""
    is_young = world.clock() < world.objects.came("cloud", CLAIM) + 40.0
    return [(Invariant.OWNED, "it has just come")] if is_young else []
