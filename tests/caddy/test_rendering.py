"""What Caddy is told: golden files, and what they cannot show."""

import msgspec
import pytest

from adapters.caddy import pools
from adapters.caddy.auth import spellings
from adapters.caddy.drift import MOST, drift
from adapters.caddy.render import render
from projections.route_table import Backend, Endpoint, RouteTable, Row, Share
from tests.support import caddy_golden
from tests.support.caddy_golden import site

WEB = Backend("App/shop/web", 4, "http")


@pytest.mark.parametrize("name", caddy_golden.CASES)
def test_a_table_is_rendered_as_its_golden_file_shows(name: str) -> None:
    """`make golden` writes the files anew."""
    assert (caddy_golden.DIRECTORY / f"{name}.json").read_text() == caddy_golden.text(name)


@pytest.mark.parametrize("name", caddy_golden.CASES)
def test_what_is_rendered_looks_as_it_comes_back_from_caddy(name: str) -> None:
    """Else all of it would be drift."""
    rendered = caddy_golden.CASES[name]
    assert msgspec.json.decode(msgspec.json.encode(rendered)) == rendered


def test_there_is_no_golden_file_of_nothing() -> None:
    found = {path.stem for path in caddy_golden.DIRECTORY.iterdir()}
    assert found == set(caddy_golden.CASES)


def row(number: int, **more: object) -> Row:
    told = {"shares": (Share(WEB, 1),), "context": None} | more
    return Row(
        id=f"row-{number}",
        target="local",
        scheme="http",
        host="a.test",
        path="/",
        precedence=number,
        **told,  # type: ignore[arg-type]  # as each test says
    )


def test_many_hosts_stand_in_blocks_that_name_them_all() -> None:
    """Whatever their number, none is lost, none is twice, and their order stays."""
    for count in (1, 16, 17, 50, 5000, 20_000):
        names = [f"h{number}.test" for number in range(count)]
        rows = tuple(msgspec.structs.replace(row(1), id=name, host=name) for name in names)
        rendered = render(RouteTable(rows=rows), site())
        routes = rendered["apps"]["http"]["servers"]["http"]["routes"]
        blocks = [one for one in routes if one.get("group") == "blocks"]
        inner = [block["handle"][0]["routes"] for block in blocks]
        outer = [one for one in routes if one.get("group") == "hosts"]
        found = [one["match"][0]["host"] for one in (*outer, *(x for y in inner for x in y))]
        assert found == [[name] for name in names]
        for block, below in zip(blocks, inner, strict=True):
            named = block["match"][0]["host"]
            assert named == [host for one in below for host in one["match"][0]["host"]]
            assert len(named) <= 100


def test_endpoints_change_nothing_in_the_configuration() -> None:
    """The names of pools are made of backends and weights alone, and never change their meaning."""
    one = pools.pools([row(1)])
    assert one == pools.pools([row(2), row(3)])
    assert one.keys().isdisjoint(pools.pools([row(1, shares=(Share(WEB, 2),))]))
    again = WEB._replace(uid=5)
    assert one.keys().isdisjoint(pools.pools([row(1, shares=(Share(again, 1),))]))
    assert one.keys().isdisjoint(pools.pools([row(1, fallback=(Share(again, 1),))]))


def test_a_host_without_address_is_left_out() -> None:
    found = pools.places(
        {WEB: (Endpoint("10.0.0.1", 80), Endpoint("gone.example.org", 80))},
        {"10.0.0.1": "10.0.0.1"},
    )
    assert [place.host for place in found[pools.key(WEB)]] == ["10.0.0.1"]


def test_streams_close_late_only_where_caddy_knows_how() -> None:
    for version, knows in (((2, 6, 2), False), ((2, 7, 0), True), ((3, 0, 0), True)):
        text = str(render(RouteTable(rows=(row(1),)), site(version=version)))
        assert ("stream_close_delay" in text) is knows
        assert "flush_interval" not in text


def test_a_header_is_taken_away_however_it_is_spelt() -> None:
    assert sorted(spellings("X-A-B")) == ["X-A-B", "X-A_B", "X_A-B", "X_A_B"]
    assert spellings("User") == ["User"]


# --- drift ------------------------------------------------------------------------------------


def test_drift_names_the_deepest_places() -> None:
    written = {"a": {"b": [{"@id": "one", "x": 1}, {"@id": "two"}], "c": 1}, "d": 2, "l": [1]}
    found = {"a": {"b": [{"@id": "one", "x": 2}, {"@id": "two"}], "e": 1}, "d": 2, "l": 1}
    assert drift(written, found) == (
        "/a/b/one/x was changed",
        "/a/c was removed",
        "/a/e was added",
        "/l was changed",
    )


def test_drift_of_a_list_names_who_came_and_went() -> None:
    written = [{"@id": "one"}, {"@id": "two"}]
    assert drift(written, [{"@id": "two"}]) == (" was changed: one removed",)
    assert drift([1, 1], [1]) == (" was changed: 1 removed",)


def test_drift_stays_short() -> None:
    found = drift({}, {str(number): 1 for number in range(MOST + 5)})
    assert (len(found), found[-1]) == (MOST + 1, "and 5 more")


def test_no_difference_is_no_drift() -> None:
    assert drift({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}) == ()
