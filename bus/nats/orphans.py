"""Servers that outlived who started them: found by their pid file, ended only if they are ours.

A pid is reused sooner or later. Ours is a process that runs a program called nats-server with our
configuration file as its argument; anything else is left alone.
"""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

PROGRAM: Final = "nats-server"


def find(pid_file: Path, config: Path) -> int | None:
    """The pid of a running server of ours, or None."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return None
    return pid if pid > 1 and _is_ours(Path("/proc") / str(pid), config) else None


def _is_ours(process: Path, config: Path) -> bool:
    try:
        # A program that was replaced since reads "/…/nats-server (deleted)".
        program = (process / "exe").readlink().name.removesuffix(" (deleted)")
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return program == PROGRAM and os.fsencode(config) in arguments


async def end(pid: int, seconds: float) -> bool:
    """End a process that is not our child: first asked, then killed. False if it stays."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if await _ended(handle, seconds):
                return True
        return False
    finally:
        os.close(handle)


async def _ended(handle: int, seconds: float) -> bool:
    """Wait until the process of a pidfd has ended, which makes the pidfd readable."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(handle)
    return True
