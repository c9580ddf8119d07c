"""Whose a replica is: names that are taken, and other installations."""

import pytest

from reconcilers.ports import NameTaken, ReplicaState
from tests.contracts.engine_world import World, eventually


class OwnersContract:
    async def test_a_name_that_something_foreign_has_is_left_to_it(self, world: World) -> None:
        order = world.order()
        await world.engine.grounds.prepare("shop")
        is_intact = await world.squat(order)
        with pytest.raises(NameTaken):
            await world.engine.replicas.start(order)
        assert await is_intact()
        assert list(await world.engine.replicas.list()) == []

    async def test_a_name_that_another_digest_has_is_taken(self, world: World) -> None:
        order = world.order()
        replica = await world.start(order)
        with pytest.raises(NameTaken):
            await world.engine.replicas.start(world.order(digest="0ddba110ddba1100"))
        assert await world.seen(order) == replica

    async def test_another_installation_neither_sees_nor_touches_it(self, world: World) -> None:
        order = world.order()
        replica = await world.serve(order)
        assert list(await world.other.replicas.list()) == []
        assert list(await world.other.replicas.list(("shop", "web"))) == []
        await world.other.replicas.stop(replica, grace=0)
        await world.other.replicas.remove(replica)
        assert (await world.seen(order)).state is ReplicaState.RUNNING

    async def test_an_edit_behind_its_back_shows(self, world: World) -> None:
        if not world.reports_edits:
            pytest.skip("this engine's replicas cannot be edited")
        order = world.order(memory_bytes=64 * 2**20)
        replica = await world.serve(order)
        assert replica.edited == ()
        await world.edit(replica)

        async def shows() -> bool:
            return (await world.seen(order)).edited != ()

        await eventually(shows)
