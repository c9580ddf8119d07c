"""A NATS server of somebody else's: how to log in there, and which ones are refused."""

import asyncio
import json
from base64 import b32encode
from binascii import crc_hqx
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bus.nats.credentials import BadCredentials, Credentials, login, public_nkey
from bus.nats.settings import NatsSettings
from bus.nats.streams import SUBMIT
from bus.nats.subjects import intent_subject
from bus.nats.versions import UnsupportedServer, check_version
from domain.names import Ref
from tests.support.intents import Desk
from tests.support.nats_server import (
    PATIENCE,
    Place,
    app,
    client,
    envelope,
    foreign_server,
)
from tests.support.producers import decided, submit

TOKEN = "a-token-for-tests"


@asynccontextmanager
async def connected(
    url: str, credentials: Credentials, installation: str = "f00"
) -> AsyncIterator[Place]:
    desk = Desk()
    await desk.furnish()
    settings = NatsSettings(servers=(url,), credentials=credentials)
    place = Place(settings, desk, installation=installation)
    await place.bus.start()
    try:
        yield place
    finally:
        await place.bus.stop()


async def until_reason(place: Place, part: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while part not in place.bus.status().reason:
            await asyncio.sleep(0.01)


def seed(key: Ed25519PrivateKey) -> str:
    """The nkey seed of a user's key, as the tools of NATS write it."""
    raw = bytes([18 << 3 | (20 << 3) >> 5, (20 << 3 & 31) << 3]) + key.private_bytes_raw()
    return b32encode(raw + crc_hqx(raw, 0).to_bytes(2, "little")).decode().rstrip("=")


async def test_an_external_server_is_used_by_address_and_token(tmp_path: Path) -> None:
    async with foreign_server(tmp_path, f'authorization {{token: "{TOKEN}"}}') as port:
        url = f"nats://127.0.0.1:{port}"
        async with connected(url, Credentials(token=TOKEN)) as place:
            await place.ready()
            status = place.bus.status()
            assert (status.embedded, status.connected, status.url) == (False, True, url)
            async with client(url, token=TOKEN) as producer:
                answer = await producer.request(
                    intent_subject("producer", Ref("App", "shop", "web")),
                    envelope("apply", "App/shop/web", app("web"), key="k1"),
                    timeout=PATIENCE,
                )
            assert b'"created"' in answer.data


async def test_a_key_file_logs_in_without_telling_its_secret(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "user.nk"
    path.write_text(seed(key) + "\n")
    users = f"authorization {{users: [{{nkey: {public_nkey(key)}}}]}}"
    async with foreign_server(tmp_path / "nats", users) as port:
        credentials = Credentials(nkey_seed_file=path)
        async with connected(f"nats://127.0.0.1:{port}", credentials) as place:
            await place.ready()


def test_a_creds_file_gives_its_token_and_signs_with_its_key(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    path = tmp_path / "user.creds"
    path.write_text(
        "-----BEGIN NATS USER JWT-----\nheader.body.signature\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed(key)}\n------END USER NKEY SEED------\n"
    )
    options = login(Credentials(creds_file=path)).options
    assert options["user_jwt_cb"]() == b"header.body.signature"
    assert options["signature_cb"]("nonce")


@pytest.mark.parametrize("text", ["", "SUAB", "no base 32!", "SU" + "A" * 56], ids=repr)
def test_a_damaged_key_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "user.nk"
    path.write_text(text)
    with pytest.raises(BadCredentials, match="nkey seed"):
        login(Credentials(nkey_seed_file=path))


def test_a_missing_credentials_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadCredentials, match=r"none\.creds"):
        login(Credentials(creds_file=tmp_path / "none.creds"))


async def test_a_server_that_does_not_let_us_in_is_a_reason_and_no_failure(
    tmp_path: Path,
) -> None:
    async with (
        foreign_server(tmp_path, f'authorization {{token: "{TOKEN}"}}') as port,
        connected(f"nats://127.0.0.1:{port}", Credentials(token="wrong")) as place,
    ):
        await until_reason(place, "Authorization Violation")
        assert not place.bus.status().connected
        place.bus.publish(place.desk.log.events)


async def test_a_server_that_is_not_there_is_awaited(tmp_path: Path) -> None:
    async with foreign_server(tmp_path, "") as port:
        pass
    async with connected(f"nats://127.0.0.1:{port}", Credentials()) as place:
        await until_reason(place, "Connect call failed")
        async with foreign_server(tmp_path, "") as again:
            assert again == port
            await place.ready()


async def test_a_server_without_jetstream_answers_intents_and_says_what_is_missing(
    tmp_path: Path,
) -> None:
    config = "accounts {plain: {users: [{user: us, password: secret}]}}"
    async with foreign_server(tmp_path, config) as port:
        credentials = Credentials(user="us", password="secret")
        async with connected(f"nats://127.0.0.1:{port}", credentials) as place:
            await until_reason(place, "submit stream")
            async with asyncio.timeout(PATIENCE):
                while set(place.bus.status().parts) != {"hints", "intent service"}:
                    await asyncio.sleep(0.01)


async def test_a_second_installation_leaves_the_streams_of_the_first_alone(
    tmp_path: Path,
) -> None:
    async with foreign_server(tmp_path, "") as port:
        url = f"nats://127.0.0.1:{port}"
        async with connected(url, Credentials(), "f00") as first:
            await first.ready()
            async with connected(url, Credentials(), "ba4") as second, client(url) as producer:
                await until_reason(second, "belongs to installation f00, and this is ba4")
                assert not second.bus.status().connected
                await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
                await decided(first.desk, "s1")
                assert "app.defined" not in second.desk.types
        async with connected(url, Credentials(), "f00") as again:
            await again.ready()


async def test_of_two_installations_that_come_at_once_one_is_admitted(tmp_path: Path) -> None:
    async with foreign_server(tmp_path, "") as port:
        url = f"nats://127.0.0.1:{port}"
        async with (
            connected(url, Credentials(), "f00") as one,
            connected(url, Credentials(), "ba4") as other,
            asyncio.timeout(PATIENCE),
        ):
            loser = asyncio.create_task(until_reason(one, "belongs to installation ba4"))
            also = asyncio.create_task(until_reason(other, "belongs to installation f00"))
            await asyncio.wait({loser, also}, return_when=asyncio.FIRST_COMPLETED)
            assert [loser.done(), also.done()].count(True) == 1
            await (other if loser.done() else one).ready()
            loser.cancel()
            also.cancel()


async def test_streams_without_an_owner_become_ours(tmp_path: Path) -> None:
    async with foreign_server(tmp_path, "") as port:
        url = f"nats://127.0.0.1:{port}"
        async with client(url) as insider:
            stream = insider.jetstream()
            made = json.dumps(SUBMIT).encode()
            await insider.request("$JS.API.STREAM.CREATE.STATEWARD_SUBMIT", made, timeout=PATIENCE)
            async with connected(url, Credentials()) as place:
                await place.ready()
            config = (await stream.stream_info("STATEWARD_SUBMIT")).config
            assert (config.metadata or {})["stateward-installation"] == "f00"


@pytest.mark.parametrize("version", ["2.9.10", "2.10.27", "1.4.1", "", "unknown"])
def test_a_server_that_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedServer):
        check_version(version)


@pytest.mark.parametrize("version", ["2.11.0", "2.11.1-RC.1", "2.15.0", "v3.0.0"])
def test_a_server_that_is_new_enough_is_used(version: str) -> None:
    check_version(version)


async def test_an_old_server_is_not_spoken_to(tmp_path: Path) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.9.10","max_payload":1048576,"headers":true}\r\n')
        writer.write(b"PONG\r\n")
        await _reader.read()
        writer.close()

    old = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = old.sockets[0].getsockname()[1]
    async with old, connected(f"nats://127.0.0.1:{port}", Credentials()) as place:
        await until_reason(place, "2.9.10, but Stateward needs 2.11")
        assert not place.bus.status().connected


def test_a_bus_has_one_server(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        NatsSettings()
    with pytest.raises(ValueError, match="either"):
        NatsSettings(directory=tmp_path, servers=("nats://elsewhere",))


def test_no_secret_is_shown() -> None:
    shown = repr(Credentials(user="us", password="hunter2", token="hunter2"))
    assert "hunter2" not in shown
