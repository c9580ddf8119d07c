"""What may go wrong around a router: deaths, foreign hands, configurations that it refuses."""

import asyncio

import pytest

from projections.route_table import RouteTable, Tls
from reconcilers.router_ports import RouterRefused
from tests.contracts.router_streams import answered
from tests.contracts.router_world import PATIENCE, WEB, RouterWorld, name_of, row, table
from tests.support.backends import backends

_GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
ROWS = (row("a.test", "/api"), row("a.test"))


class TroubleContract:
    async def test_the_same_table_twice_is_written_once(self, world: RouterWorld) -> None:
        await world.apply(row("b.test"))
        assert (await world.apply(*ROWS)).changed
        again = await world.apply(*ROWS)
        assert (again.changed, again.drift) == (False, ())

    async def test_a_change_of_ours_is_not_drift(self, world: RouterWorld) -> None:
        await world.apply(*ROWS)
        assert (await world.apply(*ROWS, row("c.test"))).drift == ()

    async def test_a_foreign_change_is_put_right_and_named(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve(ROWS, {WEB: [web.endpoint()]})
            word = await world.tamper()
            async with world.client("a.test") as client:
                assert (await client.get("/")).status_code == 404
                applied = await world.apply(*ROWS)
                assert name_of(await client.get("/")) == "web"
        assert applied.changed
        assert word in " ".join(applied.drift)
        assert (await world.apply(*ROWS)).drift == ()

    async def test_a_row_that_cannot_be_served_is_named_and_stops_no_other(
        self, world: RouterWorld
    ) -> None:
        lacking = row("own.test", scheme="https", tls=Tls(mode="secret", secret="Secret/shop/gone"))
        async with backends("web") as (web,):
            await world.publish({WEB: [web.endpoint()]})
            applied = await world.apply(lacking, *ROWS)
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"
        assert [one.row for one in applied.unserved] == [lacking.id]
        assert "Secret/shop/gone" in applied.unserved[0].reason
        assert (await world.apply(*ROWS)).unserved == ()

    async def test_what_is_refused_leaves_what_serves(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve(ROWS, {WEB: [web.endpoint()]})
            router, bad = await world.unacceptable()
            for _ in range(2):
                with pytest.raises(RouterRefused, match=r".+: .+"):
                    await router.apply(bad)
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"
            applied = await world.apply(*ROWS)
        assert (applied.changed, applied.drift) == (False, ())

    async def test_a_router_that_was_killed_serves_again_what_it_served(
        self, world: RouterWorld
    ) -> None:
        async with backends("web") as (web,):
            await world.serve(ROWS, {WEB: [web.endpoint()]})
            watching = asyncio.ensure_future(anext(aiter(world.router.watch())))
            await asyncio.sleep(0)
            await world.kill()
            async with asyncio.timeout(PATIENCE):
                await watching
            assert (await world.apply(*ROWS)).drift == ()
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"

    async def test_who_begins_anew_takes_up_what_runs(self, world: RouterWorld) -> None:
        """The control plane dies: traffic goes on, and its next life changes nothing."""
        async with backends("web", "new") as (web, new):
            await world.serve(ROWS, {WEB: [web.endpoint()]})
            async with world.connection() as (reader, writer):
                writer.write(_GET)
                assert b'"web"' in await answered(reader)
                router = await world.reopened()
                assert not (await router.apply(table(*ROWS))).changed
                writer.write(_GET)
                assert b'"web"' in await answered(reader)
                await router.publish({WEB: (new.endpoint(),)})
                await asyncio.sleep(router.propagation)
                writer.write(_GET)
                assert b'"new"' in await answered(reader)

    async def test_a_route_that_comes_before_any_publishing_keeps_the_endpoints(
        self, world: RouterWorld
    ) -> None:
        """After a new start routes may be known before replicas were looked at."""
        async with backends("web") as (web,):
            await world.serve(ROWS, {WEB: [web.endpoint()]})
            router = await world.reopened()
            await router.apply(table(row("b.test"), *ROWS))
            async with world.client("b.test") as client:
                assert name_of(await client.get("/")) == "web"

    async def test_many_changes_at_once_end_with_the_last(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.publish({WEB: [web.endpoint()]})
            tables = [row(f"h{number}.test") for number in range(5)]
            await asyncio.gather(*(world.apply(one) for one in tables))
            async with world.client("h4.test") as client:
                assert name_of(await client.get("/")) == "web"
                assert (await client.get("/", headers={"Host": "h0.test"})).status_code == 404

    async def test_an_empty_table_takes_all_routes_away(self, world: RouterWorld) -> None:
        await world.apply(*ROWS)
        assert (await world.router.apply(RouteTable())).changed
        async with world.client("a.test") as client:
            assert (await client.get("/")).status_code == 404
