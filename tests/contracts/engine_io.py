"""Looking into a replica, and hearing from it: logs, commands, events."""

import asyncio

import pytest

from reconcilers.ports import EngineEvent, ReplicaState, StartFailed
from tests.contracts.conversing import Beside
from tests.contracts.engine_world import PATIENCE, World, eventually, news


class IoContract:
    async def test_the_log_holds_what_it_wrote_and_where(self, world: World) -> None:
        replica = await world.serve(world.order())
        await world.logged(replica, b"listening")
        lines = {(line.stream, line.text) for line in await world.log(replica)}
        assert lines == {("stdout", b"serving"), ("stderr", b"listening")}

    async def test_the_log_has_a_tail_in_the_order_of_writing(self, world: World) -> None:
        replica = await world.serve(world.order())
        await world.logged(replica, b"listening")
        for text in ("one", "two", "three"):
            await world.fetch(replica.addresses[0], f"/say/{text}")
        await world.logged(replica, b"three")
        tail = [line.text for line in await world.log(replica, tail=2)]
        assert tail == [b"two", b"three"]

    async def test_the_log_can_begin_at_a_time(self, world: World) -> None:
        replica = await world.serve(world.order())
        lines = await world.logged(replica, b"serving")
        latest = max(line.at for line in lines)
        assert await world.log(replica, since=latest + 3600) == []
        assert await world.log(replica, since=latest - 3600) == lines

    async def test_a_followed_log_goes_on_until_the_replica_ends(self, world: World) -> None:
        replica = await world.serve(world.order())
        followed = asyncio.create_task(world.log(replica, follow=True))
        await world.fetch(replica.addresses[0], "/say/later")
        await world.logged(replica, b"later")
        assert not followed.done()
        await world.kill(replica)
        async with asyncio.timeout(PATIENCE):
            assert b"later" in [line.text for line in await followed]

    async def test_the_log_of_what_is_gone_is_empty(self, world: World) -> None:
        replica = await world.start(world.order())
        await world.engine.replicas.remove(replica)
        assert await world.log(replica) == []
        assert await world.log(replica, follow=True) == []

    async def test_a_command_beside_it_tells_its_code_and_both_its_streams(
        self, world: World
    ) -> None:
        replica = await world.serve(world.order())
        argv = [*world.program, "both"]
        result = await world.engine.io.run(replica, argv, timeout_seconds=PATIENCE)
        assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")

    async def test_a_command_beside_it_ends_with_its_time(self, world: World) -> None:
        replica = await world.serve(world.order())
        with pytest.raises(TimeoutError):
            await world.engine.io.run(replica, [*world.program, "sleep", "60"], timeout_seconds=0.5)
        assert (await world.seen(world.order())).state is ReplicaState.RUNNING

    async def test_a_command_that_is_not_there_is_refused(self, world: World) -> None:
        replica = await world.serve(world.order())
        with pytest.raises(StartFailed, match="/no/such/program"):
            await world.engine.io.run(replica, ["/no/such/program"], timeout_seconds=PATIENCE)

    async def test_no_command_runs_beside_one_that_has_exited(self, world: World) -> None:
        order = world.order()
        replica = await world.serve(order)
        await world.kill(replica)
        await world.exited(order)
        with pytest.raises(StartFailed):
            await world.engine.io.run(replica, [*world.program, "both"], timeout_seconds=PATIENCE)
        async with Beside(world.engine.io, replica, world.program).conversation() as talk:
            with pytest.raises(StartFailed):
                await talk.end()

    async def test_a_death_is_news(self, world: World) -> None:
        order = world.order()
        replica = await world.serve(order)
        async with news(world.engine) as events:
            await world.kill(replica)
            async with asyncio.timeout(PATIENCE):
                while await anext(events) != EngineEvent(("shop", "web")):
                    pass
            assert (await world.seen(order)).state is ReplicaState.EXITED

    async def test_a_removal_behind_its_back_is_news(self, world: World) -> None:
        replica = await world.serve(world.order())
        async with news(world.engine) as events:
            await world.lose(replica)
            async with asyncio.timeout(PATIENCE):
                while await anext(events) != EngineEvent(("shop", "web")):
                    pass

        async def is_gone() -> bool:
            return list(await world.engine.replicas.list()) == []

        await eventually(is_gone)
