"""What replicas share and stand on: volumes, the project's ground, images."""

from dataclasses import replace

import pytest

from domain.secret import SecretText
from reconcilers.ports import ImageUnavailable, Replica, ReplicaName, ReplicaState
from tests.contracts.engine_world import DATA, PATIENCE, World

FIRST = ReplicaName("shop", "web", 1, 0, 1)
SECOND = ReplicaName("shop", "web", 2, 0, 1)
OTHER_SLOT = ReplicaName("shop", "web", 2, 1, 1)


class GroundsContract:
    async def test_a_volume_outlives_its_replica(self, world: World) -> None:
        first = await world.serve(world.order(name=FIRST, volumes=(DATA,)))
        await _keep(world, first, "jewels")
        await world.engine.replicas.stop(first, grace=5)
        await world.engine.replicas.remove(first)
        second = await world.serve(world.order(name=SECOND, volumes=(DATA,)))
        assert await _kept(world, second) == (0, b"jewels")

    async def test_a_volume_of_one_slot_is_not_that_of_another(self, world: World) -> None:
        first = await world.serve(world.order(name=FIRST, volumes=(DATA,)))
        await _keep(world, first, "jewels")
        other = await world.serve(world.order(name=OTHER_SLOT, volumes=(DATA,)))
        assert (await _kept(world, other))[0] != 0

    async def test_a_volume_of_the_app_is_shared_by_its_slots(self, world: World) -> None:
        shared = (replace(DATA, scope="app"),)
        first = await world.serve(world.order(name=FIRST, volumes=shared))
        other = await world.serve(world.order(name=OTHER_SLOT, volumes=shared))
        await _keep(world, first, "jewels")
        assert await _kept(world, other) == (0, b"jewels")

    async def test_volumes_go_when_they_are_told_to(self, world: World) -> None:
        first = await world.serve(world.order(name=FIRST, volumes=(DATA,)))
        await _keep(world, first, "jewels")
        await world.engine.replicas.remove(first)
        await world.engine.grounds.clear("shop")
        await world.engine.grounds.remove_volumes("shop", "web")
        await world.engine.grounds.remove_volumes("shop", "web")
        second = await world.serve(world.order(name=SECOND, volumes=(DATA,)))
        assert (await _kept(world, second))[0] != 0

    async def test_volumes_stay_when_the_ground_is_cleared(self, world: World) -> None:
        first = await world.serve(world.order(name=FIRST, volumes=(DATA,)))
        await _keep(world, first, "jewels")
        await world.engine.replicas.remove(first)
        await world.engine.grounds.clear("shop")
        second = await world.serve(world.order(name=SECOND, volumes=(DATA,)))
        assert await _kept(world, second) == (0, b"jewels")

    async def test_a_ground_is_prepared_and_cleared_as_often_as_one_likes(
        self, world: World
    ) -> None:
        grounds = world.engine.grounds
        await grounds.clear("shop")
        await grounds.prepare("shop")
        await grounds.prepare("shop")
        assert list(await grounds.projects()) == ["shop"]
        assert list(await world.other.grounds.projects()) == []
        await grounds.clear("shop")
        await grounds.clear("shop")
        assert list(await grounds.projects()) == []

    async def test_a_ground_can_be_made_again(self, world: World) -> None:
        replica = await world.serve(world.order())
        await world.engine.replicas.remove(replica)
        await world.engine.grounds.clear("shop")
        assert (await world.serve(world.order())).state is ReplicaState.RUNNING

    async def test_an_image_is_resolved_to_a_name_that_starts(self, world: World) -> None:
        if world.image is None:
            pytest.skip("this engine has no images")
        resolve = world.engine.images.resolve
        name = await resolve(world.image, policy="IfNotPresent", credentials=None)
        assert await resolve(name, policy="Never", credentials=None) == name
        world.image = name
        assert (await world.serve(world.order())).state is ReplicaState.RUNNING

    async def test_an_image_that_is_not_there_is_unavailable(self, world: World) -> None:
        secret = {"username": SecretText("me"), "password": SecretText("p4ssw0rd-p4ssw0rd")}
        with pytest.raises(ImageUnavailable, match="no-such-image") as refused:
            await world.engine.images.resolve(
                "localhost:1/no-such-image:1", policy="IfNotPresent", credentials=secret
            )
        assert "p4ssw0rd" not in str(refused.value)

    async def test_nothing_starts_from_an_image_that_is_not_there(self, world: World) -> None:
        if world.image is None:
            pytest.skip("this engine has no images")
        world.image = "localhost:1/no-such-image:1"
        with pytest.raises(ImageUnavailable, match="no-such-image"):
            await world.start(world.order())
        assert list(await world.engine.replicas.list()) == []


async def _keep(world: World, replica: Replica, text: str) -> None:
    argv = [*world.program, "keep", text]
    result = await world.engine.io.run(replica, argv, timeout_seconds=PATIENCE)
    assert result.exit_code == 0, result


async def _kept(world: World, replica: Replica) -> tuple[int, bytes]:
    argv = [*world.program, "kept"]
    result = await world.engine.io.run(replica, argv, timeout_seconds=PATIENCE)
    return result.exit_code, result.stdout
