"""Users of domains: a row may name somebody else who knows them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from projections.route_table import Auth
from tests.contracts.router_world import USER, WEB, RouterWorld, row
from tests.support.backends import Backend as Server
from tests.support.backends import Said, backends
from tests.support.nats_tls import Authority


class DomainContract:
    @pytest.mark.parametrize("auth", ["soft", "hard"])
    async def test_each_domain_may_have_somebody_else_who_knows_its_users(
        self, world: RouterWorld, auth: Auth
    ) -> None:
        need_domains(world)
        async with knowing("alice") as one, knowing("bob") as two:
            of_host = {"a.test": one, "b.test": two}
            rows = [
                row(host, auth=auth, verify=f"http://127.0.0.1:{server.port}/who")
                for host, server in of_host.items()
            ]
            async with backends("web") as (web,):
                await world.serve(rows, {WEB: [web.endpoint()]})
                for host, server in of_host.items():
                    async with world.client(host) as client:
                        answer = await client.get("/", headers={USER: "root"})
                    assert answer.json()["headers"][USER.lower()] == server.name
                    [asked] = server.asked
                    assert asked.target == f"/who?auth={auth}"
                    assert asked.headers["host"] == f"127.0.0.1:{server.port}"
                    assert asked.headers["x-forwarded-host"] == host
        assert world.verify.asked == []

    async def test_who_is_asked_over_tls_has_a_certificate_that_the_host_believes(
        self, world: RouterWorld, tmp_path: Path
    ) -> None:
        need_domains(world)
        made = Authority(tmp_path).certify("login", "127.0.0.1")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(made.certificate, made.key)
        greeted: list[object] = []
        asked: list[bytes] = []
        context.sni_callback = lambda *told: greeted.append(told)

        async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readline())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        async with (
            await asyncio.start_server(let_in, "127.0.0.1", 0, ssl=context) as server,
            backends("web") as (web,),
        ):
            verify = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/verify"
            await world.serve([row("a.test", auth="hard", verify=verify)], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                assert (await client.get("/", headers={"Cookie": "user=alice"})).status_code == 502
            assert greeted
            assert (web.asked, asked) == ([], [])


def need_domains(world: RouterWorld) -> None:
    if not world.asks_by_domain:
        pytest.skip("this router asks one alone about users")


@asynccontextmanager
async def knowing(user: str) -> AsyncIterator[Server]:
    """Somebody to whom all requests are those of one user."""
    server = Server(user, lambda _asked: Said(200, {USER: user}))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
