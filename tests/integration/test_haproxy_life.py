"""HAProxy through its life: reloads, restarts, other hands, full pools; nothing is cut by these."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.haproxy.authority import ROOT, Authority
from adapters.haproxy.certificates import Certificate
from adapters.haproxy.pool import STOCK
from adapters.haproxy.router import HAProxyRouter
from adapters.haproxy.settings import BACKENDS, CONFIGURATION, STATE
from projections.route_table import Backend, Endpoint, Header, Tls
from reconcilers.router_ports import RouterUnavailable
from tests.support.haproxy import SECONDS, House, utc, web_server
from tests.support.route_tables import API, FEATURE, WEB, row, shares, table

pytestmark = pytest.mark.needs("haproxy")

SHOP = table(row("shop.example", "/", shares(WEB)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
async def router(house: House) -> AsyncIterator[HAProxyRouter]:
    async with house.serving() as router:
        yield router


@pytest.fixture
async def one() -> AsyncIterator[Endpoint]:
    async with web_server("one") as endpoint:
        yield endpoint


@pytest.fixture
async def two() -> AsyncIterator[Endpoint]:
    async with web_server("two") as endpoint:
        yield endpoint


async def started_anew(router: HAProxyRouter) -> None:
    async with asyncio.timeout(SECONDS):
        async for _ in router.watch():
            return


async def listening(house: House) -> None:
    """Wait until it takes connections, nobody having told it anything."""
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(ConnectionError):
                async with house.connection():
                    return
            await asyncio.sleep(0.02)


async def test_new_routes_and_endpoints_need_no_reload(
    house: House, router: HAProxyRouter, one: Endpoint, two: Endpoint
) -> None:
    await router.publish({WEB: (one,), API: (two,)})
    await router.apply(SHOP)
    worker = await router.runtime.worker()
    applied = await router.apply(table(*SHOP.rows, row("api.example", "/", shares(API))))
    assert applied.changed
    assert (await house.get("api.example/")).server == "two"
    await router.publish({WEB: (two,), API: (one,)})
    assert (await house.get("api.example/")).server == "one"
    assert (await house.get("shop.example/")).server == "two"
    assert await router.runtime.worker() == worker
    assert router.running.reloads == 0


async def test_what_did_not_change_is_not_written(router: HAProxyRouter, one: Endpoint) -> None:
    await router.publish({WEB: (one,)})
    assert (await router.apply(SHOP)).changed
    assert await router.apply(SHOP) == (False, (), ())


async def test_a_full_pool_grows_by_one_reload_that_cuts_no_connection(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    apps = [Backend(f"App/shop/a{number}", number, "http") for number in range(STOCK["b"] + 1)]
    await router.publish(dict.fromkeys(apps, (one,)))
    rows = [row(f"{app.uid}.example", "/", shares(app)) for app in apps]
    await router.apply(table(*rows[:-1]))
    async with house.connection() as idle, house.connection() as busy:
        assert (await idle.get("0.example/")).server == "one"
        assert (await busy.get("0.example/")).server == "one"
        growing = asyncio.create_task(router.apply(table(*rows)))
        while not growing.done():
            assert (await house.get("0.example/")).server == "one"
        assert (await growing).changed
        assert (await idle.get("0.example/")).server == "one"
    assert (await house.get(f"{apps[-1].uid}.example/")).server == "one"
    assert router.running.reloads == 1


async def test_after_a_reload_endpoints_take_as_long_as_an_idle_client_may_wait(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    """A connection from before the reload still knows the endpoints of then."""
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    quick = router.propagation
    context = row("shop.example", "/", shares(FEATURE), context=Header("x-new", "1"))
    await router.apply(table(*SHOP.rows, context))
    assert router.running.reloads == 1
    assert quick < 1 < router.propagation


async def test_more_replicas_than_slots_need_no_reload(house: House, router: HAProxyRouter) -> None:
    await router.apply(SHOP)
    async with contextlib.AsyncExitStack() as stack:
        names = {str(number) for number in range(7)}
        servers = [await stack.enter_async_context(web_server(name)) for name in sorted(names)]
        await router.publish({WEB: tuple(servers)})
        answered = {(await house.get("shop.example/")).server for _ in range(14)}
        assert answered == names
    assert router.running.reloads == 0


async def test_weights_divide_requests_exactly(
    house: House, router: HAProxyRouter, one: Endpoint, two: Endpoint
) -> None:
    await router.apply(SHOP)
    await router.publish({WEB: (one._replace(weight=9), two)})
    answered = [(await house.get("shop.example/")).server for _ in range(20)]
    assert answered.count("two") == 2


async def test_a_killed_haproxy_is_started_again_as_it_was(
    house: House, router: HAProxyRouter, one: Endpoint, two: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    await router.publish({WEB: (two,)})
    pid = router.running.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await started_anew(router)
    await listening(house)
    assert router.running.process.pid != pid
    assert (await house.get("shop.example/")).server == "two"
    assert (await router.apply(SHOP)).drift == ()


async def test_a_killed_worker_is_replaced(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    os.kill(await router.runtime.worker(), signal.SIGKILL)
    await started_anew(router)
    await listening(house)
    assert (await house.get("shop.example/")).server == "one"


async def test_it_serves_without_us_and_the_next_takes_it_up(
    house: House, one: Endpoint, two: Endpoint
) -> None:
    first = house.router()
    await first.publish({WEB: (one,)})
    await first.apply(SHOP)
    pid = first.running.process.pid
    await first.close()
    assert (await house.get("shop.example/")).server == "one"
    async with house.serving() as second:
        assert (second.running.process.pid, second.running.reloads) == (pid, 0)
        assert await second.apply(SHOP) == (False, (), ())
        assert (await house.get("shop.example/")).server == "one"
        await second.publish({WEB: (two,)})
        assert (await house.get("shop.example/")).server == "two"
        assert second.running.process.pid == pid
    assert second.running.process.pid is None


async def test_one_that_ended_meanwhile_is_begun_as_it_was(house: House, one: Endpoint) -> None:
    async with house.serving() as first:
        await first.publish({WEB: (one,)})
        await first.apply(SHOP)
    async with house.serving() as second:
        await second.publish({WEB: (one,)})
        await listening(house)
        assert (await house.get("shop.example/")).server == "one"


async def test_another_hand_is_put_right_and_named(
    house: House, router: HAProxyRouter, one: Endpoint, two: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    runtime = router.runtime
    await runtime.replace_map({"http%3A%2F%2Fforeign.example%2F": "1:b1:0:-:foreign"})
    await runtime.do([f"set server b1/s1 addr {two.host} port {two.number}"])
    applied = await router.apply(SHOP)
    assert applied.drift == (
        "route http%3A%2F%2Fshop.example%2F",
        "route http%3A%2F%2Fforeign.example%2F",
        "servers of backend b1",
    )
    assert (await house.get("shop.example/")).server == "one"
    assert (await house.get("foreign.example/")).status == 404
    assert await router.apply(SHOP) == (False, (), ())


@pytest.mark.parametrize("name", [CONFIGURATION, BACKENDS])
async def test_an_edited_file_is_put_right_and_named(
    house: House, router: HAProxyRouter, one: Endpoint, name: str
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    path = house.directory / name
    before = path.read_text()
    path.write_text("nonsense\n")
    assert (await router.apply(SHOP)).drift == (f"file {name}",)
    assert path.read_text() == before
    assert await router.apply(SHOP) == (False, (), ())


async def test_a_socket_that_is_gone_comes_back(
    house: House, router: HAProxyRouter, one: Endpoint, two: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    (house.directory / "admin-0.sock").unlink()
    with pytest.raises(RouterUnavailable, match="does not answer"):
        await router.publish({WEB: (two,)})
    assert (await house.get("shop.example/")).server == "one"
    await router.apply(SHOP)
    await router.publish({WEB: (two,)})
    assert (await house.get("shop.example/")).server == "two"


async def test_an_entry_that_cannot_be_moved_to_is_named_and_leaves_the_one_before(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    await router.apply(SHOP)
    await router.publish({WEB: (one,)})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = house.router(replace(house.settings, http=(address,)))
        for _ in range(2):
            with pytest.raises(
                RouterUnavailable, match=r"the former goes on.*already in use.*\d\]"
            ):
                await other.apply(SHOP)
        await other.close()
    assert (await house.get("shop.example/")).server == "one"


async def test_what_is_remembered_may_be_lost(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    await router.close()
    (house.directory / STATE).write_text("{")
    second = house.router()
    await second.publish({WEB: (one,)})
    await second.apply(SHOP)
    assert (await house.get("shop.example/")).server == "one"
    await second.close()


async def test_a_row_that_cannot_be_served_stops_no_other(house: House, one: Endpoint) -> None:
    """One for known users, where nobody knows them; nor is it had by another way to write it."""
    house.settings = replace(house.settings, verify=None)
    inner = row("shop.example", "/inner", shares(WEB), "inner", auth="hard")
    async with house.serving() as router:
        await router.publish({WEB: (one,)})
        applied = await router.apply(table(inner, *SHOP.rows))
        ((name, reason),) = applied.unserved
        assert (name, "use auth soft or off" in reason) == ("inner", True)
        for path in ("inner", "/inner", "x/../inner/y"):
            assert (await house.get(f"shop.example/{path}")).status == 501
        assert (await house.get("shop.example/")).server == "one"


async def test_without_the_program_it_says_what_to_install(house: House) -> None:
    router = house.router(replace(house.settings, program="no-haproxy"))
    with pytest.raises(RouterUnavailable, match="apt-get install haproxy"):
        await router.apply(SHOP)
    await router.close()


SAFE = row("safe.example", "/", shares(WEB), scheme="https", tls=Tls(mode="internal"))


async def test_an_internal_certificate_is_made_shown_and_withdrawn_without_a_reload(
    house: House, router: HAProxyRouter, one: Endpoint
) -> None:
    await router.publish({WEB: (one,)})
    await router.apply(SHOP)
    await router.apply(table(*SHOP.rows, SAFE))
    trusting = ssl.create_default_context(cafile=house.directory / "authority.crt")
    await shown(house, trusting, "safe.example")
    with pytest.raises(ssl.SSLError):
        await shown(house, trusting, "other.example")
    await router.apply(SHOP)
    with pytest.raises(ssl.SSLError):
        await shown(house, trusting, "safe.example")
    assert router.running.reloads == 0


async def shown(house: House, trusting: ssl.SSLContext, host: str) -> None:
    _, writer = await asyncio.open_connection(
        "127.0.0.1", house.https, ssl=trusting, server_hostname=host
    )
    writer.transport.abort()


async def test_a_certificate_of_a_secret_is_shown_and_renewed(
    house: House, one: Endpoint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pems = {"Secret/shop/tls": (b"", b"")}

    async def secret(stream: str) -> Certificate | None:
        return pems[stream]

    house.secrets = secret
    own = row(
        "safe.example",
        "/",
        shares(WEB),
        "own",
        scheme="https",
        tls=Tls(mode="secret", secret="Secret/shop/tls"),
    )
    async with house.serving() as router:
        applied = await router.apply(table(own))
        assert "holds no PEM" in applied.unserved[0].reason
        for name in ("first", "second"):
            directory = tmp_path_factory.mktemp(name)
            authority = Authority(directory, utc)
            chain, mark, key = authority.certificate("safe.example", None).partition("-----BEGIN P")
            pems["Secret/shop/tls"] = chain.encode(), (mark + key).encode()
            assert (await router.apply(table(own))).unserved == ()
            trusting = ssl.create_default_context(cafile=directory / ROOT)
            await shown(house, trusting, "safe.example")
        assert router.running.reloads == 0
