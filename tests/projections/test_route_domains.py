"""Who is asked about the users of a row is what the operator of its target says last."""

from collections.abc import Mapping
from typing import Any

from bus.log import StoredEvent
from projections.route_table import Row
from projections.routing import RouteTables, rebuilt
from tests.projections.test_routing import apply, live
from tests.support.histories import Told, played
from tests.support.intents import manifest

ONE, TWO = "https://one.example/verify", "http://two.example:7440/verify"
CONTEXT = {"contexts": [{"header": "x-context", "value": "blue"}], "path": "/api"}
APPS = [
    apply("web", {"host": "a.localhost", "auth": "hard"}, {"host": "a.localhost", "path": "/open"}),
    apply("api", {"host": "b.localhost", "auth": "soft", "tls": {"mode": "internal"}}),
    apply("deep", {"host": "a.localhost", "auth": "hard", **CONTEXT}),
]


def target(*domains: Mapping[str, Any], **others: object) -> Told:
    routing = {"router": "traefik", "domains": [{"auth": True, **one} for one in domains]}
    spec = {"engine": "simulated", "routing": routing, **others}
    return Told("target", lambda desk: desk.send(manifest("Target", "local", spec)))


def asking(row: Row) -> tuple[str, tuple[str, ...]]:
    return row.verify, row.middlewares


def played_so(*told: Told) -> list[StoredEvent]:
    return played(told, furnished=False)


def last(*told: Told) -> RouteTables:
    *_, (desired, tables) = live(played_so(*told))
    assert tables.table("local") == rebuilt(desired).table("local")
    return tables


def test_each_row_names_whom_its_most_specific_domain_does() -> None:
    wide = {"pattern": "*.localhost", "verify": ONE}
    narrow = {"pattern": "b.localhost", "verify": TWO, "middlewares": {"soft": ["x@file"]}}
    rows = last(target(wide, narrow), *APPS).table("local").rows
    assert {(row.host, row.scheme, row.path, asking(row)) for row in rows} == {
        ("a.localhost", "http", "/", (ONE, ())),
        ("a.localhost", "http", "/api", (ONE, ())),
        ("a.localhost", "http", "/open", ("", ())),
        ("b.localhost", "https", "/", (TWO, ("x@file",))),
        ("b.localhost", "http", "/", ("", ())),  # it only leads to its twin
    }


def test_middlewares_are_those_for_the_auth_of_the_row_in_their_order() -> None:
    middlewares = {"hard": ["b@file", "a@file"], "soft": ["c@docker"]}
    rows = last(target({"pattern": "*.localhost", "middlewares": middlewares}), *APPS)
    found = {row.auth: row.middlewares for row in rows.table("local").rows}
    assert found == {"hard": ("b@file", "a@file"), "soft": ("c@docker",), "off": ()}


def test_a_target_that_says_something_else_has_its_rows_made_anew_at_once() -> None:
    domains = [{"pattern": "a.localhost"}, {"pattern": "*.localhost"}]
    steps = [
        target(*domains),
        *APPS,
        target({**domains[0], "verify": ONE}, domains[1]),
        target({**domains[0], "verify": ONE}, domains[1], description="for all"),
        target(*domains),
    ]
    tables: list[Any] = []
    told: list[set[str]] = []
    for desired, following in live(played_so(*steps)):
        tables.append(following.table("local"))
        told.append(set(following.touched()))
        assert tables[-1] == rebuilt(desired).table("local")
    before, anew, same, back = tables[-4:]
    assert {row.verify for row in before.rows} == {""}
    assert {
        row.verify for row in anew.rows if row.host == "a.localhost" and row.auth == "hard"
    } == {ONE}
    named = {(row.host, row.path) for row in anew.rows if row.verify == ONE}
    assert named == {("a.localhost", "/"), ("a.localhost", "/api")}
    assert same is anew
    assert back == before
    assert [{"App/shop/web", "App/shop/deep"} <= apps for apps in told[-3:]] == [True, False, True]


def test_how_an_app_would_be_reached_says_it_also() -> None:
    said = target({"pattern": "*.localhost", "verify": ONE})
    *_, (desired, after) = live(played_so(said, *APPS))
    *_, (_, before) = live(played_so(said, *APPS[:-1]))
    app = desired.app("App/shop/deep")
    assert app is not None
    assert [asking(row) for row in before.reach(app).rows] == [(ONE, ())]
    assert before.reach(app) == after.reach(app)
