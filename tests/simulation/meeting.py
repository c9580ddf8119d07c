"""Apps whose URLs meet on one cluster, and an app whose URL moves with it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from simulation import loop
from simulation.invariants.violations import Violation
from simulation.scenarios import API, CLOUD, SCENARIOS, WEB, Restless, Scene
from simulation.sweep import SETTINGS
from simulation.world import World

HOST: Final = "web.localhost"
PROPAGATION: Final = 3.0  # seconds: as long as a world may have it
BLUE: Final = [{"host": HOST, "contexts": [{"header": "x-feature", "value": "blue"}]}]


def told(story: Callable[[Scene], Awaitable[None]]) -> Sequence[Violation]:
    """Tell a story in a world with a machine that has a router, and a cluster; what broke."""

    async def living() -> Sequence[Violation]:
        scenario = SCENARIOS["move-to-a-cluster"]
        world = World(
            1, targets=scenario.targets, clusters=CLOUD, propagation=PROPAGATION, settings=SETTINGS
        )
        world.site.bus_of = None
        async with world.living():
            await world.client.ask(scenario.furniture(), "furniture")
            try:
                await story(Scene(world, 120.0))
            except Restless:
                assert world.violations, "what keeps it from rest is told"
        return world.violations

    return loop.run(living())


async def with_a_context(scene: Scene) -> None:
    """One app has a path, another takes all requests of that host that carry a header."""
    await scene.apply(WEB, target="cloud", routes=[{"host": HOST, "path": "/api"}])
    await scene.apply(API, target="cloud", routes=BLUE)
    await scene.rest()


async def there_and_back(scene: Scene) -> None:
    """An app moves to the cluster with its URL, is replaced there, and moves home."""
    how: dict[str, Any] = {"replicas": 2, "routes": [{"host": HOST}]}
    for target, image in (("local", 1), ("cloud", 1), ("cloud", 2), ("local", 2)):
        await scene.apply(WEB, f"web:{image}", "unready=8", target=target, **how)
        await scene.rest()
