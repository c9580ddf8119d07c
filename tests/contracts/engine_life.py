"""The life of a replica: started, running, exited, removed."""

import asyncio

import pytest

from domain.app import Port
from domain.secret import SecretText
from reconcilers.ports import ReplicaName, ReplicaState, StartFailed
from tests.contracts.engine_world import HTTP, World

MEBIBYTE = 2**20


class LifeContract:
    async def test_nothing_runs_at_first(self, world: World) -> None:
        assert list(await world.engine.replicas.list()) == []
        assert list(await world.engine.replicas.list(("shop", "web"))) == []

    async def test_a_started_replica_is_running_and_answers_at_its_address(
        self, world: World
    ) -> None:
        replica = await world.serve(world.order())
        assert replica.state is ReplicaState.RUNNING
        assert [address.port for address in replica.addresses] == ["http"]
        assert replica.started_at is not None
        assert replica.exit_code is None

    async def test_its_identity_comes_back_as_ordered(self, world: World) -> None:
        order = world.order()
        replica = await world.start(order)
        assert (replica.name, replica.uid) == (order.name, order.uid)
        assert (replica.digest, replica.position) == (order.digest, order.position)

    async def test_every_port_has_an_address_and_a_variable(self, world: World) -> None:
        ports = (HTTP, Port(name="my-admin", port=8081))
        replica = await world.serve(world.order(ports=ports))
        assert [address.port for address in replica.addresses] == ["http", "my-admin"]
        values = [
            (await world.fetch(replica.addresses[0], f"/env/{variable}"))[1]
            for variable in ("PORT", "PORT_HTTP", "PORT_MY_ADMIN")
        ]
        assert values[0] == values[1]
        assert values[1] != values[2]
        assert all(value.isdigit() for value in values)

    async def test_variables_arrive_and_secrets_show_nowhere(self, world: World) -> None:
        secret = "p4ssw0rd-p4ssw0rd"
        order = world.order(env={"MODE": "quick", "TOKEN": SecretText(secret)})
        replica = await world.serve(order)
        assert await world.fetch(replica.addresses[0], "/env/MODE") == (200, "quick")
        assert await world.fetch(replica.addresses[0], "/env/TOKEN") == (200, secret)
        assert secret not in repr(await world.engine.replicas.list())
        assert secret not in repr(order)

    async def test_starting_twice_runs_it_once(self, world: World) -> None:
        order = world.order()
        first = await world.start(order)
        again = await world.start(order)
        assert again == first
        assert len(await world.engine.replicas.list()) == 1

    async def test_two_starts_at_the_same_time_run_it_once(self, world: World) -> None:
        order = world.order()
        await world.engine.grounds.prepare("shop")
        await asyncio.gather(world.engine.replicas.start(order), world.engine.replicas.start(order))
        assert len(await world.engine.replicas.list()) == 1
        assert (await world.seen(order)).state is ReplicaState.RUNNING

    async def test_what_was_created_and_never_started_is_started(self, world: World) -> None:
        order = world.order()
        await world.engine.grounds.prepare("shop")
        await world.create_only(order)
        assert (await world.seen(order)).state is ReplicaState.CREATED
        replica = await world.serve(order)
        assert replica.state is ReplicaState.RUNNING

    async def test_what_was_created_and_never_started_is_removed(self, world: World) -> None:
        order = world.order()
        await world.engine.grounds.prepare("shop")
        await world.create_only(order)
        await world.engine.replicas.remove(await world.seen(order))
        assert list(await world.engine.replicas.list()) == []

    async def test_it_runs_within_limits(self, world: World) -> None:
        order = world.order(cpu_millis=500, memory_bytes=128 * MEBIBYTE)
        assert (await world.serve(order)).state is ReplicaState.RUNNING

    async def test_a_command_that_ends_at_once_is_listed_with_its_exit_code(
        self, world: World
    ) -> None:
        order = world.order("exit", "17")
        await world.start(order)
        exited = await world.exited(order)
        assert exited.exit_code == 17
        assert exited.finished_at is not None

    async def test_what_has_exited_stays_so_when_started_again(self, world: World) -> None:
        order = world.order()
        await world.kill(await world.serve(order))
        before = await world.exited(order)
        await world.start(order)
        after = await world.seen(order)
        assert after.state is ReplicaState.EXITED
        assert after.id == before.id

    async def test_a_command_that_does_not_exist_is_refused(self, world: World) -> None:
        order = world.order(
            command=("/no/such/program",), env={"TOKEN": SecretText("p4ssw0rd-p4ssw0rd")}
        )
        with pytest.raises(StartFailed, match="/no/such/program") as refused:
            await world.start(order)
        assert "p4ssw0rd" not in str(refused.value)
        states = {replica.state for replica in await world.engine.replicas.list()}
        assert ReplicaState.RUNNING not in states

    async def test_stopping_leaves_it_exited_with_its_log(self, world: World) -> None:
        order = world.order()
        replica = await world.serve(order)
        await world.engine.replicas.stop(replica, grace=5)
        stopped = await world.seen(order)
        assert stopped.state is ReplicaState.EXITED
        assert b"serving" in [line.text for line in await world.log(stopped)]

    async def test_one_that_ignores_the_signal_is_killed_after_its_grace(
        self, world: World
    ) -> None:
        order = world.order("serve", "stubborn")
        replica = await world.serve(order)
        await world.engine.replicas.stop(replica, grace=1)
        stopped = await world.seen(order)
        assert stopped.state is ReplicaState.EXITED
        assert stopped.exit_code == 128 + 9  # as shells and Docker count deaths by signal

    async def test_removing_takes_it_away(self, world: World) -> None:
        running = await world.serve(world.order())
        await world.engine.replicas.remove(running)
        assert list(await world.engine.replicas.list()) == []
        with pytest.raises(OSError, match=r".*"):
            await world.fetch(running.addresses[0], "/")

    async def test_stopping_and_removing_what_is_gone_is_no_error(self, world: World) -> None:
        replica = await world.start(world.order())
        await world.engine.replicas.remove(replica)
        await world.engine.replicas.remove(replica)
        await world.engine.replicas.stop(replica, grace=1)

    async def test_a_killed_one_has_exited_and_can_be_stopped_and_removed(
        self, world: World
    ) -> None:
        order = world.order()
        await world.kill(await world.serve(order))
        exited = await world.exited(order)
        await world.engine.replicas.stop(exited, grace=1)
        assert await world.seen(order) == exited
        await world.engine.replicas.remove(exited)
        assert list(await world.engine.replicas.list()) == []

    async def test_a_list_can_be_of_one_app(self, world: World) -> None:
        names = [
            ReplicaName("shop", "web", 1, 0, 1),
            ReplicaName("shop", "web", 1, 1, 1),
            ReplicaName("shop", "web-2", 1, 0, 1),
            ReplicaName("shop-2", "web", 1, 0, 1),
        ]
        for name in names:
            await world.start(world.order(name=name))
        listed = await world.engine.replicas.list(("shop", "web"))
        assert sorted(replica.name for replica in listed) == names[:2]
        everything = await world.engine.replicas.list()
        assert sorted(replica.name for replica in everything) == sorted(names)
