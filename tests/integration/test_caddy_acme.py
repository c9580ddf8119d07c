"""Automatic certificates: from a real ACME server, which is another Caddy on loopback."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from domain.routing import Acme, Entries, Routing
from domain.target import TargetSpec
from projections.route_table import Tls
from reconcilers.router_ports import Certified, OpenedRouter
from stateward.routers import Routers
from tests.contracts.router_world import PATIENCE, row, table
from tests.support.caddies import free_port
from tests.support.intents import NOON, Desk

pytestmark = pytest.mark.needs("caddy", "root")

HOST = "localhost"  # the one name that leads the directory back to this host
HTTP, HTTPS = "127.0.0.1:80", "127.0.0.1:443"  # where a directory comes to see whose host it is
AUTOMATIC = row(HOST, scheme="https", tls=Tls(mode="auto"))


@asynccontextmanager
async def directory(folder: Path) -> AsyncIterator[tuple[str, str]]:
    """An ACME server: its URL, and the certificate that it is to be trusted by."""
    folder.mkdir()
    port = free_port()
    file = folder / "directory.json"
    file.write_text(json.dumps(_serving_acme(port, folder)))
    program = await asyncio.create_subprocess_exec(
        "caddy",
        "run",
        "--config",
        str(file),
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    root = folder / "storage" / "pki" / "authorities" / "local" / "root.crt"
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError, ssl.SSLError):
                    trust = ssl.create_default_context(cafile=root)
                    _, writer = await asyncio.open_connection(HOST, port, ssl=trust)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
        yield f"https://{HOST}:{port}/acme/local/directory", root.read_text()
    finally:
        program.terminate()
        await program.wait()


def _serving_acme(port: int, folder: Path) -> dict[str, Any]:
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "automatic_https": {"disable": True},
        "tls_connection_policies": [{}],
        "routes": [{"handle": [{"handler": "acme_server"}]}],
    }
    own = {"subjects": [HOST], "issuers": [{"module": "internal"}]}
    return {
        "admin": {"disabled": True},
        "storage": {"module": "file_system", "root": str(folder / "storage")},
        "apps": {
            "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            "http": {"servers": {"acme": server}},
            "tls": {"certificates": {"automate": [HOST]}, "automation": {"policies": [own]}},
        },
    }


@asynccontextmanager
async def caddy(root: Path, acme: Acme, http: str, https: str) -> AsyncIterator[OpenedRouter]:
    """The router of a target whose operator named this directory."""
    desk = Desk()
    entries = Entries(http=http, https=https)
    routing = Routing(router="caddy", acme=acme, entries=entries)
    routers = Routers(root, desk.log, desk.secrets, now=lambda: NOON)
    opened = await routers("local", TargetSpec(engine="process", routing=routing))
    try:
        yield opened
    finally:
        await opened.router.stop()  # type: ignore[attr-defined]  # as Caddy has it


async def until_told(opened: OpenedRouter, wanted: str) -> Certified:
    """What is told of the host, once that has a value under this name."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await opened.router.certified([HOST])).get(HOST, Certified())
            if getattr(found, wanted):
                return found
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("challenge", ["http", "tls-alpn"])
async def test_a_certificate_comes_from_the_directory_that_the_operator_named(
    tmp_path: Path, challenge: Literal["http", "tls-alpn"]
) -> None:
    is_http = challenge == "http"
    need_port(80 if is_http else 443)
    other = f"127.0.0.1:{free_port()}"
    entries = (HTTP, other) if is_http else (other, HTTPS)
    async with directory(tmp_path / "acme") as (url, trust):
        acme = Acme(directory=url, email="ops@shop.test", trust=trust, challenges=(challenge,))
        async with caddy(tmp_path, acme, *entries) as opened:
            await opened.router.apply(table(AUTOMATIC))
            found = await until_told(opened, "not_after")
    assert found.not_after > found.not_before
    assert not found.trouble


async def test_a_request_that_fails_is_told_with_what_the_directory_said(tmp_path: Path) -> None:
    acme = Acme(directory=f"https://{HOST}:{free_port()}/directory")
    entries = (f"127.0.0.1:{free_port()}" for _ in range(2))
    async with caddy(tmp_path, acme, *entries) as opened:
        await opened.router.apply(table(AUTOMATIC))
        found = await until_told(opened, "trouble")
    assert "connection refused" in found.trouble
    assert found.not_after == 0


def need_port(number: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", number))
        except OSError as error:
            pytest.skip(f"an ACME server comes to port {number}, not to be had here: {error}")
