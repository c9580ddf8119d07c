"""Which row answers a request, and what it does to it on the way."""

import pytest

from projections.route_table import Header, Mirror
from tests.contracts.router_world import WEB, RouterWorld, backend, name_of, row
from tests.support.backends import backends

API, OTHER = backend("api"), backend("other")
CONTEXT = Header("x-context", "feature-1")


class MatchingContract:
    async def test_a_host_leads_to_its_app_and_no_other(self, world: RouterWorld) -> None:
        async with backends("web", "other") as (web, other):
            await world.serve(
                [row("a.test"), row("b.test", to=OTHER)],
                {WEB: [web.endpoint()], OTHER: [other.endpoint()]},
            )
            async with world.client("a.test") as client:
                assert name_of(await client.get("/")) == "web"
                assert name_of(await client.get("/", headers={"Host": "b.test"})) == "other"
                assert name_of(await client.get("/", headers={"Host": "A.Test:8080"})) == "web"
                unknown = await client.get("/", headers={"Host": "c.test"})
                below = await client.get("/", headers={"Host": "x.a.test"})
        assert [unknown.status_code, below.status_code] == [404, 404]
        assert "Nothing is served" in unknown.text

    async def test_a_row_with_copies_is_answered_whether_or_not_they_can_be_made(
        self, world: RouterWorld
    ) -> None:
        copied = row("a.test", mirror=Mirror(OTHER, 80, 100))
        async with backends("web", "other") as (web, other):
            await world.serve([copied], {WEB: [web.endpoint()], OTHER: [other.endpoint()]})
            async with world.client("a.test") as client:
                assert {name_of(await client.get("/")) for _ in range(3)} == {"web"}
        assert "use a target whose router is" in world.router.without_copies

    async def test_a_table_without_rows_answers_404(self, world: RouterWorld) -> None:
        await world.apply()
        async with world.client("a.test") as client:
            assert (await client.get("/")).status_code == 404

    @pytest.mark.parametrize(
        ("target", "name"),
        [
            ("/", "web"),
            ("/api", "api"),
            ("/api/", "api"),
            ("/api?x=1", "api"),
            ("/api/v1/users", "api"),
            ("/apix", "web"),
            ("/API", "web"),
            ("/x/api", "web"),
            ("/api/admin", "other"),
            ("/api/admin/x", "other"),
            ("/api/administration", "api"),
        ],
    )
    async def test_a_path_covers_itself_and_what_is_below_it(
        self, world: RouterWorld, target: str, name: str
    ) -> None:
        async with backends("web", "api", "other") as (web, api, other):
            await world.serve(
                [row("a.test", "/api/admin", OTHER), row("a.test", "/api", API), row("a.test")],
                {WEB: [web.endpoint()], API: [api.endpoint()], OTHER: [other.endpoint()]},
            )
            async with world.client("a.test") as client:
                answer = await client.get(target)
        assert name_of(answer) == name
        assert answer.json()["target"] == target

    async def test_a_path_with_characters_that_mean_something_elsewhere_is_a_path(
        self, world: RouterWorld
    ) -> None:
        async with backends("web", "api") as (web, api):
            await world.serve(
                [row("a.test", "/v1.0+(x)", API), row("a.test")],
                {WEB: [web.endpoint()], API: [api.endpoint()]},
            )
            async with world.client("a.test") as client:
                assert name_of(await client.get("/v1.0+(x)/y")) == "api"
                assert name_of(await client.get("/v1x0+(x)")) == "web"

    @pytest.mark.parametrize(
        ("path", "target", "arrives"),
        [
            ("/api", "/api", "/"),
            ("/api", "/api/", "/"),
            ("/api", "/api/v1?q=1&r=%2F", "/v1?q=1&r=%2F"),
            ("/api", "/api/a%20b/%E2%82%AC", "/a%20b/%E2%82%AC"),
            ("/a%20b", "/a%20b/c%20d", "/c%20d"),
            ("/a%20b", "/a%20b?x", "/?x"),
            ("/%E2%82%AC", "/%E2%82%AC/y?x", "/y?x"),
            ("/%E2%82%AC", "/%E2%82%AC?x", "/?x"),
        ],
    )
    async def test_a_prefix_is_stripped_when_the_row_says_so(
        self, world: RouterWorld, path: str, target: str, arrives: str
    ) -> None:
        async with backends("api") as (api,):
            await world.serve(
                [row("a.test", path, API, strip_prefix=True)], {API: [api.endpoint()]}
            )
            async with world.client("a.test") as client:
                arrived = (await client.get(target)).json()["target"]
        assert arrived == arrives

    async def test_a_context_takes_requests_that_carry_its_header_with_just_this_value(
        self, world: RouterWorld
    ) -> None:
        async with backends("web", "feature") as (web, feature):
            await world.serve(
                [row("a.test", to=API, context=CONTEXT), row("a.test")],
                {WEB: [web.endpoint()], API: [feature.endpoint()]},
            )
            async with world.client("a.test") as client:
                for value, name in (
                    ("feature-1", "feature"),
                    ("feature-12", "web"),
                    ("Feature-1", "web"),
                    ("x feature-1", "web"),
                    ("", "web"),
                ):
                    answer = await client.get("/", headers={"X-Context": value})
                    assert (value, name_of(answer)) == (value, name)
                    assert answer.json()["headers"]["x-context"] == value
                assert name_of(await client.get("/")) == "web"

    @pytest.mark.parametrize("value", ["*", "a*", "{http.request.host}", "a|b", "a b", '"q"'])
    async def test_the_value_of_a_context_is_only_itself(
        self, world: RouterWorld, value: str
    ) -> None:
        async with backends("web", "feature") as (web, feature):
            await world.serve(
                [row("a.test", to=API, context=Header("x-context", value)), row("a.test")],
                {WEB: [web.endpoint()], API: [feature.endpoint()]},
            )
            async with world.client("a.test") as client:
                same = await client.get("/", headers={"X-Context": value})
                other = await client.get("/", headers={"X-Context": "a.test"})
        assert [name_of(same), name_of(other)] == ["feature", "web"]

    async def test_rows_are_asked_in_the_order_of_the_table(self, world: RouterWorld) -> None:
        """A context of a short path before a longer path without one, as precedence says."""
        async with backends("web", "feature") as (web, feature):
            await world.serve(
                [row("a.test", to=API, context=CONTEXT), row("a.test", "/deep/path")],
                {WEB: [web.endpoint()], API: [feature.endpoint()]},
            )
            async with world.client("a.test") as client:
                carried = await client.get("/deep/path", headers={"X-Context": "feature-1"})
                plain = await client.get("/deep/path")
        assert [name_of(carried), name_of(plain)] == ["feature", "web"]

    async def test_each_of_many_hosts_has_its_own_rows_however_it_is_spelt(
        self, world: RouterWorld
    ) -> None:
        rows = [row(f"h{number}.test", to=(WEB, API)[number % 2]) for number in range(20)]
        async with backends("web", "api") as (web, api):
            await world.serve(rows, {WEB: [web.endpoint()], API: [api.endpoint()]})
            found = []
            for host in ("h0.test", "h1.test", "H18.TEST"):
                async with world.client(host) as client:
                    found.append(name_of(await client.get("/")))
            async with world.client("h20.test") as client:
                assert (await client.get("/")).status_code == 404
        assert found == ["web", "api", "web"]

    async def test_contexts_come_and_go_over_the_bases_of_their_host(
        self, world: RouterWorld
    ) -> None:
        """The longest context above a base goes first; one of another host is none here."""
        inner = backend("inner")
        top = row("a.test", to=API, context=CONTEXT)
        deep = row("a.test", "/api", inner, context=CONTEXT)
        rows = [row("a.test", "/api"), row("a.test"), row("b.test")]
        async with backends("web", "feature", "inner") as (web, feature, within):
            places = {WEB: [web.endpoint()], API: [feature.endpoint()], inner: [within.endpoint()]}
            await world.serve(rows, places)
            for contexts, answers in (
                ([top], ["feature", "feature", "web"]),
                ([deep, top], ["inner", "feature", "web"]),
                ([deep], ["inner", "web", "web"]),
                ([], ["web", "web", "web"]),
            ):
                applied = await world.apply(*contexts, *rows)
                assert applied.changed
                assert applied.drift == ()
                found = []
                for host, path in (("a.test", "/api/x"), ("a.test", "/"), ("b.test", "/")):
                    async with world.client(host) as client:
                        answer = await client.get(path, headers={"X-Context": "feature-1"})
                        found.append(name_of(answer))
                        assert name_of(await client.get(path)) == "web"
                assert found == answers

    async def test_headers_are_set_on_the_way_there_and_back(self, world: RouterWorld) -> None:
        request = (Header("x-team", "shop"), Header("x-odd", "{http.request.host} {a} \\ %[src]"))
        response = (Header("x-frame-options", "DENY"), Header("content-type", "text/odd"))
        async with backends("web") as (web,):
            await world.serve(
                [row("a.test", request_headers=request, response_headers=response)],
                {WEB: [web.endpoint()]},
            )
            async with world.client("a.test") as client:
                answer = await client.get("/", headers={"X-Team": "mine"})
        arrived = answer.json()["headers"]
        assert (arrived["x-team"], arrived["x-odd"]) == ("shop", request[1].value)
        assert answer.headers.get_list("x-frame-options") == ["DENY"]
        assert answer.headers.get_list("content-type") == ["text/odd"]

    async def test_an_app_sees_host_and_scheme_of_the_client(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve([row("a.test")], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                answer = await client.get("/", headers={"X-Forwarded-Proto": "https"})
        arrived = answer.json()["headers"]
        assert arrived["host"] == "a.test"
        assert arrived["x-forwarded-proto"] == "http"
        assert arrived["x-forwarded-for"] == "127.0.0.1"

    async def test_an_app_hears_nothing_that_a_client_says_of_itself(
        self, world: RouterWorld
    ) -> None:
        """An app may believe any of these, as if a router before it had said so."""
        spoofs = {
            "Forwarded": "for=6.6.6.6",
            "X-Real-IP": "6.6.6.6",
            "X_Real_IP": "6.6.6.6",
            "X-Forwarded-For": "6.6.6.6",
            "X_Forwarded-Prefix": "/evil",
            "X-Forwarded-Port": "1",
            "X-Forwarded-Email": "root@a.test",
        }
        said = (Header("x-forwarded-prefix", "/shop"),)
        async with backends("web") as (web,):
            await world.serve([row("a.test", request_headers=said)], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                arrived = (await client.get("/", headers=spoofs)).json()["headers"]
        odd = {name: value for name, value in arrived.items() if "forwarded" in name.lower()}
        assert odd == {
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-host": "a.test",
            "x-forwarded-proto": "http",
            "x-forwarded-prefix": "/shop",
        }
        assert not {name for name in arrived if "real" in name.lower()}

    async def test_headers_as_large_as_others_take_arrive(self, world: RouterWorld) -> None:
        cookies = {f"x-part-{number}": "c" * 7_000 for number in range(4)}
        async with backends("web") as (web,):
            await world.serve([row("a.test")], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                arrived = (await client.get("/", headers=cookies)).json()["headers"]
        assert cookies.items() <= arrived.items()

    async def test_a_body_arrives_whole(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve([row("a.test")], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                answer = await client.post("/", content=bytes(3_000_000))
        assert (answer.json()["method"], answer.json()["body"]) == ("POST", 3_000_000)

    async def test_a_redirect_keeps_method_path_and_query(self, world: RouterWorld) -> None:
        await world.apply(row("a.test", redirect=True))
        async with world.client("a.test") as client:
            answer = await client.post("/x%20y?q=1")
        port = world.https.split(":")[1]
        assert answer.status_code == 308
        assert answer.headers["location"] == f"https://a.test:{port}/x%20y?q=1"
