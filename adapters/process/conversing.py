"""Conversations with commands: over pipes, or on a terminal of their own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from adapters.process.terminal import PIECE, Terminal
from reconcilers.alongside import alongside
from reconcilers.conversing import (
    END_OF_INPUT,
    END_TYPED,
    Command,
    Ended,
    Said,
    Size,
    Typed,
    Written,
)
from reconcilers.ports import StartFailed

_SEATED: Final = str(Path(__file__).with_name("seated.py"))
_WAITING: Final = 16  # pieces that a slow reader has not taken yet


class Place(NamedTuple):
    """Where a command runs: its folder and environment."""

    workdir: str
    env: Mapping[str, str]


async def converse(
    place: Place, command: Command, typed: AsyncIterator[Typed]
) -> AsyncGenerator[Said]:
    """As `reconcilers.ports.ReplicaIO` has it; who leaves ends the command and its group."""
    if command.terminal is None:
        conversation = _on_pipes(place, command, typed)
    else:
        conversation = _on_terminal(place, command, command.terminal, typed)
    try:
        async for piece in conversation:
            yield piece
    finally:
        await conversation.aclose()


# -- pipes ----------------------------------------------------------------------------------------


async def _on_pipes(
    place: Place, command: Command, typed: AsyncIterator[Typed]
) -> AsyncGenerator[Said]:
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    program = command.argv[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command.argv,
            env=place.env,
            cwd=place.workdir,
            stdin=pipe if command.has_input else nothing,
            stdout=pipe,
            stderr=pipe,
            start_new_session=True,
        )
    except OSError as error:
        raise StartFailed(f"command {program!r} cannot be run: {error.strerror}") from error
    said = alongside(_both(process), _feed(process.stdin, typed))
    try:
        async for piece in said:
            yield piece
        yield Ended(_code(await process.wait()))
    finally:
        await said.aclose()
        await _end(process)


async def _both(process: asyncio.subprocess.Process) -> AsyncGenerator[Said]:
    """What it writes to either stream, until it has closed both."""
    pieces: asyncio.Queue[Written | None] = asyncio.Queue(_WAITING)

    async def pump(name: str, stream: asyncio.StreamReader | None) -> None:
        while stream and (data := await stream.read(PIECE)):
            await pieces.put(Written(name, data))
        await pieces.put(None)

    both = (("stdout", process.stdout), ("stderr", process.stderr))
    pumps = [asyncio.create_task(pump(name, stream)) for name, stream in both]
    try:
        left = len(pumps)
        while left:
            piece = await pieces.get()
            if piece is None:
                left -= 1
            else:
                yield piece
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _feed(stdin: asyncio.StreamWriter | None, typed: AsyncIterator[Typed]) -> None:
    async for one in typed:
        if stdin is None or isinstance(one, Size):
            continue
        with suppress(ConnectionError):  # it does not read any more
            if one == END_OF_INPUT:
                stdin.close()
                stdin = None
            else:
                stdin.write(one)
                await stdin.drain()


# -- a terminal -----------------------------------------------------------------------------------


async def _on_terminal(
    place: Place, command: Command, size: Size, typed: AsyncIterator[Typed]
) -> AsyncGenerator[Said]:
    terminal = Terminal(size)
    try:
        process = await _seat(place, command, terminal)
        said = alongside(_shown(terminal, process), _type(terminal, command, typed))
        try:
            async for piece in said:
                yield piece
            yield Ended(_code(await process.wait()))
        finally:
            await said.aclose()
            await _end(process)
    finally:
        terminal.close()


async def _seat(place: Place, command: Command, terminal: Terminal) -> asyncio.subprocess.Process:
    """Start the command on its terminal."""
    hear, tell = os.pipe()
    program = command.argv[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _SEATED, str(tell), *command.argv),
            env={"TERM": "xterm", **place.env},
            cwd=place.workdir,
            stdin=terminal.theirs,
            stdout=terminal.theirs,
            stderr=terminal.theirs,
            pass_fds=(tell,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(hear)
        raise StartFailed(f"command {program!r} cannot be run: {error.strerror}") from error
    finally:
        os.close(tell)
        terminal.seat()
    problem = await asyncio.to_thread(_heard, hear)
    if problem:
        await process.wait()
        raise StartFailed(f"command {program!r} cannot be run: {problem}")
    return process


def _heard(hear: int) -> str:
    """What went wrong before the command ran; it ends when the command has begun."""
    with open(hear, "rb") as problem:
        return problem.read().decode()


async def _shown(terminal: Terminal, process: asyncio.subprocess.Process) -> AsyncGenerator[Said]:
    """What is written to the terminal while the command runs, and is left there at its end."""
    ended = asyncio.ensure_future(process.wait())
    try:
        while (data := terminal.read()) != b"":
            if data is not None:
                yield Written("stdout", data)
            elif ended.done():
                return  # others may keep the terminal: they are not the command
            else:
                readable = asyncio.ensure_future(terminal.readable())
                await asyncio.wait({readable, ended}, return_when=asyncio.FIRST_COMPLETED)
                readable.cancel()
                await asyncio.wait({readable})
    finally:
        ended.cancel()
        await asyncio.wait({ended})


async def _type(terminal: Terminal, command: Command, typed: AsyncIterator[Typed]) -> None:
    async for one in typed:
        if isinstance(one, Size):
            terminal.resize(one)
        elif command.has_input:
            await terminal.write(one or END_TYPED)


# -- the end --------------------------------------------------------------------------------------


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _code(returned: int) -> int:
    return returned if returned >= 0 else 128 - returned
