"""Looking into a process: its logs, and commands run beside it in its folder and environment."""

import asyncio
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import final, override

from adapters.keeping.client import KeeperClient
from adapters.process.conversing import Place, converse
from adapters.process.reading import LogFiles
from adapters.process.slots import Slots
from reconcilers.conversing import Command, Said, Typed
from reconcilers.ports import (
    ExecResult,
    LogLine,
    Replica,
    ReplicaIO,
    ReplicaState,
    StartFailed,
)

_FOLLOW_SECONDS = 0.2  # between looks at a log that is followed
_OUTPUT_BYTES = 2**20  # of each stream of a command; what it writes beyond is read and dropped


@final
class ProcessIO(ReplicaIO):
    def __init__(self, slots: Slots, keeper: KeeperClient) -> None:
        self._slots = slots
        self._keeper = keeper

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        slot = await asyncio.to_thread(self._slots.find, replica.name)
        if slot is None:
            return
        try:
            files = await asyncio.to_thread(LogFiles, slot.path)
        except FileNotFoundError:
            return
        try:
            async for line in self._lines(files, replica, tail, since, follow=follow):
                if since is None or line.at >= since:
                    yield line
        finally:
            files.close()

    async def _lines(
        self,
        files: LogFiles,
        replica: Replica,
        tail: int | None,
        since: float | None,
        *,
        follow: bool,
    ) -> AsyncIterator[LogLine]:
        if since is not None:
            await asyncio.to_thread(files.skip_until, since)
        if tail is not None:
            for stream in files.streams:
                await asyncio.to_thread(stream.seek_tail, tail)
            last: deque[LogLine] = deque(maxlen=tail)
            while lines := await asyncio.to_thread(files.next_lines, finish=not follow):
                last.extend(lines)
            for line in last:
                yield line
        while True:
            # Asked before reading: what is written until the end is read after it.
            goes_on = follow and await self._runs(replica)
            while lines := await asyncio.to_thread(files.next_lines, finish=not goes_on):
                for line in lines:
                    yield line
            if not goes_on:
                return
            await asyncio.sleep(_FOLLOW_SECONDS)

    async def _runs(self, replica: Replica) -> bool:
        slot = await asyncio.to_thread(self._slots.find, replica.name)
        return slot is not None and slot.replica.state is ReplicaState.RUNNING

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        place = await self._place(replica)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=place.env,
                cwd=place.workdir,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise StartFailed(f"command {argv[0]!r} cannot be run: {error.strerror}") from error
        return await _result(process, timeout_seconds)

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        async with aclosing(converse(await self._place(replica), command, typed)) as said:
            async for piece in said:
                yield piece

    async def _place(self, replica: Replica) -> Place:
        """Raises: StartFailed, when nothing can run there."""
        slot = await asyncio.to_thread(self._slots.find, replica.name)
        if slot is None or slot.replica.state is not ReplicaState.RUNNING:
            raise StartFailed(f"{replica.name} does not run, so nothing runs beside it")
        answer = await self._keeper.ask("environ", path=slot.path)
        if answer.get("gone"):
            raise StartFailed(f"{replica.name} has just ended, so nothing runs beside it")
        return Place(slot.filed.workdir, answer["env"])


async def _result(process: asyncio.subprocess.Process, timeout_seconds: float) -> ExecResult:
    """Wait for a command and all it writes; whatever ends the wait ends the command."""
    try:
        async with asyncio.timeout(timeout_seconds):
            stdout, stderr, code = await asyncio.gather(
                _read(process.stdout), _read(process.stderr), process.wait()
            )
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return ExecResult(code if code >= 0 else 128 - code, stdout, stderr)


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    text = b""
    while stream and (chunk := await stream.read(65536)):
        text += chunk[: _OUTPUT_BYTES - len(text)]
    return text
