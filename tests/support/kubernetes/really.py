"""Commands under `exec` that really run, on this machine: over pipes or on a terminal, as asked."""

import asyncio
import fcntl
import os
import struct
import sys
import termios
from contextlib import suppress
from typing import IO, Any

from tests.support.kubernetes.pods import Session

_SIT = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


async def really(session: Session) -> int:
    """Run the command that was asked for. A scripted command, for `Pods.commands`."""
    query = session.http.query
    has_input = query.get("stdin") == "true"
    if query.get("tty") == "true":
        return await _on_terminal(session, has_input=has_input)
    return await _on_pipes(session, has_input=has_input)


async def _on_pipes(session: Session, *, has_input: bool) -> int:
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *session.arguments, stdin=pipe if has_input else nothing, stdout=pipe, stderr=pipe
    )
    assert process.stdout is not None, "it has a pipe"
    assert process.stderr is not None, "it has a pipe"

    async def pump(stream: asyncio.StreamReader, tell: Any) -> None:
        while data := await stream.read(65536):
            await tell(data)

    async def feed() -> None:
        with suppress(ConnectionError):
            while process.stdin is not None and (data := await session.input.get()) is not None:
                process.stdin.write(data)
                await process.stdin.drain()
        if process.stdin is not None:
            process.stdin.close()

    feeding = asyncio.create_task(feed())
    try:
        out, err = pump(process.stdout, session.out), pump(process.stderr, session.err)
        await asyncio.gather(out, err)
        return await process.wait()
    finally:
        await _end(process, feeding)


async def _on_terminal(session: Session, *, has_input: bool) -> int:
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _SIT, *session.arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)

    async def resize() -> None:
        while True:
            columns, rows = await session.sizes.get()
            fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    async def feed() -> None:
        while has_input and (data := await session.input.get()) is not None:
            await asyncio.to_thread(os.write, ours, data)

    tasks = [asyncio.create_task(resize()), asyncio.create_task(feed())]
    try:
        with os.fdopen(os.dup(ours), "rb", buffering=0) as screen:
            while data := await asyncio.to_thread(_shown, screen):
                await session.out(data)
        return await process.wait()
    finally:
        await _end(process, *tasks)
        os.close(ours)


def _shown(screen: IO[bytes]) -> bytes:
    try:
        return screen.read(65536)
    except OSError:  # nobody has the other end any more
        return b""


async def _end(process: asyncio.subprocess.Process, *tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if process.returncode is None:
        process.kill()
        await process.wait()
