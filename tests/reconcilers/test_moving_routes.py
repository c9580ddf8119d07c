"""Stories of an app that moves to another target: its URLs lead there once it is ready there."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import override

from domain import intents as i
from domain.target import TargetSpec
from reconcilers.router_ports import OpenedRouter
from simulation import loop
from simulation.router import SimulatedRouter
from tests.reconcilers.test_routing import HOST, routed
from tests.reconcilers.test_several_targets import WEB, Village, spec
from tests.support.intents import manifest


class Towns(Village):
    """Each target has a router of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.routers: dict[str, SimulatedRouter] = {}

    @override
    async def _open_router(self, name: str, spec: TargetSpec) -> OpenedRouter:
        async def close() -> None:
            return

        router = self.routers.setdefault(name, SimulatedRouter())
        self.machines[name].witness = router.witness
        return OpenedRouter(router, close)

    def leads(self, target: str) -> bool:
        """Whether the router of a target has the app's URL, and a replica behind it."""
        router = self.routers.get(target)
        return router is not None and bool(router.table.rows) and any(router.endpoints.values())

    async def asks(self, **how: object) -> None:
        await self.send(manifest("App", "web", spec(routes=[{"host": HOST}], **how)))


def tell(story: Callable[[Towns], Awaitable[None]]) -> None:
    async def main() -> None:
        towns = Towns()
        async with towns.working():
            await towns.furnish()
            await towns.target("far")
            await towns.asks(target="far")
            await towns.until(lambda: towns.leads("far"))
            await story(towns)
            for router in towns.routers.values():
                assert router.cut == []

    loop.run(main())


def test_urls_lead_to_the_former_target_until_the_app_is_ready_on_the_new_one() -> None:
    async def story(towns: Towns) -> None:
        await towns.asks(target="local")
        while not towns.leads("local"):
            assert towns.leads("far")
            assert towns.on("far")
            await asyncio.sleep(0.05)
        await towns.until(lambda: not towns.routers["far"].table.rows)
        await towns.until(lambda: not towns.on("far"))
        await towns.until(lambda: routed(towns).status == "True")

    tell(story)


def test_an_app_that_never_gets_ready_elsewhere_goes_on_being_reached_where_it_was() -> None:
    async def story(towns: Towns) -> None:
        await towns.asks(target="local", env={"SIMULATED": "exit=1"})
        await asyncio.sleep(900)
        assert towns.leads("far")
        assert not towns.leads("local")
        assert routed(towns).status == "True"
        await towns.asks(target="local")
        await towns.until(lambda: towns.leads("local"))
        await towns.until(lambda: not towns.on("far"))

    tell(story)


def test_an_app_that_is_stopped_while_it_moves_leaves_nothing_behind() -> None:
    async def story(towns: Towns) -> None:
        await towns.asks(target="local")
        await towns.send(i.Stop(ref=WEB))
        await towns.until(lambda: not towns.on("far"), 300)
        await towns.until(lambda: not towns.routers["far"].table.rows)

    tell(story)
