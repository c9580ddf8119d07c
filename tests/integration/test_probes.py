"""Probes over a real network: what passes, what does not, and what the message says."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, final, override

import pytest

from adapters.probes.network import NetworkProber
from domain.app import Check, ExecCheck, HttpCheck, TcpCheck
from reconcilers.conversing import Command, Said, Typed
from reconcilers.ports import (
    Address,
    EngineUnavailable,
    ExecResult,
    LogLine,
    ProbeResult,
    Replica,
    ReplicaIO,
    ReplicaName,
    ReplicaState,
)

Answer = Callable[[bytes], bytes | None]
HTTP = Check(http=HttpCheck(path="/healthz", port="http"), timeout="5s")
TCP = Check(tcp=TcpCheck(port="http"), timeout="5s")
EXEC = Check(exec=ExecCheck(argv=("pg_isready", "-q")), timeout="1500ms")


@final
class Commands(ReplicaIO):
    """Runs every command in the same way."""

    def __init__(self, outcome: ExecResult | Exception) -> None:
        self.outcome = outcome
        self.asked: list[tuple[tuple[str, ...], float]] = []

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        raise NotImplementedError
        yield

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        self.asked.append((tuple(argv), timeout_seconds))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        raise AssertionError("a probe holds no conversation")
        yield


NO_COMMANDS = Commands(EngineUnavailable("no commands here"))


def replica(number: int, host: str = "127.0.0.1") -> Replica:
    return Replica(
        id="1",
        name=ReplicaName("shop", "web", 1, 0, 1),
        uid=1,
        digest="d",
        position=1,
        state=ReplicaState.RUNNING,
        addresses=(Address("http", host, number),),
    )


@asynccontextmanager
async def server(answer: Answer, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Answer each connection's request; None keeps silent until the other side hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = answer(await reader.readuntil(b"\r\n\r\n"))
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(talk, host, 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def status(line: str, *headers: str) -> Answer:
    head = "\r\n".join((f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""))
    return lambda _request: head.encode()


async def probe(answer: Answer, check: Check = HTTP) -> tuple[ProbeResult, int]:
    async with server(answer) as number:
        return await NetworkProber().probe(check, replica(number), NO_COMMANDS), number


@pytest.mark.parametrize("line", ["200 OK", "204 No Content", "302 Found", "399 Odd"])
async def test_a_get_answered_200_to_399_passes(line: str) -> None:
    result, number = await probe(status(line))
    assert result == (True, f"GET /healthz on 127.0.0.1:{number} answered {line[:3]}")


@pytest.mark.parametrize("line", ["404 Not Found", "500 Oops", "503 Busy", "400 Bad"])
async def test_any_other_answer_fails_and_is_told(line: str) -> None:
    result, number = await probe(status(line))
    assert result == (False, f"GET /healthz on 127.0.0.1:{number} answered {line[:3]}")


async def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    def redirect(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"

    result, _ = await probe(redirect)
    assert result.passed
    assert len(asked) == 1


async def test_the_request_names_the_address_and_closes() -> None:
    asked: list[bytes] = []

    def remember(request: bytes) -> bytes:
        asked.append(request)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    check = Check(http=HttpCheck(path="/a b?c=ü\r\nX: y", port="http"), timeout="5s")
    _, number = await probe(remember, check)
    line, *headers = asked[0].decode().split("\r\n")
    assert line == "GET /a%20b?c=%C3%BC%0D%0AX:%20y HTTP/1.1"
    assert f"Host: 127.0.0.1:{number}" in headers
    assert "Connection: close" in headers


async def test_an_answer_that_continues_is_waited_for() -> None:
    def hints(_request: bytes) -> bytes:
        return b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    assert (await probe(hints))[0].passed


async def test_a_body_without_end_is_not_waited_for() -> None:
    assert (await probe(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n."))[0].passed


async def test_silence_fails_within_its_time() -> None:
    check = Check(http=HttpCheck(port="http"), timeout="100ms")
    async with asyncio.timeout(60):
        result, number = await probe(lambda _: None, check)
    assert result == (False, f"GET / on 127.0.0.1:{number} took longer than 100ms")


async def test_what_is_not_http_fails() -> None:
    result, _ = await probe(lambda _: b"SSH-2.0-OpenSSH\r\n\r\n")
    assert not result.passed
    assert "was not answered in HTTP" in result.message


async def test_a_head_without_end_fails() -> None:
    result, _ = await probe(lambda _: b"HTTP/1.1 200 OK\r\n" + b"X-Y: z\r\n" * 10_000)
    assert not result.passed
    assert "was not answered in HTTP" in result.message


async def test_a_connection_closed_without_an_answer_fails() -> None:
    result, _ = await probe(lambda _: b"")
    assert not result.passed


async def test_a_port_where_nobody_listens_fails_both_ways() -> None:
    with socket.socket() as bound:  # Bound, and not listening: nobody else can.
        bound.bind(("127.0.0.1", 0))
        number = bound.getsockname()[1]
        for check, asked in ((HTTP, "GET /healthz on"), (TCP, "connecting to")):
            result = await NetworkProber().probe(check, replica(number), NO_COMMANDS)
            refused = f"{asked} 127.0.0.1:{number} failed: Connect call failed"
            assert not result.passed
            assert result.message.startswith((refused, f"{asked} 127.0.0.1:{number} failed"))


async def test_a_port_that_accepts_passes_a_tcp_check() -> None:
    result, number = await probe(lambda _: None, TCP)
    assert result == (True, f"connecting to 127.0.0.1:{number} succeeded")


async def test_a_replica_without_that_port_fails() -> None:
    check = Check(tcp=TcpCheck(port="other"))
    result = await NetworkProber().probe(check, replica(1), NO_COMMANDS)
    assert result == (False, "the replica has no address for port 'other'")


async def test_an_address_of_version_6_is_asked() -> None:
    try:
        async with server(status("200 OK"), "::1") as number:
            result = await NetworkProber().probe(HTTP, replica(number, "::1"), NO_COMMANDS)
    except OSError as error:
        pytest.skip(f"this host has no IPv6 loopback: {error}")
    assert result.passed, result.message


@pytest.mark.parametrize(
    ("outcome", "passed", "message"),
    [
        (ExecResult(0, b"", b""), True, "command 'pg_isready -q' exited with 0"),
        (ExecResult(2, b"", b""), False, "command 'pg_isready -q' exited with 2"),
        (TimeoutError(), False, "command 'pg_isready -q' took longer than 1500ms"),
        (
            EngineUnavailable("the engine is away"),
            False,
            "command 'pg_isready -q' did not run: the engine is away",
        ),
    ],
    ids=["zero", "not zero", "too long", "away"],
)
async def test_a_command_passes_when_it_exits_with_0(
    outcome: Any, passed: Any, message: str
) -> None:
    commands = Commands(outcome)
    result = await NetworkProber().probe(EXEC, replica(1), commands)
    assert result == (passed, message)
    assert commands.asked == [(("pg_isready", "-q"), 1.5)]


async def test_many_probes_at_once_leave_no_socket_open() -> None:
    probes: list[Awaitable[ProbeResult]] = []
    async with server(status("200 OK")) as number:
        probes = [NetworkProber().probe(HTTP, replica(number), NO_COMMANDS) for _ in range(200)]
        results = await asyncio.gather(*probes)
    assert all(result.passed for result in results)
