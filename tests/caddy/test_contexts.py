"""Which contexts are switched by files, and which are routes: what is answered never differs."""

from typing import Any

import pytest

from adapters.caddy import contexts, pools
from adapters.caddy.render import render
from projections.route_table import Backend, Header, RouteTable, Row, Share, Tls
from tests.support.caddy_golden import site

WEB, FEATURE = Backend("App/shop/web", 4, "http"), Backend("App/shop/feature", 9, "http")
TEAM = (Header("x-team", "shop"),)
KNOWN = ("x-context",)


def row(path: str = "/", to: Backend = WEB, **more: Any) -> Row:
    told = {"scheme": "http", "host": "a.test", "context": None, "precedence": 0} | more
    told.setdefault("id", f"{told['scheme']} {told['host']} {path} {told['context']}")
    return Row(target="local", path=path, shares=(Share(to, 1),), **told)


def context(path: str = "/", value: str = "feature-1", to: Backend = FEATURE, **more: Any) -> Row:
    return row(path, to, **({"context": Header("x-context", value)} | more))


def pool_of(rows: list[Row], base: Row, value: str) -> object:
    """Whose pool a request has that found `base` and carries the value; None: that of `base`."""
    found = contexts.switched(rows, KNOWN)
    assert all(one.context is None for one in found.rows)
    if f"{contexts.mark(base)}.x-context.{value}" not in found.files:
        return None
    return found.pools[f"{value}.{contexts.mark(base)}.{pools.name(pools.pool(base))}"]


def test_a_context_that_is_like_its_base_is_no_route() -> None:
    base, feature = row(), context(fallback=(Share(WEB, 1),))
    assert contexts.switched([feature, base], KNOWN).rows == (base,)
    assert pool_of([feature, base], base, "feature-1") == pools.pool(feature)
    assert pool_of([feature, base], base, "feature-2") is None


def test_the_configuration_is_the_same_with_it_and_without() -> None:
    def rendered(*rows: Row) -> object:
        left = contexts.switched(rows, KNOWN).rows
        return render(RouteTable(rows=left), site(context_headers=KNOWN))

    assert rendered(context(), context(value="feature-2"), row()) == rendered(row())


def test_a_context_takes_what_is_below_its_path_unless_a_longer_one_does() -> None:
    api, other = Backend("App/shop/api-feature", 12, "http"), Backend("App/shop/api", 11, "http")
    root, below, beside = row(), row("/api", other), row("/apix", other)
    rows = [context("/api", to=api), context(), below, beside, root]
    assert pool_of(rows, below, "feature-1") == pools.pool(rows[0])
    assert pool_of(rows, beside, "feature-1") == pools.pool(rows[1])
    assert pool_of(rows, root, "feature-1") == pools.pool(rows[1])
    assert pool_of([rows[0], below, root], root, "feature-1") is None


def test_rows_of_other_hosts_and_schemes_have_contexts_of_their_own() -> None:
    secure = row(scheme="https", tls=Tls(mode="internal"))
    rows = [context(), row(), secure, row(host="b.test")]
    assert [pool_of(rows, one, "feature-1") is None for one in rows[1:]] == [False, True, True]


def test_where_both_redirect_there_is_nothing_to_ask() -> None:
    rows = [context(redirect=True), row(redirect=True)]
    assert contexts.switched(rows, KNOWN) == ((rows[1],), {}, frozenset())


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([context(), row("/api")], id="without a base"),
        pytest.param([context(auth="hard"), row()], id="for users alone"),
        pytest.param([context(response_headers=TEAM), row()], id="with headers of its own"),
        pytest.param([context(h2c=True), row()], id="spoken to otherwise"),
        pytest.param([context(), row(), row("/api", auth="hard")], id="with another below"),
        pytest.param(
            [context(strip_prefix=True), row(strip_prefix=True), row("/api", strip_prefix=True)],
            id="with another prefix below",
        ),
        pytest.param([context(value="Feature-1"), row()], id="in capitals"),
        pytest.param([context(value="a b"), row()], id="of two words"),
        pytest.param([context(value="a" * 64), row()], id="too long"),
        pytest.param([context(value="a-"), row()], id="no label"),
        pytest.param([context(context=Header("x-new", "a")), row()], id="of an unknown header"),
        pytest.param(
            [context(), context(context=Header("x-other", "a")), row()], id="of two headers"
        ),
        pytest.param(
            [
                context(request_headers=(Header("x-context", "b"),)),
                row(request_headers=(Header("x-context", "b"),)),
            ],
            id="where rows set the header",
        ),
    ],
)
def test_other_contexts_are_routes_as_before(rows: list[Row]) -> None:
    found = contexts.switched(rows, (*KNOWN, "x-other"))
    assert found == (tuple(rows), {}, frozenset())


def test_a_header_that_is_looked_for_is_not_forgotten_without_need() -> None:
    rows = [context(context=Header("x-new", "a"))]
    assert contexts.headers_to_know(KNOWN, rows, ()) == ("x-context", "x-new")
    assert contexts.headers_to_know(KNOWN, [], ("x-new",)) == ("x-context", "x-new")
    many = [f"x-{number}" for number in range(20)]
    assert contexts.headers_to_know(KNOWN, rows, many)[:2] == ("x-0", "x-1")
    assert len(contexts.headers_to_know(KNOWN, rows, many)) == contexts.MOST_HEADERS
    assert {"x-context", "x-new"} <= set(contexts.headers_to_know(KNOWN, rows, many))
    assert contexts.headers_to_know(("x*", "x[a]", "x.y"), [], ()) == ()


def test_a_configuration_tells_which_headers_it_looks_for() -> None:
    written = render(RouteTable(rows=(row(),)), site(context_headers=("x-a", "x-b")))
    assert contexts.headers_known(written) == ("x-a", "x-b")
    others: list[Any] = [None, {}, {"apps": None}, {"apps": {"http": {"servers": {"http": {}}}}}]
    for other in others:
        assert contexts.headers_known(other) == ()
