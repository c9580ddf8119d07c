"""How we get in at a server, by each kind of credentials and by TLS, and what we hear if not."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bus.nats.bus import NatsBus
from bus.nats.client import NatsSession
from bus.nats.session import NatsUnavailable, Server
from bus.nats.tls import Tls
from stateward.cli import nats_check
from stateward.cli.nats_check import ServerFinding
from stateward.nats_settings import nats_settings
from stateward.settings import Nats
from tests.support.intents import Desk
from tests.support.nats_keys import USER, NatsKey, creds_file, operated
from tests.support.nats_server import PATIENCE, Place, foreign_server
from tests.support.nats_tls import Authority

pytestmark = pytest.mark.needs("nats")


async def doctor(**settings: Any) -> ServerFinding:
    (found,) = await asyncio.to_thread(nats_check.external, Nats(**settings))
    return found


async def admitted(**settings: Any) -> None:
    """Both the bus of a control plane, with all its parts, and the doctor get in."""
    place = Place(nats_settings(Nats(**settings), Path(), "test"), Desk())
    await place.bus.start()
    try:
        await place.ready()
    finally:
        await place.bus.stop()
    found = await doctor(**settings)
    assert found.remedy == ""
    assert found.found.startswith("2.")


async def told(**settings: Any) -> str:
    """What keeps us out, as the bus says it; the doctor says the same, and what to do."""
    bus: NatsBus = Place(nats_settings(Nats(**settings), Path(), "test"), Desk()).bus
    await bus.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while (reason := bus.status().reason) in ("", "not connected yet"):
                await asyncio.sleep(0.01)
        assert not bus.status().connected
    finally:
        await bus.stop()
    found = await doctor(**settings)
    assert found.remedy
    assert found.remedy in reason
    assert not found.away
    return reason


class Way(NamedTuple):
    """A way to log in: the server's configuration, the right settings, wrong ones, what is told."""

    config: str
    right: dict[str, Any]
    wrong: dict[str, Any]
    remedy: str


def by_password(_directory: Path) -> Way:
    return Way(
        'authorization {users: [{user: us, password: "right"}]}',
        {"user": "us", "password": "right"},
        {"user": "us", "password": "wrong"},
        "it knows no user 'us' with this password: correct nats.user and nats.password",
    )


def by_token(_directory: Path) -> Way:
    return Way(
        'authorization {token: "right"}',
        {"token": "right"},
        {"token": "wrong"},
        "its token is another: correct nats.token",
    )


def without(_directory: Path) -> Way:
    return Way(
        'authorization {token: "right"}',
        {"token": "right"},
        {},
        "it wants credentials: give nats.user and nats.password, nats.token",
    )


def by_nkey(directory: Path) -> Way:
    known, unknown = NatsKey(USER), NatsKey(USER)
    files = directory / "known.nk", directory / "unknown.nk"
    for file, key in zip(files, (known, unknown), strict=True):
        file.write_text(key.seed + "\n")
    return Way(
        f"authorization {{users: [{{nkey: {known.public}}}]}}",
        {"nkey_file": files[0]},
        {"nkey_file": files[1]},
        "unknown.nk': add the public key (U...) to its users",
    )


def by_jwt(directory: Path) -> Way:
    server, other = operated(), operated()
    return Way(
        server.config,
        {"credentials_file": creds_file(directory / "right.creds", server.account)},
        {"credentials_file": creds_file(directory / "wrong.creds", other.account)},
        "wrong.creds': make its account known to the server (resolver)",
    )


def by_an_expired_jwt(directory: Path) -> Way:
    server = operated()
    old = creds_file(directory / "old.creds", server.account, exp=1_700_000_100)
    return Way(
        server.config,
        {"credentials_file": creds_file(directory / "right.creds", server.account)},
        {"credentials_file": old},
        "a new file if the user was revoked or has expired",
    )


WAYS = (by_password, by_token, without, by_nkey, by_jwt, by_an_expired_jwt)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.__name__))
async def test_each_way_to_log_in_works_and_a_wrong_one_is_told_with_what_to_do(
    tmp_path: Path, way: Callable[[Path], Way]
) -> None:
    config, right, wrong, remedy = way(tmp_path)
    async with foreign_server(tmp_path / "nats", config) as port:
        servers = f"nats://127.0.0.1:{port}"
        await admitted(servers=servers, **right)
        reason = await told(servers=servers, **wrong)
    assert "Authorization Violation" in reason
    assert remedy in reason
    assert "wrong'" not in reason.replace("wrong.creds'", "")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "tls")


@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_a_server_with_tls_is_used_with_its_authority_and_a_certificate_of_ours(
    tmp_path: Path, authority: Authority, scheme: str
) -> None:
    ours = authority.certify("ours")
    async with foreign_server(tmp_path / "nats", authority.server_block("server")) as port:
        await admitted(
            servers=f"{scheme}://127.0.0.1:{port}",
            tls_ca=authority.file,
            tls_certificate=ours.certificate,
            tls_key=ours.key,
        )


async def test_plain_text_to_a_server_with_tls_is_told_to_give_its_authority(
    tmp_path: Path, authority: Authority
) -> None:
    block = authority.server_block("server", verify=False)
    async with foreign_server(tmp_path / "nats", block) as port:
        reason = await told(servers=f"nats://127.0.0.1:{port}")
        await admitted(servers=f"nats://127.0.0.1:{port}", tls_ca=authority.file)
    assert "it speaks TLS with a certificate of an authority that is unknown here" in reason
    assert "nats.tls_ca" in reason


async def test_a_server_that_wants_a_certificate_of_ours_says_so(
    tmp_path: Path, authority: Authority
) -> None:
    async with foreign_server(tmp_path / "nats", authority.server_block("server")) as port:
        reason = await told(servers=f"tls://127.0.0.1:{port}", tls_ca=authority.file)
    assert reason.endswith(
        "the server wants a certificate of its clients: give nats.tls_certificate and nats.tls_key"
    )


async def test_a_certificate_of_ours_that_the_server_does_not_trust_is_told(
    tmp_path: Path, authority: Authority
) -> None:
    stranger = Authority(tmp_path / "other", "stranger").certify("ours")
    async with foreign_server(tmp_path / "nats", authority.server_block("server")) as port:
        reason = await told(
            servers=f"tls://127.0.0.1:{port}",
            tls_ca=authority.file,
            tls_certificate=stranger.certificate,
            tls_key=stranger.key,
        )
    assert "give one that its ca_file vouches for" in reason


async def test_a_certificate_for_another_name_is_told(tmp_path: Path, authority: Authority) -> None:
    block = authority.server_block("server", "nats.example", verify=False)
    async with foreign_server(tmp_path / "nats", block) as port:
        reason = await told(servers=f"tls://127.0.0.1:{port}", tls_ca=authority.file)
    assert "its certificate is for another name: use a name that is in it" in reason


async def test_a_certificate_that_has_run_out_is_told(tmp_path: Path, authority: Authority) -> None:
    block = authority.server_block("server", verify=False, days=-1)
    async with foreign_server(tmp_path / "nats", block) as port:
        reason = await told(servers=f"tls://127.0.0.1:{port}", tls_ca=authority.file)
    assert "its certificate is too old: renew it" in reason


async def test_a_server_without_tls_is_told_nothing_in_the_clear(
    tmp_path: Path, authority: Authority
) -> None:
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.11.0","max_payload":1048576,"headers":true}\r\nPONG\r\n')
        heard.append(await reader.read())
        writer.close()

    impostor = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = impostor.sockets[0].getsockname()[1]
    async with impostor:
        for given in (
            {"servers": f"tls://127.0.0.1:{port}"},
            {"servers": f"nats://127.0.0.1:{port}", "tls_ca": authority.file},
        ):
            reason = await told(**given, token="hunter2")
            assert "the server offers no TLS, and nothing is sent in the clear" in reason
            assert "or write nats:// in nats.servers" in reason
    assert heard
    assert set(heard) == {b""}


async def test_a_server_that_begins_with_tls_is_told(tmp_path: Path, authority: Authority) -> None:
    block = authority.server_block("server", verify=False).replace("}", ", handshake_first: true}")
    async with foreign_server(tmp_path / "nats", block) as port:
        with pytest.raises(NatsUnavailable, match="turn handshake_first off there"):
            await NatsSession.open(Server(url=f"tls://127.0.0.1:{port}"))
        found = await doctor(servers=f"tls://127.0.0.1:{port}")
    assert "handshake_first off" in found.remedy


async def test_something_else_than_nats_is_told(tmp_path: Path) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "or it is no NATS server" in await told(servers=f"nats://127.0.0.1:{port}")


async def test_a_file_of_tls_that_cannot_be_used_is_named(
    tmp_path: Path, authority: Authority
) -> None:
    async def said(**files: Path) -> str:
        with pytest.raises(NatsUnavailable) as refused:
            await NatsSession.open(Server(url="tls://127.0.0.1:1", tls=Tls(**files)))
        return str(refused.value)

    ours, other, none = authority.certify("ours"), authority.certify("other"), tmp_path / "none"
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    missing = f"{str(none)!r} cannot be read: No such file or directory; correct the path"
    assert (await said(ca=none)).startswith(f"the authority (nats.tls_ca) {missing}")
    assert "holds no certificate of an authority" in await said(ca=garbage)
    assert missing in await said(certificate=ours.certificate, key=none)
    assert "KEY_VALUES_MISMATCH; give both" in await said(
        certificate=ours.certificate, key=other.key
    )


async def test_the_doctor_tells_of_each_server_and_one_that_answers_is_enough(
    tmp_path: Path,
) -> None:
    async with foreign_server(tmp_path / "nats", "") as port:
        settings = Nats(servers=(f"nats://127.0.0.1:{port}", "nats://127.0.0.1:1"))
        good, away = await asyncio.to_thread(nats_check.external, settings)
    assert (good.remedy, good.away) == ("", False)
    assert (away.remedy, away.away) == ("start it, or correct nats.servers", True)


async def test_the_doctor_tells_what_a_single_server_cannot_do(tmp_path: Path) -> None:
    async with foreign_server(tmp_path / "nats", "") as port:
        found = await doctor(servers=f"nats://127.0.0.1:{port}", replicas=3)
    assert found.remedy == "set nats.replicas to 1, or give it a cluster"


async def test_the_doctor_tells_that_there_is_no_jetstream(tmp_path: Path) -> None:
    config = "accounts {plain: {users: [{user: us, password: right}]}}"
    async with foreign_server(tmp_path / "nats", config) as port:
        found = await doctor(servers=f"nats://127.0.0.1:{port}", user="us", password="right")
    assert "turn JetStream on there" in found.remedy
