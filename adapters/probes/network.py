"""Checks over the network, or by a command beside the replica.

One probe is one short connection of its own: no pool, no proxy, no redirect. It ends within the
check's timeout whatever the other side does, and reads no more of an answer than says how it went.
"""

import asyncio
import socket
from errno import ECONNRESET
from functools import lru_cache
from typing import final, override

import h11

from domain.app import Check
from domain.quantities import seconds
from reconcilers.ports import (
    Address,
    EngineError,
    Prober,
    ProbeResult,
    Replica,
    ReplicaIO,
)

_HEAD_BYTES = 16 * 1024  # of an answer's head; a program that sends more is not well
_HEARD = 100  # characters of a command's words in a message


@final
class NetworkProber(Prober):
    """Asks replicas at their addresses. `successful` HTTP answers are 200 to 399."""

    @override
    async def probe(self, check: Check, replica: Replica, io: ReplicaIO) -> ProbeResult:
        if check.exec:
            return await _exec(check.exec.argv, check.timeout, replica, io)
        address = next((a for a in replica.addresses if a.port == check.port), None)
        if address is None:
            return _failed(f"the replica has no address for port {check.port!r}")
        where = f"{address.host}:{address.number}"
        asked = f"GET {check.http.path} on {where}" if check.http else f"connecting to {where}"
        try:
            async with asyncio.timeout(seconds(check.timeout)):
                status = await _ask(address, check.http.path if check.http else None)
        except (OSError, h11.RemoteProtocolError) as error:
            return _failed(f"{asked} {_what_happened(error, check.timeout)}")
        if status is None:
            return ProbeResult(passed=True, message=f"{asked} succeeded")
        return ProbeResult(200 <= status <= 399, f"{asked} answered {status}")


async def _ask(address: Address, path: str | None) -> int | None:
    """Connect; with a path, GET it and return the status, without waiting for the body.

    Plain sockets: asyncio's streams make a probe a third dearer.

    Raises:
        h11.RemoteProtocolError: the answer is not HTTP, or its head is too long.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as connection:
        await loop.sock_connect(connection, (address.host, address.number))
        if path is None:
            return None
        talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        request = talk.send(_request(address.host, address.number, path))
        await loop.sock_sendall(connection, request or b"")
        while True:
            talk.receive_data(await loop.sock_recv(connection, _HEAD_BYTES))
            event = talk.next_event()
            while isinstance(event, h11.InformationalResponse):
                event = talk.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError(ECONNRESET, "closed without an answer")


@lru_cache(maxsize=16384)
def _request(host: str, number: int, path: str) -> h11.Request:
    """A GET. Kept, because making and checking it costs a third of a probe."""
    return h11.Request(
        method="GET",
        target=_target(path),
        headers=[
            ("Host", f"[{host}]:{number}" if ":" in host else f"{host}:{number}"),
            ("User-Agent", "stateward-probe"),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ],
    )


def _target(path: str) -> bytes:
    """The path as it goes over the wire: what may not stand there is escaped."""
    return b"".join(
        bytes([byte]) if 0x21 <= byte <= 0x7E else b"%%%02X" % byte for byte in path.encode()
    )


async def _exec(argv: tuple[str, ...], limit: str, replica: Replica, io: ReplicaIO) -> ProbeResult:
    asked = f"command {' '.join(argv)[:_HEARD]!r}"
    try:
        result = await io.run(replica, argv, timeout_seconds=seconds(limit))
    except TimeoutError:
        return _failed(f"{asked} took longer than {limit}")
    except EngineError as error:
        return _failed(f"{asked} did not run: {error}")
    return ProbeResult(result.exit_code == 0, f"{asked} exited with {result.exit_code}")


def _what_happened(error: OSError | h11.RemoteProtocolError, limit: str) -> str:
    match error:
        case TimeoutError():
            return f"took longer than {limit}"
        case OSError():
            return f"failed: {error.strerror or error}"
        case h11.RemoteProtocolError():
            return f"was not answered in HTTP: {error}"


def _failed(message: str) -> ProbeResult:
    return ProbeResult(passed=False, message=message)
