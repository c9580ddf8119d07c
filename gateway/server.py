"""The HTTP server: uvicorn, bound by us, stopped by us, without its own signals and logs.

Whoever assembles the process owns the signals; leaving `serve` stops accepting, ends streams,
lets answers finish for a while, and returns.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, final, override

import psutil
import uvicorn
from fastapi import FastAPI

BACKLOG: Final = 2048
DRAIN_SECONDS: Final = 5
MAX_MESSAGE: Final = 256 << 10  # bytes that are typed at once


class AddressInUse(Exception):
    """Something else listens on the address that the API should have."""

    def __init__(self, host: str, port: int, owner: str) -> None:
        super().__init__(
            f"{host}:{port} is already in use by {owner}; stop it, or take another port "
            "with `--listen HOST:PORT`"
        )
        self.host, self.port, self.owner = host, port, owner


class AddressUnusable(Exception):
    """The address cannot be bound: it is not of this host, or the port needs more rights."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that answers. `ended` completes when it does, with the error if it broke."""

    host: str
    port: int
    ended: asyncio.Future[None]

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@final
class _Quiet(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serve(
    app: FastAPI,
    host: str,
    port: int,
    *,
    closing: asyncio.Event,
    drain_seconds: int = DRAIN_SECONDS,
) -> AsyncIterator[Serving]:
    """Answer on `host` and `port` (0: a free one) while the context lasts.

    Args:
        app: what answers.
        host: an address or name of this host.
        port: 0 for any that is free; `Serving.port` tells which.
        closing: the one of the app's `Services`, set when this ends, so that streams end.
        drain_seconds: how long answers may take to finish at the end.

    Raises:
        AddressInUse: the message says by whom, as far as it can be seen.
        AddressUnusable: the address cannot be had at all.
    """
    listener = _listener(host, port)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE,
        ws_per_message_deflate=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
    )
    server = _Quiet(config)
    running = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
    try:
        while not server.started and not running.done():  # noqa: ASYNC110 -- uvicorn has no event
            await asyncio.sleep(0.005)
        if running.done():
            await running
        bound = listener.getsockname()
        yield Serving(bound[0], bound[1], running)
    finally:
        closing.set()
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await running
        listener.close()


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a WebSocket was refused: for uvicorn an error, and the edge has told it."""
    return record.getMessage() != "ASGI callable returned without completing handshake."


def _listener(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise AddressUnusable(f"{host}:{port} cannot be listened on: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(host, port, _owner(port)) from error
        raise AddressUnusable(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return listener


def _owner(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            local = connection.laddr
            if local and local.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another process"
