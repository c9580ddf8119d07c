"""A conversation with a command in a pod, over the channels of one WebSocket.

Of the protocol's versions, v5 alone can say that input has ended (Kubernetes 1.30 and later).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

import aiohttp

from reconcilers.alongside import alongside
from reconcilers.conversing import (
    END_OF_INPUT,
    END_TYPED,
    Command,
    Said,
    Size,
    Typed,
    Written,
)
from reconcilers.ports import EngineError

PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255  # channels of a command
_STREAMS: Final = {STDOUT: "stdout", STDERR: "stderr"}
_PIECE: Final = 16384  # bytes of input in one message: old servers have small buffers


def query(container: str, command: Command) -> Sequence[tuple[str, str]]:
    """How a command is asked for; a terminal has one stream for all that is written to it."""
    asked = [("container", container), ("stdout", "true")]
    asked.append(("stderr", "true") if command.terminal is None else ("tty", "true"))
    if command.has_input:
        asked.append(("stdin", "true"))
    return [*asked, *(("command", word) for word in command.argv)]


async def held(
    socket: aiohttp.ClientWebSocketResponse,
    command: Command,
    typed: AsyncIterator[Typed],
    status: bytearray,
) -> AsyncGenerator[Said]:
    """What is said until the command has ended; `status` is what the cluster then says of it."""
    said = alongside(_heard(socket, status), _type(socket, command, typed))
    try:
        async for piece in said:
            yield piece
    finally:
        await said.aclose()


async def _heard(
    socket: aiohttp.ClientWebSocketResponse, status: bytearray
) -> AsyncGenerator[Said]:
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < 2:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STATUS:
            status += data
        elif channel in _STREAMS:
            yield Written(_STREAMS[channel], data)


async def _type(
    socket: aiohttp.ClientWebSocketResponse, command: Command, typed: AsyncIterator[Typed]
) -> None:
    try:
        if command.terminal is not None:
            await _resize(socket, command.terminal)
        async for one in typed:
            if isinstance(one, Size):
                await _resize(socket, one)
            elif command.has_input:
                await _send(socket, one, on_terminal=command.terminal is not None)
    except (aiohttp.ClientError, ConnectionError):
        return  # it has ended, as is about to be heard


async def _resize(socket: aiohttp.ClientWebSocketResponse, size: Size) -> None:
    told = {"Width": size.columns, "Height": size.rows}
    await socket.send_bytes(bytes([RESIZE]) + json.dumps(told).encode())


async def _send(socket: aiohttp.ClientWebSocketResponse, data: bytes, *, on_terminal: bool) -> None:
    if data == END_OF_INPUT and not on_terminal:
        if socket.protocol != PROTOCOLS[0]:
            raise EngineError(
                "the cluster cannot be told that the input has ended: it speaks "
                f"{socket.protocol}, and {PROTOCOLS[0]} is needed (Kubernetes 1.30)"
            )
        await socket.send_bytes(bytes([CLOSE, STDIN]))
        return
    data = data or END_TYPED
    for at in range(0, len(data), _PIECE):
        await socket.send_bytes(bytes([STDIN]) + data[at : at + _PIECE])
