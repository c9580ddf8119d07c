"""Where a row's requests go: weights, fallbacks, and what is said when nothing is there."""

from collections import Counter

from projections.route_table import Header, Share
from tests.contracts.router_world import WEB, RouterWorld, backend, name_of, row
from tests.support.backends import backends

CANARY, FEATURE = backend("canary"), backend("feature")
CONTEXT = Header("x-context", "feature-1")
ASKED = 400


async def parts(world: RouterWorld, host: str, count: int = ASKED) -> Counter[str]:
    """How many of so many requests each backend answered."""
    async with world.client(host) as client:
        return Counter([name_of(await client.get("/")) for _ in range(count)])


class EndpointsContract:
    async def test_replicas_share_the_requests(self, world: RouterWorld) -> None:
        async with backends("one", "two", "three") as found:
            await world.serve([row("a.test")], {WEB: [one.endpoint() for one in found]})
            shared = await parts(world, "a.test", 300)
        assert set(shared) == {"one", "two", "three"}
        assert min(shared.values()) > 50

    async def test_an_endpoint_gets_the_part_that_its_weight_says(self, world: RouterWorld) -> None:
        async with backends("one", "two") as (one, two):
            await world.serve([row("a.test")], {WEB: [one.endpoint(9), two.endpoint(1)]})
            shared = await parts(world, "a.test")
        assert 0.04 < shared["two"] / ASKED < 0.18

    async def test_a_share_is_of_the_requests_however_many_replicas_it_has(
        self, world: RouterWorld
    ) -> None:
        shares = [Share(WEB, 3), Share(CANARY, 1)]
        async with backends("one", "two", "three", "new") as (*old, new):
            await world.serve(
                [row("a.test", to=shares)],
                {WEB: [one.endpoint() for one in old], CANARY: [new.endpoint()]},
            )
            shared = await parts(world, "a.test")
        assert 0.15 < shared["new"] / ASKED < 0.35
        assert len(shared) == 4

    async def test_a_share_without_endpoint_leaves_its_part_to_the_others(
        self, world: RouterWorld
    ) -> None:
        async with backends("web") as (web,):
            await world.serve(
                [row("a.test", to=[Share(CANARY, 5), Share(WEB, 1)])], {WEB: [web.endpoint()]}
            )
            assert set(await parts(world, "a.test", 20)) == {"web"}

    async def test_weight_zero_gets_nothing(self, world: RouterWorld) -> None:
        async with backends("web", "new") as (web, new):
            await world.serve(
                [row("a.test", to=[Share(WEB, 1), Share(CANARY, 0)])],
                {WEB: [web.endpoint()], CANARY: [new.endpoint()]},
            )
            assert set(await parts(world, "a.test", 20)) == {"web"}

    async def test_more_replicas_than_fit_into_one_answer_are_all_reached(
        self, world: RouterWorld
    ) -> None:
        names = [f"b{number}" for number in range(50)]
        async with backends(*names) as found:
            await world.serve([row("a.test")], {WEB: [one.endpoint() for one in found]})
            seen: set[str] = set()
            while len(seen) < len(names):  # ends by the timeout of the test when one is never asked
                seen |= set(await parts(world, "a.test", 60))

    async def test_a_context_without_endpoint_falls_back_and_takes_over_again(
        self, world: RouterWorld
    ) -> None:
        async with backends("web", "feature") as (web, feature):
            base = {WEB: [web.endpoint()]}
            await world.serve(
                [
                    row("a.test", to=FEATURE, context=CONTEXT, fallback=(Share(WEB, 1),)),
                    row("a.test"),
                ],
                base,
            )
            async with world.client("a.test") as client:
                carried = {"X-Context": CONTEXT.value}
                assert name_of(await client.get("/", headers=carried)) == "web"
                await world.publish({**base, FEATURE: [feature.endpoint()]})
                assert name_of(await client.get("/", headers=carried)) == "feature"
                assert name_of(await client.get("/")) == "web"
                await world.publish(base)
                assert name_of(await client.get("/", headers=carried)) == "web"

    async def test_a_row_without_endpoint_answers_503_with_a_page_that_says_so(
        self, world: RouterWorld
    ) -> None:
        await world.serve([row("a.test")], {})
        async with world.client("a.test") as client:
            answer = await client.post("/", content=b"x")
        assert answer.status_code == 503
        assert "no healthy replica" in answer.text
        assert answer.headers["content-type"].startswith("text/html")

    async def test_nothing_reaches_an_endpoint_that_was_withdrawn(self, world: RouterWorld) -> None:
        async with backends("old", "new") as (old, new):
            await world.serve([row("a.test")], {WEB: [old.endpoint()]})
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "old"
                await world.publish({WEB: [new.endpoint()]})
                assert {name_of(await client.get("/")) for _ in range(50)} == {"new"}

    async def test_endpoints_may_be_published_before_their_route(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.apply()
            await world.publish({WEB: [web.endpoint()]})
            await world.apply(row("a.test"))
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"

    async def test_a_replica_that_died_is_passed_over_by_new_requests(
        self, world: RouterWorld
    ) -> None:
        """Until it is withdrawn: a connection that cannot be made is made to another."""
        async with backends("one", "two") as (one, two):
            await world.serve([row("a.test")], {WEB: [one.endpoint(), two.endpoint()]})
            async with world.client("a.test") as client:
                assert {name_of(await client.get("/")) for _ in range(20)} == {"one", "two"}
                await one.stop()
                assert {name_of(await client.get("/")) for _ in range(20)} == {"two"}

    async def test_two_lives_of_one_name_are_two_backends(self, world: RouterWorld) -> None:
        first, second = backend("web", uid=1), backend("web", uid=2)
        async with backends("old", "new") as (old, new):
            await world.serve(
                [row("a.test", to=second)], {first: [old.endpoint()], second: [new.endpoint()]}
            )
            assert set(await parts(world, "a.test", 10)) == {"new"}
