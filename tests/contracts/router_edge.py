"""The edge: who a user is, and what is between a client and the router."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from projections.route_table import Auth, Header, Tls
from tests.contracts.router_world import (
    LOGIN,
    PATIENCE,
    SECRET,
    USER,
    WEB,
    Pem,
    RouterWorld,
    name_of,
    row,
)
from tests.support.backends import H2cBackend, backends
from tests.support.nats_tls import Authority

ALICE = {"Cookie": "a=b; user=alice"}
INTERNAL = Tls(mode="internal")


async def user_seen(world: RouterWorld, auth: Auth, headers: dict[str, str]) -> str | None:
    """Who an app is told the user is; None for nobody."""
    async with backends("web") as (web,):
        await world.serve([row("a.test", auth=auth)], {WEB: [web.endpoint()]})
        async with world.client("a.test") as client:
            answer = await client.get("/x", headers=headers)
    assert name_of(answer) == "web"
    arrived = answer.json()["headers"]
    assert set(arrived).isdisjoint({"x_forwarded_user", "x-forwarded_user", "x_forwarded-user"})
    seen: str | None = arrived.get(USER.lower())
    return seen


class EdgeContract:
    # -- users ------------------------------------------------------------------------------

    @pytest.mark.parametrize("auth", ["off", "soft", "hard"])
    async def test_what_a_client_says_about_its_user_never_arrives(
        self, world: RouterWorld, auth: Auth
    ) -> None:
        spoofs = {USER: "root", "X_Forwarded_User": "root", "x-forwarded_user": "root"}
        known = ALICE if auth == "hard" else {}
        seen = await user_seen(world, auth, spoofs | known)
        assert seen == ("alice" if known else None)

    async def test_no_client_takes_away_what_an_app_is_told(self, world: RouterWorld) -> None:
        """Headers that `Connection` names end at the next hop, and that is the router."""
        named = [("Connection", "close"), ("Connection", f"{USER}, X-Team"), *ALICE.items()]
        secure = row("a.test", auth="hard", request_headers=(Header("x-team", "shop"),))
        async with backends("web") as (web,):
            await world.serve([secure], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                arrived = (await client.get("/", headers=named)).json()["headers"]
        assert (arrived[USER.lower()], arrived["x-team"]) == ("alice", "shop")

    @pytest.mark.parametrize("auth", ["soft", "hard"])
    async def test_a_user_who_is_known_is_named_to_the_app(
        self, world: RouterWorld, auth: Auth
    ) -> None:
        assert await user_seen(world, auth, ALICE) == "alice"
        asked = world.verify.asked[-1]
        told = {name: asked.headers[f"x-forwarded-{name}"] for name in ("method", "host", "uri")}
        assert told == {"method": "GET", "host": "a.test", "uri": "/x"}

    async def test_soft_lets_in_who_is_unknown(self, world: RouterWorld) -> None:
        assert await user_seen(world, "soft", {}) is None

    async def test_hard_sends_who_is_unknown_to_the_login(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve([row("a.test", auth="hard")], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                answer = await client.get("/x")
            assert (answer.status_code, answer.headers["location"]) == (302, LOGIN)
            assert web.asked == []

    @pytest.mark.parametrize("auth", ["soft", "hard"])
    async def test_a_body_passes_the_question_unharmed(
        self, world: RouterWorld, auth: Auth
    ) -> None:
        async with backends("web") as (web,):
            await world.serve([row("a.test", auth=auth)], {WEB: [web.endpoint()]})
            async with world.client("a.test", cookies={"user": "alice"}) as client:
                answer = await client.post("/", content=bytes(100_000))
        assert (answer.json()["method"], answer.json()["body"]) == ("POST", 100_000)
        assert (world.verify.asked[-1].method, world.verify.asked[-1].body) == ("GET", b"")

    async def test_when_nobody_knows_users_soft_goes_on_and_hard_does_not(
        self, world: RouterWorld
    ) -> None:
        await world.verify.stop()
        async with backends("web") as (web,):
            await world.serve(
                [row("soft.test", auth="soft"), row("hard.test", auth="hard")],
                {WEB: [web.endpoint()]},
            )
            async with world.client("soft.test") as client:
                soft = await client.post("/", content=b"x", headers=ALICE)
                hard = await client.get("/", headers=ALICE | {"Host": "hard.test"})
            assert name_of(soft) == "web"
            assert hard.status_code >= 500
            assert [asked.method for asked in web.asked] == ["POST"]

    async def test_with_soft_an_app_that_fails_is_not_asked_twice(self, world: RouterWorld) -> None:
        async with backends("web") as (web,):
            await world.serve([row("a.test", auth="soft")], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                answer = await client.post("/broken")
            assert answer.status_code == 502
            assert len(web.asked) == 1

    async def test_who_writes_a_path_otherwise_is_asked_all_the_same(
        self, world: RouterWorld
    ) -> None:
        """Some apps take these for the path, and so must who guards it."""
        written = (
            "//admin",
            "/x/../admin",
            "/./admin/",
            "/%61dmin",
            "/admin%2Fx",
            "/x/%2e%2e/admin",
        )
        answers: list[bytes] = []
        async with backends("web") as (web,):
            await world.serve(
                [row("a.test", "/admin", auth="hard"), row("a.test")], {WEB: [web.endpoint()]}
            )
            for target in written:
                async with world.connection() as (reader, writer), asyncio.timeout(PATIENCE):
                    writer.write(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
                    answers.append((await reader.readline()).split()[1])
            assert web.asked == []
        assert answers == [b"302"] * len(written)

    # -- TLS --------------------------------------------------------------------------------

    @pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
    async def test_an_internal_certificate_is_one_that_the_own_authority_vouches_for(
        self, world: RouterWorld, http2: bool
    ) -> None:
        async with backends("web") as (web,):
            await world.serve(
                [row("a.test", scheme="https", tls=INTERNAL)], {WEB: [web.endpoint()]}
            )
            answer = await securely(world, "a.test", world.trust, http2=http2)
        assert name_of(answer) == "web"
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"

    async def test_it_is_told_until_when_the_certificate_of_each_host_is_good(
        self, world: RouterWorld, tmp_path: Path
    ) -> None:
        made = Authority(tmp_path).certify("own", "own.test", days=40)
        world.certificates[SECRET] = Pem(made.certificate.read_bytes(), made.key.read_bytes())
        secret = Tls(mode="secret", secret=SECRET)
        await world.apply(
            row("own.test", scheme="https", tls=secret),
            row("a.test", scheme="https", tls=INTERNAL),
        )
        await world.certified("a.test")
        found = await world.router.certified(["own.test", "a.test", "nobody.test"])
        held = x509.load_pem_x509_certificate(made.certificate.read_bytes())
        own, internal = found["own.test"], found["a.test"]
        assert own.not_after == held.not_valid_after_utc.timestamp()
        assert own.not_before == held.not_valid_before_utc.timestamp()
        assert internal.not_before < internal.not_after
        assert internal != own
        assert found["nobody.test"].not_after == 0

    async def test_a_certificate_of_a_secret_is_served_and_replaced(
        self, world: RouterWorld, tmp_path: Path
    ) -> None:
        secure = row("own.test", scheme="https", tls=Tls(mode="secret", secret=SECRET))
        async with backends("web") as (web,):
            for name in ("one", "two"):
                authority = Authority(tmp_path / name, name)
                made = authority.certify("own", "own.test")
                pem = Pem(made.certificate.read_bytes(), made.key.read_bytes())
                world.certificates[SECRET] = pem
                await world.serve([secure], {WEB: [web.endpoint()]})
                trust = partial(ssl.create_default_context, cafile=authority.file)
                assert name_of(await securely(world, "own.test", trust)) == "web"

    async def test_a_certificate_that_cannot_be_had_leaves_the_one_before(
        self, world: RouterWorld, tmp_path: Path
    ) -> None:
        authority = Authority(tmp_path / "authority")
        made = authority.certify("own", "own.test")
        good = Pem(made.certificate.read_bytes(), made.key.read_bytes())
        trust = partial(ssl.create_default_context, cafile=authority.file)
        made = authority.certify("other", "other.test")
        another = Pem(made.certificate.read_bytes(), made.key.read_bytes())
        secure = row("own.test", scheme="https", tls=Tls(mode="secret", secret=SECRET))
        async with backends("web") as (web,):
            for pem, why in (
                (good, ""),
                (None, "can be read now"),
                (good._replace(key=b"no key"), "no PEM of a certificate and its key"),
                (good._replace(key=another.key), "belongs to another certificate"),
                (another, "is for other.test, not for own.test"),
            ):
                world.certificates.pop(SECRET, None)
                if pem is not None:
                    world.certificates[SECRET] = pem
                await world.serve([secure, row("a.test")], {WEB: [web.endpoint()]})
                assert name_of(await securely(world, "own.test", trust)) == "web"
                told = (await world.router.certified(["own.test"]))["own.test"].trouble
                assert (why in told) if why else not told

    async def test_a_certificate_that_is_none_harms_no_other_row(self, world: RouterWorld) -> None:
        broken = row("own.test", scheme="https", tls=Tls(mode="secret", secret=SECRET))
        for pem in (None, Pem(b"no chain", b"no key")):
            if pem is not None:
                world.certificates[SECRET] = pem
            async with backends("web") as (web,):
                await world.serve([broken, row("a.test")], {WEB: [web.endpoint()]})
                async with world.client("a.test") as client:
                    assert name_of(await client.get("/")) == "web"

    async def test_rows_without_tls_and_with_it_are_different_rows(
        self, world: RouterWorld
    ) -> None:
        async with backends("web") as (web,):
            secure = row("a.test", scheme="https", tls=INTERNAL)
            await world.serve([secure, row("a.test", redirect=True)], {WEB: [web.endpoint()]})
            async with world.client("a.test") as client:
                assert (await client.get("/")).status_code == 308
            assert name_of(await securely(world, "a.test", world.trust)) == "web"

    # -- HTTP/2 to the app ------------------------------------------------------------------

    async def test_an_app_may_speak_http2_without_tls(self, world: RouterWorld) -> None:
        app = H2cBackend("grpc")
        await app.start()
        try:
            team = (Header("x-team", "shop"),)
            await world.serve(
                [row("a.test", h2c=True, request_headers=team)], {WEB: [app.endpoint()]}
            )
            async with world.client("a.test") as client:
                answer = await client.get("/x?y=1")
                assert name_of(answer) == "grpc"
                headers = answer.json()["headers"]
                assert (headers[":path"], headers["x-team"]) == ("/x?y=1", "shop")
                await world.publish({})
                assert (await client.get("/")).status_code == 503
        finally:
            await app.stop()


async def securely(
    world: RouterWorld,
    host: str,
    trust: Callable[[], ssl.SSLContext],
    *,
    http2: bool = False,
) -> httpx.Response:
    """Ask until the certificate is there: an authority may take a moment to issue it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(httpx.ConnectError, FileNotFoundError):
                async with world.secure(host, trust(), http2=http2) as client:
                    return await client.get("/")
            await asyncio.sleep(0.1)
