"""A conversation with a simulated command: that of the contract suite, which answers each line."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from reconcilers.conversing import (
    END_OF_INPUT,
    Command,
    Ended,
    Said,
    Size,
    Typed,
    Written,
    nothing_typed,
)


async def converse(command: Command, typed: AsyncIterator[Typed]) -> AsyncGenerator[Said]:
    """What the command says, and what its terminal, if it has one, repeats of what is typed."""
    size, rest = command.terminal, b""
    reads = command.has_input or size is not None
    async for one in typed if reads else nothing_typed():
        if isinstance(one, Size):
            size = one
            continue
        if not command.has_input:
            continue
        if one == END_OF_INPUT:
            break
        *lines, rest = (rest + one).split(b"\n")
        for line in lines:
            if line.startswith(b"leave "):
                yield Ended(int(line[6:]))
                return
            yield _answered(line, size)
    else:
        if reads:
            await asyncio.Event().wait()
    yield Written("stdout", b"no more" + (b"\r\n" if size else b"\n"))
    yield Ended(7)


def _answered(line: bytes, size: Size | None) -> Written:
    stream, said = "stdout", line
    match line.split():
        case [b"size"] if size is not None:
            said = b"%d %d" % size
        case [b"seats"]:
            said = b"0 0 0" if size is None else b"1 1 1"
        case [b"complain", text]:
            stream, said = "stderr", text
        case _:
            pass
    if size is None:
        return Written(stream, said + b"\n")
    return Written("stdout", line + b"\r\n" + said + b"\r\n")
