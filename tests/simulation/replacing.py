"""Somebody takes the name of an object of ours, unseen, and then the app goes that it was of."""

import asyncio
from collections.abc import Sequence
from typing import Final

from domain import intents as i
from reconcilers.object_ports import ObjectKey
from simulation import loop
from simulation.invariants.violations import Violation
from simulation.scenarios import SCENARIOS, WEB, Scene
from simulation.sweep import SETTINGS
from simulation.world import World

SERVICE: Final = ObjectKey("v1", "Service", "stw-shop", "web")
STALLED_SECONDS: Final = 4.0  # less than a control plane waits for what it wrote


def broken_by_a_removal() -> Sequence[Violation]:
    """What breaks when an app is deleted whose Service is somebody else's by now."""

    async def story() -> Sequence[Violation]:
        scenario = SCENARIOS["first-deploy-to-a-cluster"]
        world = World(1, targets=(), clusters=scenario.clusters, settings=SETTINGS)
        world.site.bus_of = None
        async with world.living():
            await world.client.ask(scenario.furniture(), "furniture")
            scene, cluster = Scene(world, scenario.bound), world.clusters["cloud"]
            await scene.apply(WEB, replicas=1)
            await scene.rest()
            cluster.watching.stalled_until = world.clock() + STALLED_SECONDS
            cluster.store.remove(SERVICE)
            cluster.squat(SERVICE)
            world.objects.others_changed("cloud", SERVICE)
            await scene.ask(i.Delete(ref=WEB))
            await asyncio.sleep(STALLED_SECONDS * 2)
        return world.violations

    return loop.run(story())
