"""By which URLs apps are reached, and which row a request hits, for who may see it."""

from typing import Any

import httpx
import pytest

from tests.support.gateway import House, app_manifest, problem

APPS = "/api/v1/projects/{}/apps/{}"
ROUTES = "/api/v1/routes"
WHY = "/api/v1/routes/why"
PORTS = [{"name": "http", "port": 80}]
BLUE = {"header": "X-Feature", "value": "blue"}


async def put(client: httpx.AsyncClient, name: str, *routes: object, project: str = "shop") -> None:
    manifest = app_manifest(name, ports=PORTS, routes=list(routes))
    manifest["metadata"]["project"] = project
    answer = await client.put(APPS.format(project, name), json=manifest)
    assert answer.status_code in (200, 201), answer.text


@pytest.fixture
async def furnished(house: House, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Two projects, a base, its context, and a URL that is not the shop's."""
    lab = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "lab"}}
    await client.put("/api/v1/projects/lab", json=lab | {"spec": {}})
    secure = {"host": "s.localhost", "tls": {"mode": "internal"}}
    await put(client, "web", {"host": "a.localhost"}, secure)
    await put(client, "feature", {"host": "a.localhost", "path": "/api", "contexts": [BLUE]})
    await put(client, "own", {"host": "a.localhost", "path": "/lab"}, project="lab")
    return client


async def why(client: httpx.AsyncClient, url: str, *headers: str) -> Any:
    asked = {"url": url, "headers": "\n".join(headers)}
    answer = await client.get(WHY, params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_routes_are_listed_in_their_order(furnished: httpx.AsyncClient) -> None:
    items = (await furnished.get(ROUTES)).json()["items"]
    told = [(one["url"], one["context"], one["app"], one["redirect"]) for one in items]
    assert told == [
        ("http://a.localhost/api", "x-feature: blue", "App/shop/feature", False),
        ("http://a.localhost/lab", "", "App/lab/own", False),
        ("http://a.localhost/", "", "App/shop/web", False),
        ("http://s.localhost/", "", "App/shop/web", True),
        ("https://s.localhost/", "", "App/shop/web", False),
    ]
    assert items[0]["fallback"] == ["App/shop/web"]
    assert {one["status"] for one in items} == {"NotObserved"}
    ours = (await furnished.get(ROUTES, params={"project": "lab"})).json()["items"]
    assert [one["app"] for one in ours] == ["App/lab/own"]


async def test_a_route_is_shown_with_the_port_that_its_router_listens_at(
    furnished: httpx.AsyncClient,
) -> None:
    items = (await furnished.get(ROUTES)).json()["items"]
    assert [one["address"] for one in items] == [one["url"] for one in items]
    entries = {"http": "127.0.0.1:8080", "https": ":8443"}
    target = (await furnished.get("/api/v1/targets/local")).json()
    target["spec"]["routing"] = {"entries": entries}
    asked = {part: target[part] for part in ("apiVersion", "kind", "spec")}
    answer = await furnished.put("/api/v1/targets/local", json=asked)
    assert answer.is_success, answer.text
    items = (await furnished.get(ROUTES)).json()["items"]
    assert {"http://a.localhost:8080/", "https://s.localhost:8443/"} < {
        one["address"] for one in items
    }


async def test_a_host_may_be_asked_about_as_people_write_it(furnished: httpx.AsyncClient) -> None:
    await put(furnished, "web", {"host": "xn--bcher-kva.localhost"})
    assert (await why(furnished, "Bücher.localhost"))["row"]["app"] == "App/shop/web"


async def test_a_path_may_be_asked_about_with_needless_escapes(
    furnished: httpx.AsyncClient,
) -> None:
    """Every router takes them for the characters that they mean."""
    assert (await why(furnished, "a.localhost/%6Cab/x"))["row"]["app"] == "App/lab/own"


async def test_a_request_hits_a_row_and_the_others_are_explained(
    furnished: httpx.AsyncClient,
) -> None:
    found = await why(furnished, "a.localhost/api/x", "X-Feature: blue")
    assert found["row"]["app"] == "App/shop/feature"
    assert {one["url"]: one["why"] for one in found["passed"]} == {
        "http://a.localhost/lab": "/api/x is not /lab, and not below it",
        "http://a.localhost/": "/api with x-feature: blue (precedence 1000400000) goes before it",
    }
    base = await why(furnished, "http://a.localhost/api/x", "X-Feature: green")
    assert base["row"]["app"] == "App/shop/web"
    assert base["passed"][0]["why"] == "the header x-feature is 'green', not 'blue'"


async def test_rows_of_the_host_on_another_target_are_told(furnished: httpx.AsyncClient) -> None:
    """A context there gets no request of the base here."""
    second = {"apiVersion": "stateward/v1", "kind": "Target", "spec": {"engine": "simulated"}}
    answer = await furnished.put("/api/v1/targets/away", json=second)
    assert answer.is_success, answer.text
    manifest = app_manifest("away", ports=PORTS, target="away")
    manifest["spec"]["routes"] = [{"host": "a.localhost", "contexts": [BLUE]}]
    answer = await furnished.put(APPS.format("shop", "away"), json=manifest)
    assert answer.is_success, answer.text
    found = await why(furnished, "a.localhost/x", "X-Feature: green")
    assert (found["request"]["target"], found["row"]["app"]) == ("local", "App/shop/web")
    [there] = [one for one in found["passed"] if one["app"] == "App/shop/away"]
    assert there["why"] == "it is on target away, and this is what the router of target local does"


async def test_without_a_scheme_https_is_asked_where_there_is_any(
    furnished: httpx.AsyncClient,
) -> None:
    assert (await why(furnished, "s.localhost"))["row"]["tls"] == "internal"
    plain = await why(furnished, "http://s.localhost/x")
    assert plain["row"]["redirect"]
    assert plain["summary"] == "a redirect to https://s.localhost with the same path"


async def test_what_nobody_answers_is_a_404_with_its_reason(furnished: httpx.AsyncClient) -> None:
    unknown = await why(furnished, "https://b.localhost/")
    assert (unknown["row"], unknown["summary"]) == (None, "404: no app has a route on b.localhost")
    assert (await why(furnished, "https://a.localhost/"))["summary"] == "404: no row fits"


async def test_apps_that_one_may_not_see_have_no_name(
    house: House, furnished: httpx.AsyncClient
) -> None:
    guest = house.token("guest", "viewer", "lab")
    async with house.client(guest) as asking:
        items = (await asking.get(ROUTES)).json()["items"]
        assert [one["app"] for one in items] == ["App/lab/own"]
        found = await why(asking, "a.localhost/api", "x-feature: blue")
        assert (found["row"]["app"], found["row"]["fallback"]) == ("", [])


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://a", ""),
        ("https://", ""),
        ("a.localhost/a//b", ""),
        ("http://[a/", ""),
        ("a", "blue"),
    ],
)
async def test_what_is_no_request_is_refused(
    client: httpx.AsyncClient, url: str, headers: str
) -> None:
    answer = await client.get(WHY, params={"url": url, "headers": headers})
    problem(answer, 422, "BadValue")
