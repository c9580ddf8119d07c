"""What HAProxy is given, as files that people can read; what it is not given, and why."""

import pytest

from adapters.haproxy.config import Shape, configuration
from adapters.haproxy.disk import State
from adapters.haproxy.limits import LONGEST, limits_met
from adapters.haproxy.matching import key_of, keys_above
from adapters.haproxy.pool import Pool
from adapters.haproxy.settings import HAProxySettings
from adapters.haproxy.wanted import wanted
from projections.route_table import Auth, Header, RouteTable, Row, Tls
from tests.support import golden_routes
from tests.support.route_tables import EVERYTHING, WEB, asked_by_domain, row, shares


@pytest.mark.parametrize("name", golden_routes.CASES)
def test_what_is_rendered_is_as_in_the_golden_files(name: str) -> None:
    assert golden_routes.present(name) == golden_routes.text(name), "see 'make golden'"


def test_no_golden_file_is_left_over() -> None:
    assert sorted(golden_routes.CASES) == golden_routes.names()


@pytest.mark.parametrize(
    ("limited", "said"),
    [
        (row("a.example", "/", shares(WEB), auth="hard"), "use auth soft or off"),
        (
            row("a.example", "/", shares(WEB), scheme="https", tls=Tls(mode="auto")),
            "use tls mode internal or secret",
        ),
        (row("a.example", "/x" * 17, shares(WEB), strip_prefix=True), "strips 16 at most"),
        (row("a.example", "/", shares(WEB), context=Header("x y", "1")), "the header 'x y'"),
        (row("a.example", "/", shares(WEB), context=Header("x", "1\n")), "values on one line"),
        (
            row("a.example", "/", shares(WEB), request_headers=(Header("x", "1" * 9_000),)),
            f"takes {LONGEST} at most",
        ),
    ],
)
def test_what_haproxy_cannot_do_is_said_with_what_to_do(limited: Row, said: str) -> None:
    fine = row("b.example", "/", shares(WEB))
    (reason,) = limits_met([limited, fine], has_https=True).values()
    assert said in reason


def test_https_needs_an_address_for_it() -> None:
    safe = row("a.example", "/", shares(WEB), scheme="https", tls=Tls(mode="internal"))
    assert limits_met([safe], has_https=True) == {}
    assert "no address for https" in limits_met([safe], has_https=False)[safe.id]


def test_a_longer_path_that_comes_later_cannot_be_said_in_a_map() -> None:
    above = row("a.example", "/api", shares(WEB), "above")
    below = row("a.example", "/api/v1", shares(WEB), "below")
    assert limits_met([below, above], has_https=True) == {}
    late = Row(
        id="late",
        target="local",
        scheme="http",
        host="a.example",
        path="/api/v1",
        context=None,
        precedence=1,
        shares=shares(WEB),
    )
    assert "longest first" in limits_met([above, late], has_https=True)["late"]


def test_everything_else_of_a_row_can_be_said() -> None:
    assert list(limits_met(EVERYTHING.rows, has_https=True, knows_users=True)) == ["open"]


@pytest.mark.parametrize("auth", ["soft", "hard"])
def test_without_lua_nobody_is_asked(auth: Auth) -> None:
    asks = row("a.example", "/", shares(WEB), "asks", auth=auth)
    fine = row("b.example", "/", shares(WEB))
    met = limits_met([asks, fine], has_https=True, has_lua=False, knows_users=True)
    assert list(met) == ["asks"]
    assert "built without Lua" in met["asks"]


def test_nobody_else_is_asked_about_the_users_of_a_domain() -> None:
    """Refused with the Target; were it not, those whom a row does not name would let in."""
    met = limits_met(asked_by_domain("login@file").rows, has_https=True, knows_users=True)
    assert sorted(met) == ["given", "other", "own-hard", "own-soft"]
    assert all("users of its own" in reason for reason in met.values())


def test_where_nobody_knows_users_soft_is_for_everybody() -> None:
    soft = row("a.example", "/", shares(WEB), auth="soft")
    assert limits_met([soft], has_https=True) == {}


def test_a_row_for_known_users_is_refused_by_any_configuration() -> None:
    """A map may be newer than the configuration that a killed HAProxy starts again with."""
    text = configuration(HAProxySettings(), Shape())
    assert "lua" not in text
    assert "-m sub h } !{ var(txn.passes) -m bool }" in text


def test_an_encoded_slash_separates_no_components() -> None:
    paths = [row("a.example", path, shares(WEB)) for path in ("/a%2Fb/c", "/a%2fb", "/")]
    key, *above = map(key_of, paths)
    assert list(keys_above(key)) == above


def test_the_headers_of_contexts_to_come_are_known_from_the_beginning() -> None:
    """So the first context takes no reload."""
    state = State(pool=Pool.fresh(), shape=Shape(), slots={})
    before = wanted(HAProxySettings(context_headers=("x-a", "x-b")), state, RouteTable(), {})
    feature = row("a.example", "/", shares(WEB), context=Header("x-b", "1"))
    table = RouteTable(rows=(feature,))
    after = wanted(HAProxySettings(context_headers=("x-a", "x-b")), before.after, table, {})
    assert before.loaded == after.loaded
    without = wanted(HAProxySettings(context_headers=("x-a",)), state, RouteTable(), {})
    assert without.loaded != before.loaded


def test_two_ways_to_write_a_path_are_one_place() -> None:
    plain, encoded = (row("a.example", path, shares(WEB)) for path in ("/api/x", "/%61pi/x/"))
    assert key_of(plain) == key_of(encoded)
