"""Conversations with commands over a WebSocket."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.server import Serving, serve
from tests.support import program
from tests.support.gateway import House, app_manifest

WEB = "/api/v1/projects/shop/apps/web"
CONVERSE = [sys.executable, "-I", "-S", str(program.__file__), "converse"]
PATIENCE = 60.0


@pytest.fixture
async def serving(house: House) -> AsyncIterator[Serving]:
    async with house.client() as admin:
        assert (await admin.put(WEB, json=app_manifest())).status_code == 201
    async with serve(house.app, "127.0.0.1", 0, closing=house.services.closing) as found:
        yield found


@asynccontextmanager
async def talking(
    serving: Serving, token: str, first: Any = None, path: str = f"{WEB}/exec"
) -> AsyncIterator[ClientConnection]:
    """A conversation that has begun; without `first`, a connection alone."""
    url = f"ws://127.0.0.1:{serving.port}{path}"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(PATIENCE),
        connect(url, additional_headers=headers, proxy=None, compression=None) as socket,
    ):
        if first is not None:
            await socket.send(json.dumps(first))
            assert json.loads(await socket.recv())["replica"].endswith("shop.web.r1.0.1")
        yield socket


async def rest(socket: ClientConnection) -> tuple[dict[int, bytes], Any, int]:
    """What was written, the last message, and the code that the connection was closed with."""
    written: dict[int, bytes] = {1: b"", 2: b""}
    last: Any = None
    try:
        async for message in socket:
            if isinstance(message, bytes):
                written[message[0]] += message[1:]
            else:
                last = json.loads(message)
    except ConnectionClosed:
        pass
    await socket.wait_closed()
    return written, last, socket.close_code or 0


async def test_both_streams_and_the_code_are_told(house: House, serving: Serving) -> None:
    async with talking(serving, house.admin, {"argv": CONVERSE, "input": True}) as socket:
        for typed in (b"hello\n", b"complain loudly\n", b""):
            await socket.send(typed)
        found = await rest(socket)
    assert found == ({1: b"hello\nno more\n", 2: b"loudly\n"}, {"exitCode": 7}, 1000)


async def test_a_terminal_is_resized(house: House, serving: Serving) -> None:
    first = {"argv": CONVERSE, "input": True, "terminal": {"columns": 81, "rows": 25}}
    async with talking(serving, house.admin, first) as socket:
        await socket.send(b"size\n")
        await socket.send(json.dumps({"columns": 99, "rows": 33}))
        for typed in (b"size\n", b"leave 5\n"):
            await socket.send(typed)
        written, last, _ = await rest(socket)
    assert last == {"exitCode": 5}
    assert b"99 33\r\n" in written[1]


async def test_without_input_there_is_an_end_at_once(house: House, serving: Serving) -> None:
    async with talking(serving, house.admin, {"argv": CONVERSE}) as socket:
        assert await rest(socket) == ({1: b"no more\n", 2: b""}, {"exitCode": 7}, 1000)


@pytest.mark.parametrize(
    ("first", "code", "path"),
    [
        ({"argv": []}, "BadValue", "message.argv"),
        ({"argv": ["a"], "terminal": {"columns": 0, "rows": 1}}, "BadValue", "message.terminal"),
        ({"argv": ["a"], "tty": True}, "BadValue", "message.tty"),
        ({"argv": ["/no/such/program"]}, "NotPossible", ""),
        ({"argv": ["a"], "replica": "9"}, "BadValue", "replica"),
    ],
    ids=["no command", "no columns", "unknown", "no program", "no replica"],
)
async def test_what_cannot_be_done_is_a_problem(
    house: House, serving: Serving, first: Any, code: str, path: str
) -> None:
    async with talking(serving, house.admin) as socket:
        await socket.send(json.dumps(first))
        _, last, closed = await rest(socket)
    assert (last["problem"]["code"], closed) == (code, 1008)
    assert last["problem"].get("path", "").startswith(path)


async def test_an_engine_that_is_gone_is_a_problem(house: House, serving: Serving) -> None:
    house.replicas = None
    async with talking(serving, house.admin) as socket:
        await socket.send(json.dumps({"argv": ["true"]}))
        _, last, closed = await rest(socket)
    assert (last["problem"]["code"], closed) == ("EngineUnavailable", 1011)


async def test_a_size_that_is_none_is_a_problem(house: House, serving: Serving) -> None:
    async with talking(serving, house.admin, {"argv": CONVERSE, "input": True}) as socket:
        await socket.send("wide")
        _, last, closed = await rest(socket)
    assert (last["problem"]["code"], closed) == ("BadValue", 1008)


@pytest.mark.parametrize(
    ("token", "path", "status", "code"),
    [
        ("wrong", f"{WEB}/exec", 401, "Unauthenticated"),
        ("viewer", f"{WEB}/exec", 403, "Forbidden"),
        ("admin", "/api/v1/projects/shop/apps/none/exec", 404, "NotFound"),
        ("admin", "/api/v1/projects/shop/apps/No_Name/exec", 422, "BadValue"),
    ],
)
async def test_who_may_not_is_refused_before_it_is_a_websocket(
    house: House, serving: Serving, token: str, path: str, status: int, code: str
) -> None:
    tokens = {"viewer": house.token("vi", "viewer"), "admin": house.admin}
    with pytest.raises(InvalidStatus) as refused:
        async with talking(serving, tokens.get(token, token), path=path):
            pass
    answer = refused.value.response
    assert (answer.status_code, json.loads(answer.body or b"")["code"]) == (status, code)


async def test_a_host_that_is_not_local_is_refused(house: House, serving: Serving) -> None:
    upgrade = {
        "Host": "evil.example",
        "Authorization": f"Bearer {house.admin}",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with httpx.AsyncClient() as asking:
        answer = await asking.get(f"{serving.url}{WEB}/exec", headers=upgrade)
    assert (answer.status_code, answer.json()["code"]) == (421, "WrongHost")


async def test_who_leaves_ends_the_command(house: House, serving: Serving) -> None:
    argv = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(99)"]
    async with talking(serving, house.admin, {"argv": argv}) as socket:
        told = await socket.recv()
        assert isinstance(told, bytes)
        pid = int(told[1:])
    async with asyncio.timeout(PATIENCE):
        while _runs(pid):
            await asyncio.sleep(0.02)


async def test_a_server_that_stops_ends_it_and_says_so(house: House, serving: Serving) -> None:
    async with talking(serving, house.admin, {"argv": CONVERSE, "input": True}) as socket:
        house.services.closing.set()
        _, last, closed = await rest(socket)
    assert (last, closed) == (None, 1012)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
