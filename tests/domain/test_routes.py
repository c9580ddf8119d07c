"""What a route may say, and what setting one brings about."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from domain import app as spec_of
from domain import intents as i
from domain.names import app
from domain.refusals import BadValue, InUse, NotFound, NotPossible, Refusal
from domain.state import App
from tests.support.intents import Desk, manifest

WEB = app("shop", "web")
PORTS = [{"name": "http", "port": 80}]
ROUTING = {
    "domains": [
        {"pattern": "*.example.org", "exclude": ["admin.example.org", "*.hidden.example.org"]},
        {"pattern": "*.login.org", "auth": True},
    ],
    "portRanges": [{"first": 5000, "last": 5999}, {"first": 53, "last": 53, "protocol": "udp"}],
}
HOST = "shop.example.org"


async def desk() -> Desk:
    found = Desk()
    target = manifest("Target", "local", {"engine": "simulated", "routing": ROUTING})
    await found.send(target, manifest("Project", "shop", {}))
    return found


def web(routes: Sequence[Mapping[str, Any]], **others: object) -> Any:
    return manifest("App", "web", {"image": "a:1", "ports": PORTS, "routes": routes, **others})


async def present(found: Desk) -> App:
    state = await found.service.present(WEB.stream)
    assert isinstance(state, App)
    return state


async def test_a_route_makes_no_revision() -> None:
    found = await desk()
    await found.send(web([]))
    answer = await found.send(web([{"host": HOST}]))
    assert answer.changes[0].events == ("app.routed",)
    state = await present(found)
    assert state.revision == 1
    assert spec_of.decode(state.spec).routes[0].port == "http"  # which goes without saying
    assert (await found.send(web([{"host": HOST, "port": "http"}]))).changes[0].events == ()
    assert (await found.send(web([]))).changes[0].events == ("app.routed",)
    assert spec_of.decode((await present(found)).spec).routes == ()


async def test_a_published_port_makes_a_revision_that_replaces_in_place() -> None:
    found = await desk()
    await found.send(web([]))
    await found.send(web([], publish=[{"port": "http", "hostPort": 5432}]))
    state = await present(found)
    assert state.revision == 2
    assert spec_of.decode(state.spec).rollout.strategy == "stopFirst"


async def test_what_was_stored_without_routes_is_the_same_as_ever() -> None:
    found = await desk()
    await found.send(web([]))
    spec = (await present(found)).spec
    assert b"publish" not in spec
    assert b"routes" not in spec


@pytest.mark.parametrize(
    ("path", "normal"),
    [("/", "/"), ("/api/", "/api"), ("/%c3%bc", "/%C3%BC"), ("/a/b.html", "/a/b.html")],
)
async def test_a_path_has_one_form(path: str, normal: str) -> None:
    found = await desk()
    await found.send(web([{"host": HOST, "path": path}]))
    assert spec_of.decode((await present(found)).spec).routes[0].path == normal


BAD_ROUTES: Mapping[str, tuple[Mapping[str, Any], str, str]] = {
    "upper case": ({"host": "Shop.example.org"}, "host", "shop.example.org"),
    "a dot at the end": ({"host": f"{HOST}."}, "host", "dot"),
    "a wildcard": ({"host": "*.example.org"}, "host", "without a wildcard"),
    "a port": ({"host": f"{HOST}:80"}, "host", "or a port"),
    "letters of other scripts": ({"host": "bücher.example.org"}, "host", "xn--bcher-kva"),
    "a letter of its own": ({"host": "straße.example.org"}, "host", "xn--strae-oqa.example.org"),
    "nothing to see": ({"host": "a\u00a0b.example.org"}, "host", "no name of a host"),
    "a scheme": ({"host": f"https://{HOST}"}, "host", "a scheme, a path"),
    "an address in brackets": ({"host": "[::1]"}, "host", "or a port"),
    "not in small letters": ({"host": "xn--bcher-h7a.example.org"}, "host", "international"),
    "no international name": ({"host": "xn--a.example.org"}, "host", "international"),
    "a picture": ({"host": "xn--e28h.example.org"}, "host", "international"),
    "a long label": ({"host": f"{'a' * 64}.example.org"}, "host", "63"),
    "outside the domains": ({"host": "shop.org"}, "host", "offers the domains \\*.example.org"),
    "excluded": ({"host": "admin.example.org"}, "host", "without admin.example.org; take another"),
    "excluded below": ({"host": "a.hidden.example.org"}, "host", r"without \*.hidden.example.org"),
    "the domain itself": ({"host": "example.org"}, "host", "offers the domains"),
    "a relative path": ({"host": HOST, "path": "api"}, "path", "begins with /"),
    "a query": ({"host": HOST, "path": "/a?b"}, "path", "no query"),
    "steps up": ({"host": HOST, "path": "/a/../b"}, "path", "no empty part"),
    "two slashes": ({"host": HOST, "path": "/a//b"}, "path", "no empty part"),
    "escaped without need": ({"host": HOST, "path": "/%61pi/%7e"}, "path", "as it is: /api/~"),
    "an escaped step up": ({"host": HOST, "path": "/a/%2e%2E/b"}, "path", "none that is . or .."),
    "an escaped slash": ({"host": HOST, "path": "/a%2fb"}, "path", "escapes no slash"),
    "an escaped control character": ({"host": HOST, "path": "/a%00"}, "path", "no control"),
    "no UTF-8": ({"host": HOST, "path": "/%ff"}, "path", "UTF-8"),
    "everything below": ({"host": HOST, "path": "/api/*"}, "path", "so write it as /api"),
    "not escaped": ({"host": HOST, "path": "/a b"}, "path", "escaped"),
    "nothing to strip": ({"host": HOST, "stripPrefix": True}, "stripPrefix", "nothing to strip"),
    "no such port": ({"host": HOST, "port": "web"}, "port", "has http"),
    "auth where there is none": ({"host": HOST, "auth": "hard"}, "auth", "offers no auth"),
    "a secret without a name": ({"host": HOST, "tls": {"mode": "secret"}}, "tls.secret", "needs"),
    "a header that is none": (
        {"host": HOST, "contexts": [{"header": "x y", "value": "a"}]},
        "contexts\\[0\\].header",
        "names no header",
    ),
    "a context by host": (
        {"host": HOST, "contexts": [{"header": "Host", "value": "a"}]},
        "contexts\\[0\\].header",
        "such as x-context",
    ),
    "a value that no header has": (
        {"host": HOST, "contexts": [{"header": "x-feature", "value": "a\nb"}]},
        "contexts\\[0\\].value",
        "visible ASCII",
    ),
    "a header of the connection": (
        {"host": HOST, "headers": {"request": [{"name": "Transfer-Encoding", "value": "chunked"}]}},
        "headers.request\\[0\\].name",
        "belongs to a connection",
    ),
    "the length of an answer": (
        {"host": HOST, "headers": {"response": [{"name": "Content-Length", "value": "5"}]}},
        "headers.response\\[0\\].name",
        "belongs to a connection",
    ),
    "a header twice": (
        {"host": HOST, "headers": {"request": [{"name": n, "value": "a"} for n in ("X-A", "x-a")]}},
        "headers.request\\[1\\].name",
        "an earlier one sets it",
    ),
}


@pytest.mark.parametrize("name", BAD_ROUTES)
async def test_what_a_route_may_not_say_is_refused_by_field_and_rule(name: str) -> None:
    route, field, rule = BAD_ROUTES[name]
    found = await desk()
    with pytest.raises(BadValue, match=rf"spec\.routes\[0\]\.{field}.*{rule}"):
        await found.send(web([route]))


@pytest.mark.parametrize(
    "host", ["xn--strae-oqa", "xn--bcher-kva", "xn--fiqs8s", "xn--ngbo2ezhra0c"]
)
async def test_an_international_host_is_what_browsers_ask_for(host: str) -> None:
    """Also those of IDNA 2008: a German ß, and joiners of Persian."""
    found = await desk()
    assert (await found.send(web([{"host": f"{host}.example.org"}]))).changes


BAD_PUBLISHES: Mapping[str, tuple[list[Mapping[str, Any]], str]] = {
    "outside the ranges": ([{"port": "http", "hostPort": 80}], "offers the ports 5000-5999/tcp"),
    "no such port": ([{"port": "web", "hostPort": 5000}], "has http"),
    "another protocol": ([{"port": "http", "protocol": "udp", "hostPort": 53}], "has none"),
    "twice": ([{"port": "http", "hostPort": 5000}] * 2, "an earlier one has it already"),
}


@pytest.mark.parametrize("name", BAD_PUBLISHES)
async def test_what_may_not_be_published_is_refused_by_field_and_rule(name: str) -> None:
    publish, rule = BAD_PUBLISHES[name]
    found = await desk()
    with pytest.raises(BadValue, match=rf"spec\.publish\[\d\].*{rule}"):
        await found.send(web([], publish=publish))


@pytest.mark.parametrize("engine", ["process", "docker"])
async def test_a_process_listens_at_one_place_for_each_port(engine: str) -> None:
    """A container has as many as are asked for."""
    found = Desk()
    target = manifest("Target", "local", {"engine": engine, "routing": ROUTING})
    await found.send(target, manifest("Project", "shop", {}))
    runs = {"command": ["/bin/web"]} if engine == "process" else {"image": "a:1"}
    publish = [{"port": "http", "hostPort": number} for number in (5000, 5001)]
    spec = {"ports": PORTS, "publish": publish, **runs}
    asked = manifest("App", "web", spec)
    if engine == "docker":
        assert (await found.send(asked)).changes
        return
    with pytest.raises(BadValue, match=r"publish\[1\].*port 'http' listens at 5000 already"):
        await found.send(asked)


async def test_a_route_to_a_port_that_there_is_not_says_which_there_are() -> None:
    found = await desk()
    ports = [*PORTS, {"name": "admin", "port": 81}, {"name": "dns", "port": 53, "protocol": "udp"}]
    said = r"spec\.routes\[1\]\.port.*'dns'.*name a tcp port of this app \(has http, admin\)"
    routes = [{"host": HOST, "port": "http"}, {"host": HOST, "path": "/dns", "port": "dns"}]
    with pytest.raises(BadValue, match=said):
        await found.send(web(routes, ports=ports))
    with pytest.raises(BadValue, match=r"routes\[0\]\.port.*\(has http, admin\)"):
        await found.send(web([{"host": HOST}], ports=ports))  # there is more than one
    with pytest.raises(BadValue, match=r"\(has none\)"):
        await found.send(web([{"host": HOST}], ports=[]))
    assert not (await present(found)).exists


@pytest.mark.parametrize(
    ("routing", "number", "is_free"),
    [
        ({}, 443, False),
        ({"entries": {"http": "127.0.0.1:8080"}}, 8080, False),
        ({"entries": {"http": "127.0.0.1:8080"}}, 80, True),
        ({"router": "none"}, 443, True),
    ],
)
async def test_no_app_has_a_port_that_the_router_listens_at(
    routing: Mapping[str, Any], number: int, is_free: bool
) -> None:
    found = Desk()
    ranges = [{"first": 1, "last": 65535}]
    spec = {"engine": "simulated", "routing": {"portRanges": ranges, **routing}}
    target = manifest("Target", "local", spec)
    await found.send(target, manifest("Project", "shop", {}))
    asked = web([], publish=[{"port": "http", "hostPort": number}])
    if is_free:
        assert (await found.send(asked)).changes
        return
    with pytest.raises(BadValue, match="the router of target local listens there"):
        await found.send(asked)


async def test_a_port_of_the_host_leads_to_one_replica_at_a_time() -> None:
    found = await desk()
    publish = [{"port": "http", "hostPort": 5000}]
    with pytest.raises(BadValue, match="leads to one replica"):
        await found.send(web([], publish=publish, replicas=2))
    with pytest.raises(BadValue, match="use stopFirst"):
        await found.send(web([], publish=publish, rollout={"strategy": "startFirst"}))
    await found.send(web([], publish=publish))
    with pytest.raises(BadValue, match="leads to one replica"):
        await found.send(i.Scale(ref=WEB, replicas=2))


async def test_an_undo_leaves_the_routes_and_asks_for_their_ports() -> None:
    found = await desk()
    await found.send(web([], image="a:1"))
    await found.send(web([{"host": HOST}], image="a:2"))
    await found.send(i.Undo(ref=WEB))
    assert spec_of.decode((await present(found)).spec).routes[0].host == HOST
    named = {"ports": [{"name": "other", "port": 81}], "image": "a:3"}
    await found.send(web([{"host": HOST}], **named))
    with pytest.raises(NotPossible, match="revision 2 has no tcp port 'other'"):
        await found.send(i.Undo(ref=WEB, to=2))


async def test_a_certificate_is_a_secret_that_is_there_and_stays() -> None:
    found = await desk()
    routes = [{"host": HOST, "tls": {"mode": "secret", "secret": "cert"}}]
    with pytest.raises(NotFound, match="secret set cert"):
        await found.send(web(routes))
    await found.send(manifest("Secret", "cert", {"data": {"tls.crt": "a"}}))
    with pytest.raises(BadValue, match=r"no key tls\.key"):
        await found.send(web(routes))
    both = {"tls.crt": "a", "tls.key": "b"}
    await found.send(manifest("Secret", "cert", {"data": both}), web(routes))
    with pytest.raises(InUse, match="App/shop/web"):
        await found.send(i.Delete(ref=app("shop", "cert")._replace(kind="Secret")))
    await found.send(manifest("Secret", "cert", {"data": both | {"tls.crt": "c"}}))
    assert (await present(found)).revision == 1  # nothing that runs knows the certificate
    with pytest.raises(BadValue, match=r"still uses the key 'tls\.key'"):
        await found.send(manifest("Secret", "cert", {"data": {"tls.crt": "c"}}))


@pytest.mark.parametrize(
    ("routing", "rule"),
    [
        ({"portRanges": [{"first": 9, "last": 8}]}, "not below its first, 9"),
        ({"acme": {"directory": "http://169.254.169.254/x"}}, "never asked"),
        ({"entries": {"http": "80"}}, "an address and a port"),
        ({"domains": [{"pattern": "*.*.org"}]}, "without a wildcard"),
        ({"router": "nginx"}, "caddy"),
        ({"cluster": {}}, "only a target of engine k8s has a router in its cluster"),
        ({"router": "gateway"}, "engine docker has the routers caddy, haproxy, traefik and none"),
    ],
)
async def test_what_no_operator_means_is_refused(routing: Mapping[str, Any], rule: str) -> None:
    with pytest.raises(Refusal, match=rule):
        await Desk().send(manifest("Target", "local", {"engine": "docker", "routing": routing}))


def mirrored(name: str, mirror: object, **others: object) -> Any:
    route = {"host": f"{name}.example.org", "mirror": mirror}
    spec = {"image": "a:1", "ports": PORTS, "routes": [route], **others}
    return manifest("App", name, spec)


async def test_copies_go_to_an_app_that_is_there_or_comes_in_the_same_submission() -> None:
    found = await desk()
    copied = mirrored("web", {"app": "shadow", "percent": 5})
    with pytest.raises(NotFound, match=r"App/shop/shadow.*together with"):
        await found.send(copied)
    await found.send(copied, manifest("App", "shadow", {"image": "a:1", "ports": PORTS}))
    [route] = spec_of.decode((await present(found)).spec).routes
    assert route.mirror is not None
    assert (route.mirror.app, route.mirror.percent) == ("shadow", 5)


async def test_who_copies_changes_on_after_the_other_app_is_gone() -> None:
    found = await desk()
    copied = mirrored("web", {"app": "shadow"})
    await found.send(manifest("App", "shadow", {"image": "a:1", "ports": PORTS}), copied)
    await found.send(i.Delete(ref=app("shop", "shadow")))
    answer = await found.send(mirrored("web", {"app": "shadow"}, replicas=2))
    assert answer.changes[0].events == ("app.scaled",)
    with pytest.raises(NotFound, match="shadow"):
        await found.send(mirrored("api", {"app": "shadow"}))


@pytest.mark.parametrize(
    ("shadow", "mirror", "field", "said"),
    [
        ({}, {"app": "shadow"}, "mirror.app", "give it a tcp port 'http', or a single one"),
        ({"ports": PORTS}, {"app": "shadow", "percent": 0}, "mirror.percent", "1"),
        ({"ports": PORTS}, {"app": "shadow", "percent": 101}, "mirror.percent", "100"),
        ({"ports": PORTS}, {"app": "web"}, "mirror.app", "its own requests"),
        ({"ports": PORTS, "target": "spare"}, {"app": "shadow"}, "mirror.app", "runs on spare"),
    ],
)
async def test_copies_that_nobody_could_get_are_refused(
    shadow: dict[str, object], mirror: object, field: str, said: str
) -> None:
    found = await desk()
    await found.send(manifest("Target", "spare", {"engine": "simulated"}))
    await found.send(manifest("App", "shadow", {"image": "a:1", **shadow}))
    with pytest.raises(BadValue, match=said) as refused:
        await found.send(mirrored("web", mirror))
    assert field in str(refused.value)
