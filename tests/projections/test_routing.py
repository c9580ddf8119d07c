"""Route tables: however they came about they are equal, and their order means what it says."""

from collections.abc import Iterator, Sequence
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from bus.log import StoredEvent
from domain.intents import Delete
from domain.names import app
from projections.desired import DesiredState
from projections.route_matching import Request, match, misfit
from projections.route_table import Backend, RouteTable, Row, Scheme, Share, Tls
from projections.routing import RouteTables, rebuilt
from tests.support.histories import Told, played, poisons, steps
from tests.support.intents import manifest

histories = st.lists(
    st.integers(0, 15).flatmap(lambda luck: steps if luck else poisons), min_size=15, max_size=30
)
SCHEMES: tuple[Scheme, ...] = ("http", "https")
REQUESTS = [
    Request(scheme, host, path, dict(zip(("x-feature", "x-user"), values, strict=True)))
    for scheme, host, path, values in product(
        SCHEMES,
        ("a.localhost", "b.localhost"),
        ("/", "/api", "/api/v1/x", "/apix"),
        (("", ""), ("blue", ""), ("", "green"), ("blue", "blue"), ("green", "blue")),
    )
]


def live(rows: Sequence[StoredEvent]) -> Iterator[tuple[DesiredState, RouteTables]]:
    desired = DesiredState(codec.decode)
    tables = RouteTables(desired)
    for row in rows:
        desired.fold([row])
        tables.fold([row])
        yield desired, tables


def last(told: list[Told], *, furnished: bool = True) -> RouteTable:
    *_, (_, tables) = live(played(told, furnished=furnished))
    return tables.table("local")


@given(told=histories)
def test_what_followed_every_event_is_what_is_built_at_once(told: list[Told]) -> None:
    before: dict[str, Row] = {}
    for desired, tables in live(played(told)):
        table = tables.table("local")
        assert table == rebuilt(desired).table("local")
        rows = {row.id: row for row in table.rows}
        assert len(rows) == len(table.rows)
        for known in before.keys() & rows.keys():  # the same id is the same app and URL
            assert url(before[known]) == url(rows[known])
        before = rows


def url(row: Row) -> object:
    return row.scheme, row.host, row.path, row.context


@given(told=histories)
def test_the_order_is_that_of_the_precedences_and_no_two_equal_ones_fit_a_request(
    told: list[Told],
) -> None:
    rows = last(told).rows
    assert [r.precedence for r in rows] == sorted((r.precedence for r in rows), reverse=True)
    for one, other in combinations(rows, 2):
        if one.precedence == other.precedence:
            assert not any(both_fit(one, other, request) for request in REQUESTS)


def both_fit(one: Row, other: Row, request: Request) -> bool:
    return all(row.host == request.host and not misfit(row, request) for row in (one, other))


@given(told=histories)
def test_a_context_answers_before_all_bases_and_the_longest_path_first(told: list[Told]) -> None:
    table = last(told)
    for request in REQUESTS:
        fitting = [r for r in table.rows if r.host == request.host and not misfit(r, request)]
        answer = match(table, request).row
        assert (answer is None) == (not fitting)
        if answer is None:
            continue
        assert (answer.context is not None) == any(row.context for row in fitting)
        rivals = [row for row in fitting if bool(row.context) == bool(answer.context)]
        assert len(answer.path) == max(len(row.path) for row in rivals)


@given(told=histories)
def test_a_context_falls_back_to_whoever_answers_without_it(told: list[Told]) -> None:
    table = last(told)
    for row in table.rows:
        if row.context is None or row.redirect:
            continue
        base = match(table, Request(row.scheme, row.host, row.path, {})).row
        allowed = base.shares if base is not None else ()
        assert row.fallback in ((), allowed)


def test_rows_come_and_go_with_their_apps() -> None:
    """Base and contexts, each taken away in turn."""
    base = {"host": "a.localhost", "path": "/api"}
    contexts = [
        {"header": "x-feature", "value": "blue"},
        {"header": "x-feature", "value": "green", "fallback": "none"},
    ]
    feature = {"host": "a.localhost", "path": "/api/v1", "contexts": contexts}
    web, api = (Backend(f"App/shop/{name}", uid, "http") for name, uid in (("web", 3), ("api", 7)))
    rows = last([apply("web", base), apply("api", feature)], furnished=False).rows
    assert [(row.shares, row.fallback) for row in rows] == [
        ((Share(api, 1),), (Share(web, 1),)),
        ((Share(api, 1),), ()),
        ((Share(web, 1),), ()),
    ]
    without_base = last([apply("web", base), apply("api", feature), delete("web")], furnished=False)
    assert [row.fallback for row in without_base.rows] == [(), ()]
    withdrawn = last([apply("web", base), apply("api", feature), delete("api")], furnished=False)
    assert [row.shares for row in withdrawn.rows] == [(Share(web, 1),)]


@pytest.mark.parametrize(
    ("base", "feature", "falls_back"),
    [
        pytest.param({}, {"auth": "hard"}, True, id="a base that asks for less"),
        pytest.param({"auth": "soft"}, {"auth": "soft"}, True, id="as much"),
        pytest.param({"auth": "hard"}, {}, False, id="for users who signed in"),
        pytest.param({"auth": "hard"}, {"auth": "soft"}, False, id="more than whom it knows"),
        pytest.param({"h2c": True}, {}, False, id="another protocol"),
        pytest.param({"stripPrefix": True}, {"stripPrefix": True}, True, id="the same path"),
        pytest.param({"stripPrefix": True}, {}, False, id="another path"),
    ],
)
def test_a_context_falls_back_only_to_who_wants_its_requests_as_they_come(
    base: dict[str, object], feature: dict[str, object], falls_back: bool
) -> None:
    """They come as the context's row sends them: a base for users must not meet strangers so."""
    url = {"host": "a.localhost", "path": "/api"}
    context = {"contexts": [{"header": "x-feature", "value": "blue"}]}
    told = [known_users(), apply("web", url | base), apply("api", url | context | feature)]
    row, alone = last(told, furnished=False).rows
    assert (row.context is not None, alone.context) == (True, None)
    assert bool(row.fallback) is falls_back


@pytest.mark.parametrize("auth", ["off", "hard"])
def test_a_context_does_not_fall_back_around_a_path_for_users_who_signed_in(auth: str) -> None:
    """It takes all below its path, so `/admin` of the app that it falls back to as well."""
    feature = {"host": "a.localhost", "contexts": [{"header": "x-feature", "value": "blue"}]}
    bases = [{"host": "a.localhost"}, {"host": "a.localhost", "path": "/admin", "auth": "hard"}]
    told = [known_users(), apply("web", *bases), apply("api", feature | {"auth": auth})]
    [row] = [one for one in last(told, furnished=False).rows if one.context]
    assert bool(row.fallback) is (auth == "hard")


def test_a_context_in_plain_http_does_not_fall_back_to_an_app_that_redirects_to_https() -> None:
    base = {"host": "a.localhost", "tls": {"mode": "internal"}}
    feature = {"host": "a.localhost", "contexts": [{"header": "x-feature", "value": "blue"}]}
    rows = last([apply("web", base), apply("api", feature)], furnished=False).rows
    assert [row.fallback for row in rows if row.context] == [()]


def test_https_answers_http_with_a_redirect() -> None:
    route = {"host": "a.localhost", "tls": {"mode": "internal"}, "auth": "off"}
    rows = last([apply("web", route)], furnished=False).rows
    told = [(row.scheme, row.redirect, bool(row.shares), row.tls) for row in rows]
    assert told == [("http", True, False, None), ("https", False, True, Tls(mode="internal"))]


def test_copies_go_to_an_app_while_it_is_there_and_its_port_is_told() -> None:
    copied = {"host": "a.localhost", "mirror": {"app": "api", "percent": 10}}
    told = [apply("api"), apply("web", copied), delete("api"), apply("api")]
    found, ports, touched = [], [], []
    for desired, tables in live(played(told, furnished=False)):
        other = desired.app("App/shop/api")
        found += [row.mirror for row in tables.table("local").rows if row.mirror]
        ports.append(tables.reach(other).copied if other is not None else frozenset())
        touched.append("App/shop/api" in tables.touched())
    at = dict.fromkeys(found)
    lives = [mirror.backend.uid for mirror in at]
    assert [bool(uid) for uid in lives] == [True, False, True]
    assert lives[2] > lives[0]
    assert {(mirror.percent, mirror.number) for mirror in at} == {(10, 80), (10, 0)}
    assert ports[-1] == {"http"}
    assert touched.count(True) >= 2  # who gets copies is told as well


def test_an_app_is_told_when_a_certificate_of_its_routes_is_another() -> None:
    def secret(value: str) -> Told:
        data = {"tls.crt": value, "tls.key": value}
        return Told("secret", lambda desk: desk.send(manifest("Secret", "own", {"data": data})))

    secure = {"host": "a.localhost", "tls": {"mode": "secret", "secret": "own"}}
    told = [secret("a"), apply("web", secure), secret("b")]
    found = []
    for desired, tables in live(played(told, furnished=False)):
        app_now = desired.app("App/shop/web")
        tokens = tables.reach(app_now).tokens if app_now is not None else ()
        found.append((tokens, "App/shop/web" in tables.touched()))
    (before, _), (after, is_told) = found[-2:]
    assert before
    assert before != after
    assert is_told


@given(told=histories)
def test_a_mirror_is_an_app_that_is_reached_on_the_same_target(told: list[Told]) -> None:
    *_, (desired, tables) = live(played(told))
    for row in tables.table("local").rows:
        if row.mirror is None:
            continue
        other = desired.app(row.mirror.backend.app)
        is_there = other is not None and other.reached_at == "local" and bool(other.spec.ports)
        assert bool(row.mirror.backend.uid) == is_there
        if other is not None and is_there:
            assert row.mirror.backend == Backend(other.ref.stream, other.uid, "http")


@given(told=histories)
def test_an_app_is_reached_by_its_rows_of_the_table_beside_all_of_their_hosts(
    told: list[Told],
) -> None:
    *_, (desired, tables) = live(played(told))
    for stream in desired.streams("App"):
        known = desired.app(stream)
        if known is None:
            continue
        reach = tables.reach(known)
        assert {row.target for row in reach.rows} <= {known.target}
        if known.reached_at != known.target:
            continue  # it moves, and the tables have it where it was
        rows = tables.table(known.target).rows
        assert reach.rows == tuple(row for row in rows if row.app == stream)
        hosts = {row.host for row in reach.rows}
        assert reach.beside == tuple(row for row in rows if row.host in hosts)


@given(told=histories)
def test_how_an_app_would_be_reached_is_how_it_is_when_it_is_so(told: list[Told]) -> None:
    rows = played(told)
    stream = rows[-1].stream.partition("#")[0]
    *_, (desired, after) = live(rows)
    changed = desired.app(stream) if stream.startswith("App/") else None
    if changed is None:
        return
    *_, (_, before) = live(rows[:-1])
    assert before.reach(changed) == after.reach(changed)


def test_apps_are_told_once_that_the_rows_of_their_hosts_were_made_anew() -> None:
    deep = {"host": "a.localhost", "path": "/api"}
    other = {"host": "b.localhost"}
    apps = [apply("web", {"host": "a.localhost"}), apply("api", other), apply("api", deep)]
    found = []
    for _, tables in live(played(apps, furnished=False)):
        found.append(set(tables.touched()))
        assert not tables.touched()
    assert [one for one in found if one] == [
        {"App/shop/web"},
        {"App/shop/api"},
        {"App/shop/web", "App/shop/api"},
    ]


def apply(name: str, *routes: object) -> Told:
    ports = [{"name": "http", "port": 80}]
    spec = {"image": "a:1", "ports": ports, "routes": list(routes)}
    return Told(f"apply {name}", lambda desk: desk.send(manifest("App", name, spec)))


def known_users() -> Told:
    domains = [{"pattern": "*.localhost", "auth": True}]
    spec = {"engine": "simulated", "routing": {"domains": domains}}
    return Told("know users", lambda desk: desk.send(manifest("Target", "local", spec)))


def delete(name: str) -> Told:
    return Told(f"delete {name}", lambda desk: desk.send(Delete(ref=app("shop", name))))


@given(told=histories)
def test_of_every_other_row_of_the_host_it_is_told_why_it_is_not_asked(told: list[Told]) -> None:
    table = last(told)
    for request in REQUESTS:
        found = match(table, request)
        there = [row for row in table.rows if row.host == request.host]
        told_of = [one.row for one in found.passed] + ([found.row] if found.row else [])
        assert sorted(row.id for row in there) == sorted(row.id for row in told_of)
        assert all(one.why for one in found.passed)
