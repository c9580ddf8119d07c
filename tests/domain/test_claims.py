"""One app has a URL, whoever asks at the same moment; around it, those with rights on that app."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from domain import claims, route, shape, state
from domain import intents as i
from domain.access import Actor
from domain.claims import Url, covers
from domain.names import Ref, app
from domain.refusals import BadValue, Forbidden, Taken
from tests.support.histories import played, steps
from tests.support.intents import ALICE, Desk, manifest

PORTS = [{"name": "http", "port": 80}]
BOB = Actor(name="user:bob", role="editor", projects=frozenset({"lab"}))
BLUE = {"header": "X-Feature", "value": "blue"}
HOST = "a.localhost"


def routed(name: str, *routes: dict[str, Any], project: str = "shop", **others: object) -> Any:
    spec = {"image": "a:1", "ports": PORTS, "routes": list(routes), **others}
    return manifest("App", name, spec, project=project)


async def desk() -> Desk:
    found = Desk()
    routing = {"portRanges": [{"first": 5000, "last": 5009}]}
    targets = [
        manifest("Target", name, {"engine": "simulated", "routing": routing})
        for name in ("local", "spare")
    ]
    await found.send(*targets, manifest("Project", "shop", {}), manifest("Project", "lab", {}))
    return found


async def held(found: Desk, stream: str = f"Host/{HOST}#claims") -> dict[str, str]:
    there = await found.service.present(stream)
    assert isinstance(there, state.Claims)
    return dict(there.held)


@pytest.mark.parametrize("known", [False, True], ids=["unread", "read"])
async def test_of_many_who_want_one_url_one_has_it_and_the_others_are_told_who(
    known: bool,
) -> None:
    found = await desk()
    if known:
        await held(found)
    asked = [found.send(routed(f"web-{n}", {"host": HOST})) for n in range(8)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in answers if isinstance(one, Taken)]
    assert len(refused) == 7
    (owner,) = (await held(found)).values()
    assert all(f"http://{HOST}/ belongs to {owner}" in str(one) for one in refused)
    assert all(one.details["resource"] == owner for one in refused)
    exist = [(await found.service.present(f"App/shop/web-{n}")).exists for n in range(8)]  # type: ignore[union-attr]
    assert exist.count(True) == 1


async def test_two_control_planes_over_one_log_give_a_url_once() -> None:
    found = await desk()
    other = Desk(found.log)
    await held(found)
    await held(other)
    answers = await asyncio.gather(
        found.send(routed("web", {"host": HOST}), key="one"),
        other.send(routed("api", {"host": HOST}), key="two"),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Taken) for one in answers) == 1


async def test_claims_go_with_their_owner_and_with_what_it_gives_up() -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST}, {"host": HOST, "path": "/api"}))
    await found.send(routed("web", {"host": HOST, "path": "/api"}))
    assert await held(found) == {f"http://{HOST}/api": "App/shop/web"}
    await found.send(i.Delete(ref=app("shop", "web")))
    assert await held(found) == {}
    await found.send(routed("api", {"host": HOST}))
    await found.send(i.Delete(ref=Ref("Project", "", "shop"), cascade=True))
    assert await held(found) == {}


async def test_two_apps_swap_their_urls_in_one_submission_and_not_in_two() -> None:
    found = await desk()
    other = "b.localhost"
    await found.send(routed("blue", {"host": HOST}), routed("green", {"host": other}))
    with pytest.raises(
        Taken, match=r"belongs to App/shop/green.* apply both apps in one submission"
    ):
        await found.send(routed("blue", {"host": other}))
    await found.send(routed("blue", {"host": other}), routed("green", {"host": HOST}))
    assert await held(found) == {f"http://{HOST}/": "App/shop/green"}
    assert await held(found, f"Host/{other}#claims") == {f"http://{other}/": "App/shop/blue"}
    await found.send(routed("green", {"host": "c.localhost"}))
    assert await held(found) == {}


async def test_a_port_and_a_url_pass_on_to_whom_the_same_submission_names() -> None:
    found = await desk()
    published: dict[str, Any] = {"publish": [{"port": "http", "hostPort": 5000}]}
    await found.send(routed("old", {"host": HOST}, **published))
    taken = routed("new", {"host": HOST}, **published)
    await found.send(taken, i.Delete(ref=app("shop", "old")))
    assert await held(found) == {f"http://{HOST}/": "App/shop/new"}
    assert await held(found, "Target/local#claims") == {"tcp/5000": "App/shop/new"}


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param({"host": HOST}, id="the same URL"),
        pytest.param({"host": HOST, "tls": {"mode": "internal"}}, id="the redirect from it"),
    ],
)
async def test_what_its_owner_keeps_is_not_handed_over(kept: dict[str, Any]) -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST}))
    with pytest.raises(Taken):
        await found.send(routed("new", {"host": HOST}), routed("web", kept, image="b:2"))
    with pytest.raises(Taken):
        await found.send(routed("new", {"host": HOST}), i.Scale(ref=app("shop", "web"), replicas=2))
    with pytest.raises(Taken):  # of two who want it
        await found.send(
            routed("new", {"host": HOST}),
            routed("newer", {"host": HOST}),
            i.Delete(ref=app("shop", "web")),
        )
    assert await held(found) == {f"http://{HOST}/": "App/shop/web"}


async def test_https_and_its_redirect_are_claims_of_their_own() -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST, "tls": {"mode": "internal"}}))
    assert set(await held(found)) == {f"https://{HOST}/", f"http://{HOST}/"}
    with pytest.raises(Taken, match=f"http://{HOST}/ belongs to App/shop/web"):
        await found.send(routed("api", {"host": HOST}))
    secure = {"host": HOST, "tls": {"mode": "internal", "redirect": False}}
    await found.send(routed("web", secure))
    await found.send(routed("api", {"host": HOST}))


async def test_a_context_needs_rights_on_the_app_whose_requests_it_takes() -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST}))
    feature = {"host": HOST, "contexts": [BLUE]}
    with pytest.raises(Forbidden, match=r"overlaps http://a\.localhost/ of App/shop/web"):
        await found.send(routed("feature", feature, project="lab"), actor=BOB)
    both = Actor(name="user:bob", role="editor", projects=frozenset({"lab", "shop"}))
    await found.send(routed("feature", feature, project="lab"), actor=both)
    with pytest.raises(Taken, match="x-feature: blue belongs to App/lab/feature"):
        await found.send(routed("other", feature))


@pytest.mark.parametrize(
    ("path", "overlaps"), [("/api/v1", True), ("/", True), ("/apix", False), ("/ap", False)]
)
async def test_overlapping_paths_need_rights_on_the_other_app(path: str, overlaps: bool) -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST, "path": "/api"}))
    asked = routed("mine", {"host": HOST, "path": path}, project="lab")
    if overlaps:
        with pytest.raises(Forbidden, match="App/shop/web"):
            await found.send(asked, actor=BOB)
    else:
        await found.send(asked, actor=BOB)


async def test_an_app_does_not_claim_twice() -> None:
    found = await desk()
    with pytest.raises(BadValue, match=r"spec\.routes\[1\].*earlier one of this app"):
        await found.send(routed("web", {"host": HOST}, {"host": HOST, "path": "/"}))


async def test_a_port_of_a_target_belongs_to_one_app_and_moves_with_it() -> None:
    found = await desk()
    publish = [{"port": "http", "hostPort": 5001}]
    await found.send(routed("web", publish=publish))
    with pytest.raises(Taken, match="tcp/5001 belongs to App/shop/web"):
        await found.send(routed("api", publish=publish))
    await found.send(routed("api", publish=publish, target="spare"))
    with pytest.raises(Taken, match="tcp/5001 belongs to App/shop/api"):
        await found.send(routed("web", publish=publish, target="spare"))
    await found.send(i.Delete(ref=app("shop", "api")))
    await found.send(routed("web", publish=publish, target="spare"))
    assert await held(found, "Target/local#claims") == {}
    await found.send(routed("web"))
    await found.send(i.Undo(ref=app("shop", "web")))
    assert await held(found, "Target/spare#claims") == {"tcp/5001": "App/shop/web"}


async def test_what_keeps_its_url_relies_on_no_claim() -> None:
    found = await desk()
    await found.send(routed("web", {"host": HOST}))
    newer = routed("web", {"host": HOST}, image="a:2")
    _, plan = await found.service.foresee([newer], actor=ALICE)
    assert not [stream for stream in plan.expect if stream.endswith("#claims")]


URLS = st.builds(
    Url,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["a.localhost", "b.org"]),
    st.sampled_from(["/", "/api", "/api/v1", "/apix"]),
    st.sampled_from(["", "x-feature: blue", "x-feature: a b: c"]),
)


@given(url=URLS, other=URLS)
def test_a_url_is_read_as_it_is_written_and_overlaps_both_ways(url: Url, other: Url) -> None:
    assert Url.parse(str(url)) == url
    assert url.overlaps(other) == other.overlaps(url)


def test_a_path_covers_what_is_below_it_part_by_part() -> None:
    assert covers("/api", "/api/x")
    assert covers("/", "/apix")
    assert not covers("/api", "/apix")
    assert not covers("/api/x", "/api")


@given(told=st.lists(steps, min_size=20, max_size=40))
def test_who_exists_holds_what_its_routes_need_and_nobody_holds_anything_else(
    told: list[Any],
) -> None:
    """Whatever people ask for, claims and specs agree."""
    histories: dict[str, list[tuple[int, Any]]] = {}
    for row in played(told):
        histories.setdefault(row.stream, []).append(
            (row.position, codec.decode(row.type, row.data))
        )
    states = {stream: state.fold(stream, rows) for stream, rows in histories.items()}
    wanted: set[tuple[str, str, str]] = set()
    for stream, one in states.items():
        if isinstance(one, state.App) and one.exists:
            found = shape.of(one.spec)
            for claim in claims.wanted(found.target, route.decode(found.routes), ()):
                wanted.add((claim.stream, claim.text, stream))
    kept = {
        (stream, text, owner)
        for stream, one in states.items()
        if isinstance(one, state.Claims)
        for text, owner in one.held.items()
    }
    assert kept == wanted
