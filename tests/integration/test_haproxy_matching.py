"""HAProxy finds the row that the table says: random tables and requests, against reading it."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from adapters.haproxy.router import HAProxyRouter
from projections.route_table import Backend, Header, RouteTable, Row
from tests.support.haproxy import House, web_server
from tests.support.route_tables import row, shares, table

pytestmark = pytest.mark.needs("haproxy")

HOSTS = ("a.example", "b.a.example", "xn--bcher-kva.example")
PATHS = ("/", "/api", "/api/v1", "/api/v1/users", "/apix", "/a%20b", "/a%2Fb", "/%C3%BC/x")
VALUES = ("one", "One", "two words", "a=b@c", "ü", "%41", "a,b")
ASKED = (
    *("/", "/api", "/api/", "/api?x=/y", "/api/v1/", "/api/v1/users/7", "/apix", "/ap"),
    *("/%61pi/v1", "/api%2Fv1", "/a%20b/c", "/a%2fb", "/a/b", "/%c3%bc/x/y", "//api", "/API"),
)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def router(house: House) -> AsyncIterator[HAProxyRouter]:
    async with house.serving() as router:
        yield router


def fits(one: Row, host: str, path: str, headers: dict[str, str]) -> bool:
    """Whether a row is for a request; read from what `projections.route_table.Row` says."""
    asked = decoded(path.partition("?")[0])
    below = asked == decoded(one.path) or asked.startswith(decoded(one.path).rstrip("/") + "/")
    wanted = one.context
    return one.host == host and below and (not wanted or headers.get(wanted.name) == wanted.value)


def decoded(path: str) -> str:
    """An encoded slash stays what it is: no slash."""
    return "%2F".join(map(unquote, path.replace("%2f", "%2F").split("%2F")))


def random_table(rng: random.Random) -> RouteTable:
    """Rows of random places; what answers is named after the row."""
    places = {
        (host, path, context)
        for host in HOSTS
        for path in PATHS
        for context in (
            None,
            Header("x-one", rng.choice(VALUES)),
            Header("x-two", rng.choice(VALUES)),
        )
        if rng.random() < 0.4
    }
    rows = [
        row(host, path, shares(Backend("App/shop/all", 1, "http")), f"r{number}", context=context)
        for number, (host, path, context) in enumerate(sorted(places, key=str))
    ]
    return table(*(named(one) for one in rows))


def named(one: Row) -> Row:
    """Let the row say its name to the backend; contexts of two names differ in precedence."""
    second = one.context is not None and one.context.name == "x-two"
    return Row(
        id=one.id,
        target=one.target,
        scheme=one.scheme,
        host=one.host,
        path=one.path,
        context=one.context,
        precedence=one.precedence * 2 + second,
        shares=one.shares,
        response_headers=(Header("x-row", one.id),),
    )


@pytest.mark.parametrize("seed", range(3))
async def test_the_first_row_of_the_table_that_fits_answers(
    house: House, router: HAProxyRouter, seed: int
) -> None:
    rng = random.Random(seed)
    routes = random_table(rng)
    async with web_server("all") as endpoint:
        await router.apply(routes)
        await router.publish({Backend("App/shop/all", 1, "http"): (endpoint,)})
        answered = set()
        for _ in range(250):
            host, path = rng.choice(HOSTS), rng.choice(ASKED)
            headers = {
                name: rng.choice(VALUES) for name in ("x-one", "x-two") if rng.random() < 0.5
            }
            expected = next((one.id for one in routes.rows if fits(one, host, path, headers)), "")
            spelled = host.upper() if rng.random() < 0.2 else host
            answer = await house.get(f"{spelled}{path}", **headers)
            assert answer.headers.get("x-row", "") == expected, (host, path, headers)
            assert answer.status == (200 if expected else 404)
            answered.add(expected)
        assert len(answered) > 10
