"""Replicas kept, stopped: what returns is the same one, by the name of what it is now."""

from msgspec.structs import replace

from reconcilers.ports import Replica, ReplicaName, ReplicaState, StartReplica
from tests.contracts.engine_world import World

THEN = ReplicaName("shop", "web", revision=7, slot=2, attempt=1)
NOW = ReplicaName("shop", "web", revision=9, slot=2, attempt=1)


async def kept(world: World, order: StartReplica) -> Replica:
    """The ordered replica, once it served and was stopped to be kept."""
    replica = await world.serve(order)
    await world.engine.replicas.stop(replica, grace=5, keep=True)
    return await world.seen(order)


class KeptContract:
    async def test_what_is_stopped_to_be_kept_says_so_and_has_its_log(self, world: World) -> None:
        one = await kept(world, world.order(name=THEN))
        assert one.state is ReplicaState.KEPT
        assert b"serving" in [line.text for line in await world.log(one)]
        await world.engine.replicas.stop(one, grace=5, keep=True)
        assert [r.state for r in await world.engine.replicas.list()] == [ReplicaState.KEPT]

    async def test_it_becomes_what_reuses_it_and_nothing_else_is_left(self, world: World) -> None:
        await kept(world, world.order(name=THEN))
        order = replace(world.order(name=NOW), reuses=THEN)
        await world.serve(order)
        now = await world.serve(order)  # twice is as once
        assert (now.state, now.name, now.edited) == (ReplicaState.RUNNING, NOW, ())
        assert (now.exit_code, now.finished_at) == (None, None)
        assert [r.name for r in await world.engine.replicas.list()] == [NOW]

    async def test_what_returned_can_be_kept_and_return_again(self, world: World) -> None:
        await kept(world, world.order(name=THEN))
        await kept(world, replace(world.order(name=NOW), reuses=THEN))
        third = world.order(name=NOW._replace(revision=11))
        assert (await world.serve(replace(third, reuses=NOW))).name == third.name

    async def test_what_is_like_another_order_or_another_slot_is_made_anew(
        self, world: World
    ) -> None:
        await kept(world, world.order(name=THEN))
        other = world.order(name=NOW, digest="0ther0ther0ther0")
        beside = world.order(name=NOW._replace(slot=1))
        for order in (other, beside):
            await world.serve(replace(order, reuses=THEN))
        listed = {r.name: r.state for r in await world.engine.replicas.list()}
        assert listed == {
            THEN: ReplicaState.KEPT,
            other.name: ReplicaState.RUNNING,
            beside.name: ReplicaState.RUNNING,
        }

    async def test_what_is_gone_or_only_ended_is_made_anew(self, world: World) -> None:
        ended = await world.serve(world.order(name=THEN))
        await world.engine.replicas.stop(ended, grace=5)
        await world.serve(replace(world.order(name=NOW), reuses=THEN))
        gone = THEN._replace(revision=3)
        later = world.order(name=NOW._replace(revision=10))
        await world.serve(replace(later, reuses=gone))
        listed = {r.name: r.state for r in await world.engine.replicas.list()}
        assert listed[THEN] is ReplicaState.EXITED
        assert listed[NOW] is listed[later.name] is ReplicaState.RUNNING

    async def test_a_kept_one_is_removed_but_not_once_it_has_returned(self, world: World) -> None:
        one = await kept(world, world.order(name=THEN))
        now = await world.serve(replace(world.order(name=NOW), reuses=THEN))
        await world.engine.replicas.remove(one)
        assert [r.state for r in await world.engine.replicas.list()] == [ReplicaState.RUNNING]
        await world.engine.replicas.stop(now, grace=5, keep=True)
        [again] = await world.engine.replicas.list()
        await world.engine.replicas.remove(again)
        assert list(await world.engine.replicas.list()) == []
