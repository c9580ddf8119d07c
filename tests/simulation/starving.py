"""A fresh intent behind a long queue of a replay tick: how long it waits."""

import asyncio
from typing import Final

from domain.names import app
from reconcilers.passing import WorkerSettings
from reconcilers.ports import ReplicaState
from simulation import loop
from simulation.asking import app_spec, manifest
from simulation.faults import Trouble
from simulation.world import World

APPS: Final = 150
CALL_SECONDS: Final = 0.1
PROJECTS: Final = 3
"""Every start prepares its project's ground, which no project takes more than 100 times at once."""
LIMIT_SECONDS: Final = 600.0
PROMPT_SECONDS: Final = 3.0
"""What an intent may wait for its replica: some engine calls, and no other app's turn."""


def wait_of_a_fresh_intent() -> float:
    """Seconds of virtual time from an intent until its replica runs, while all other apps wait."""

    async def main() -> float:
        world = World(1, settings=WorkerSettings(passes=4))
        machine = world.machines["local"]
        async with world.living():
            await world.client.ask(
                [
                    manifest("Target", "local", {"engine": "simulated"}),
                    *(manifest("Project", f"shop{number}", {}) for number in range(PROJECTS)),
                    manifest("Project", "shop", {}),
                ],
                "furniture",
            )
            for number in range(APPS):
                project = f"shop{number % PROJECTS}"
                asked = manifest("App", f"w{number}", app_spec("web:1"), project=project)
                await world.client.ask([asked], f"w{number}")
            await asyncio.sleep(60)
            machine.faults.loses = lambda _event: True
            machine.faults.plan = lambda _call: Trouble(delay_seconds=CALL_SECONDS)
            for running in list(machine.owned(world.site.installation, None)):
                machine.finish(running, 137)
            await asyncio.sleep(11.5)  # a replay tick has found them all
            began = world.clock()
            fresh = app("shop", "fresh")
            await world.client.ask([manifest("App", fresh.name, app_spec("web:1"))], "fresh")
            while not any(
                one.seen.state is ReplicaState.RUNNING
                for one in machine.owned(world.site.installation, (fresh.project, fresh.name))
            ):
                await asyncio.sleep(0.05)
            world.check()
            return world.clock() - began

    waited: list[float] = []

    async def measured() -> None:
        async with asyncio.timeout(LIMIT_SECONDS):  # a world that stopped would wait for ever
            waited.append(await main())

    loop.run(measured())
    return waited[0]
