"""Traefik polls what it is to serve, and goes on with what it has whenever we cannot say."""

import asyncio
from pathlib import Path

import httpx
import pytest

from adapters.traefik.router import TraefikRouter
from adapters.traefik.settings import TraefikSettings
from projections.route_table import Endpoint, Mirror, RouteTable, Tls
from reconcilers.router_ports import RouterUnavailable
from simulation.loop import VirtualLoop
from tests.support.gateway import House, problem
from tests.support.nats_tls import Authority
from tests.support.route_tables import API, WEB, row, shares, table
from tests.support.traefik import Traefik, faults_of

SECRET = "Secret/shop/own"
URL = "/api/v1/targets/local/traefik"
ONE, TWO = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)
SHOP = table(row("shop.example", "/", shares(WEB), "web"))


@pytest.fixture
def router(house: House) -> TraefikRouter:
    router = TraefikRouter("local", TraefikSettings())
    house.polled["local"] = router
    return router


async def test_it_is_told_when_it_was_read(
    client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    traefik = Traefik(client, URL)
    await router.publish({WEB: (ONE,)})
    applying = asyncio.create_task(router.apply(SHOP))
    await asyncio.sleep(0)
    assert not applying.done()
    await traefik.poll()
    assert (await applying).changed
    assert traefik.servers_of("web") == ["http://10.0.0.1:80"]


async def test_endpoints_change_and_what_is_unchanged_is_skipped(
    client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    traefik = Traefik(client, URL)
    await router.publish({WEB: (ONE,)})
    await asyncio.gather(router.apply(SHOP), traefik.poll())
    assert not (await router.apply(SHOP)).changed
    await asyncio.gather(router.publish({WEB: (TWO,)}), traefik.poll())
    assert traefik.servers_of("web") == ["http://10.0.0.2:80"]
    await asyncio.gather(router.publish({WEB: (TWO,)}), traefik.poll())
    assert (traefik.switches, traefik.skipped) == (2, [])


async def test_copies_begin_and_end_with_the_replicas_that_get_them(
    client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    traefik = Traefik(client, URL)
    copied = row("shop.example", "/", shares(WEB), "web", mirror=Mirror(API, 8080, 10))
    await router.publish({WEB: (ONE,)})
    await asyncio.gather(router.apply(table(copied)), traefik.poll())
    assert traefik.copied_to("web") == {}
    await asyncio.gather(router.publish({WEB: (ONE,), API: (TWO,)}), traefik.poll())
    assert traefik.copied_to("web") == {"http://10.0.0.2:80": 10}
    assert traefik.servers_of("web") == ["http://10.0.0.1:80"]
    assert faults_of({"http": traefik.taken}) == []


async def test_an_empty_table_takes_all_routes_away(
    client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    """A document in which there is nothing would change nothing."""
    traefik = Traefik(client, URL)
    await router.publish({WEB: (ONE,)})
    await asyncio.gather(router.apply(SHOP), traefik.poll())
    await asyncio.gather(router.apply(RouteTable()), traefik.poll())
    assert "web" not in traefik.taken["routers"]
    assert traefik.skipped == []


async def test_a_new_start_tells_nothing_until_all_is_known(
    house: House, client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    traefik = Traefik(client, URL)
    await router.publish({WEB: (ONE,)})
    await asyncio.gather(router.apply(SHOP), traefik.poll())
    house.polled["local"] = anew = TraefikRouter("local", TraefikSettings())
    await anew.apply(SHOP)
    await traefik.poll()
    assert traefik.skipped == ["status 503"]
    assert traefik.servers_of("web") == ["http://10.0.0.1:80"]
    body = problem(await client.get(URL), 503, "RoutesUnknown")
    assert "endpoints" in body["detail"]


async def test_a_tag_tells_whether_it_is_another(
    client: httpx.AsyncClient, router: TraefikRouter
) -> None:
    await router.publish({WEB: (ONE,)})
    applying = asyncio.create_task(router.apply(SHOP))
    await asyncio.sleep(0)
    first = await client.get(URL)
    await applying
    assert faults_of(first.json()) == []
    tag = first.headers["etag"]
    same = await client.get(URL, headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")
    publishing = asyncio.create_task(router.publish({WEB: (TWO,)}))
    await asyncio.sleep(0)
    other = await client.get(URL, headers={"If-None-Match": tag})
    await publishing
    assert other.status_code == 200
    assert other.headers["etag"] != tag


OWN = row(
    "own.test", "/", shares(WEB), "own", scheme="https", tls=Tls(mode="secret", secret=SECRET)
)


def keys_in(traefik: Traefik) -> list[str]:
    return [one["keyFile"] for one in traefik.tls.get("certificates", [])]


async def test_an_own_certificate_is_for_who_may_see_its_key(
    house: House, client: httpx.AsyncClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept: dict[str, tuple[bytes, bytes]] = {}

    async def secrets(stream: str) -> tuple[bytes, bytes] | None:
        return kept.get(stream)

    router = TraefikRouter("local", TraefikSettings(), secrets)
    house.polled["local"] = router
    await router.publish({WEB: (ONE,)})
    async with (
        house.client(house.token("traefik", "router")) as ours,
        house.client(house.token("old", "viewer")) as viewer,
    ):
        traefik, old = Traefik(ours, URL), Traefik(viewer, URL)
        applied, _ = await asyncio.gather(router.apply(table(OWN)), traefik.poll())
        assert "none can be read in it" in applied.unserved[0].reason
        shown = ""
        for name in ("one", "two"):
            made = Authority(tmp_path / name).certify("own", "own.test")
            kept[SECRET] = made.certificate.read_bytes(), made.key.read_bytes()
            applied, _ = await asyncio.gather(router.apply(table(OWN)), traefik.poll())
            assert applied.unserved == ()
            shown = made.key.read_text()
            assert keys_in(traefik) == [shown]
        assert traefik.servers_of("own") == ["http://10.0.0.1:80"]
        kept[SECRET] = kept[SECRET][0], b"no key"
        applied, _ = await asyncio.gather(router.apply(table(OWN)), traefik.poll())
        assert applied.unserved == ()  # what was shown goes on
        assert keys_in(traefik) == [shown]
        await old.poll()
        assert keys_in(old) == []
        assert old.servers_of("own") == []
        [reason] = [one.reason for one in (await router.apply(table(OWN))).unserved]
        assert "--role router" in reason
        assert faults_of((await ours.get(URL)).json()) == []
        problem(await ours.get("/api/v1/targets/local"), 403, "Forbidden")
        problem(await ours.put("/api/v1/projects/shop", json={}), 403, "Forbidden")
        assert (await ours.get("/api/v1/routes")).json()["items"] == []
    told = f"{capsys.readouterr()}{router.read(sees_keys=True)!r}"
    assert "certificate stays as it was" in told
    assert "PRIVATE KEY" not in told


def test_a_traefik_that_does_not_come_is_said() -> None:
    async def story() -> None:
        router = TraefikRouter("local", TraefikSettings())
        await router.publish({WEB: (ONE,)})
        with pytest.raises(RouterUnavailable, match="providers"):
            await router.apply(SHOP)
        router.read()
        assert not (await router.apply(SHOP)).changed
        await asyncio.sleep(60)
        with pytest.raises(RouterUnavailable, match="no Traefik has read"):
            await router.apply(SHOP)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(story())


async def test_who_may_not_see_all_routes_may_see_none(house: House, tmp_path: Path) -> None:
    async with house.client("nonsense") as nobody:
        problem(await nobody.get(URL), 401, "Unauthenticated")
    async with house.client(house.token("bob", "viewer", "blog")) as bob:
        problem(await bob.get(URL), 403, "Forbidden")
    async with house.client(house.token("traefik", "viewer")) as traefik:
        problem(await traefik.get(URL), 409, "NotPossible")


async def test_an_unknown_target_is_a_problem(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/v1/targets/none/traefik"), 404, "NotFound")
