"""What other installations run: seen only where it is asked for, ended one by one."""

from msgspec.structs import replace

from reconcilers.ports import ForeignReplica, ReplicaName, ReplicaState
from tests.contracts.engine_world import DATA, PATIENCE, World


async def foreign(world: World) -> list[ForeignReplica]:
    """What of `world.engine` the other installation sees."""
    return sorted(await world.other.foreign.list(), key=lambda one: one.name)


def named(app: str, slot: int = 2, project: str = "shop") -> ReplicaName:
    return ReplicaName(project, app, revision=7, slot=slot, attempt=1)


class ForeignContract:
    async def test_another_installation_sees_whose_it_is_and_how(self, world: World) -> None:
        running, dead = world.order(), world.order("exit", "0", name=named("api"))
        replica = await world.serve(running)
        await world.start(dead)
        await world.exited(dead)
        api, web = await foreign(world)
        assert (web.id, web.name, web.state) == (replica.id, running.name, ReplicaState.RUNNING)
        assert (api.name, api.state) == (dead.name, ReplicaState.EXITED)
        assert web.installation == api.installation

    async def test_its_own_are_never_listed(self, world: World) -> None:
        await world.serve(world.order())
        assert list(await world.engine.foreign.list()) == []
        assert list(await world.engine.foreign.list(("shop", "web"))) == []

    async def test_the_replicas_of_one_app_can_be_asked_for(self, world: World) -> None:
        await world.start(world.order())
        await world.start(world.order(name=named("web", project="blog")))
        [web] = await world.other.foreign.list(("shop", "web"))
        assert web.name == named("web")
        assert list(await world.other.foreign.list(("shop", "api"))) == []

    async def test_what_no_stateward_made_is_never_listed(self, world: World) -> None:
        await world.engine.grounds.prepare("shop")
        is_intact = await world.squat(world.order())
        assert list(await world.engine.foreign.list()) == []
        assert await foreign(world) == []
        assert await is_intact()

    async def test_exactly_the_named_one_ends(self, world: World) -> None:
        first, second = world.order(), world.order(name=named("web", slot=3))
        api = world.order(name=named("api"))
        for order in (first, second, api):
            await world.serve(order)
        gone = next(one for one in await foreign(world) if one.name == first.name)
        await world.other.foreign.end(gone, grace=5)
        left = await world.engine.replicas.list()
        assert {one.name for one in left} == {second.name, api.name}
        assert {one.state for one in left} == {ReplicaState.RUNNING}

    async def test_ended_twice_is_ended_once(self, world: World) -> None:
        await world.serve(world.order())
        [web] = await foreign(world)
        await world.other.foreign.end(web, grace=5)
        await world.other.foreign.end(web, grace=5)
        assert await foreign(world) == []

    async def test_one_that_was_never_started_or_has_exited_ends_too(self, world: World) -> None:
        dead, unstarted = world.order("exit", "3"), world.order(name=named("api"))
        await world.start(dead)
        await world.exited(dead)
        await world.create_only(unstarted)
        for one in await foreign(world):
            await world.other.foreign.end(one, grace=5)
        assert list(await world.engine.replicas.list()) == []

    async def test_its_owner_cannot_end_it_as_if_it_were_foreign(self, world: World) -> None:
        order = world.order()
        replica = await world.serve(order)
        [web] = await foreign(world)
        await world.engine.foreign.end(web, grace=0)
        assert await world.seen(order) == replica

    async def test_what_is_not_as_listed_is_left_alone(self, world: World) -> None:
        order = world.order()
        await world.serve(order)
        [web] = await foreign(world)
        of_nobody = replace(web, installation="99999999-9999-4999-8999-999999999999")
        for one in (of_nobody, replace(web, name=named("api"))):
            await world.other.foreign.end(one, grace=0)
        assert (await world.seen(order)).state is ReplicaState.RUNNING

    async def test_its_project_is_cleared_when_the_last_has_ended(self, world: World) -> None:
        for app in ("web", "api"):
            await world.start(world.order(name=named(app)))
        api, web = await foreign(world)
        await world.other.foreign.end(web, grace=5)
        await world.other.foreign.clear(web.installation, "shop")
        assert list(await world.engine.grounds.projects()) == ["shop"]
        await world.other.foreign.end(api, grace=5)
        await world.other.foreign.clear(web.installation, "shop")
        await world.other.foreign.clear(web.installation, "shop")
        assert list(await world.engine.grounds.projects()) == []

    async def test_its_own_project_is_never_cleared_as_if_it_were_foreign(
        self, world: World
    ) -> None:
        await world.start(world.order())
        [web] = await foreign(world)
        await world.engine.replicas.remove(await world.seen(world.order()))
        await world.engine.foreign.clear(web.installation, "shop")
        assert list(await world.engine.grounds.projects()) == ["shop"]

    async def test_its_data_stays(self, world: World) -> None:
        keep, kept = [*world.program, "keep", "jewels"], [*world.program, "kept"]
        first = await world.serve(world.order(volumes=(DATA,)))
        assert (await world.engine.io.run(first, keep, timeout_seconds=PATIENCE)).exit_code == 0
        [web] = await foreign(world)
        await world.other.foreign.end(web, grace=5)
        await world.other.foreign.clear(web.installation, "shop")
        later = world.order(name=web.name._replace(revision=8), volumes=(DATA,))
        second = await world.serve(later)
        found = await world.engine.io.run(second, kept, timeout_seconds=PATIENCE)
        assert (found.exit_code, found.stdout) == (0, b"jewels")
