"""Looking into a container: its log, and commands run beside its own.

The daemon cannot end a command that it runs beside the container's own. One that exceeds its time
is killed where its process can be seen from here, and else left to the end of the container.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final, override

import msgspec
from docker.errors import APIError, NotFound

from adapters.docker.connection import ANSWER_TIMEOUT, Connection, sentence, url
from adapters.docker.conversing import Conversation
from adapters.docker.feed import Feed
from adapters.docker.output import Assembly, Output, collect
from reconcilers.conversing import Command, Ended, Said, Typed
from reconcilers.ports import EngineError, ExecResult, LogLine, Replica, ReplicaIO, StartFailed

# where a command cannot be run, the daemon says so in its place
_REFUSED, _REFUSAL = {126, 127}, b"OCI runtime exec failed"


class _Command(msgspec.Struct, rename="pascal"):
    exit_code: int | None = None
    pid: int = 0


@final
class DockerIO(ReplicaIO):
    def __init__(self, connection: Connection) -> None:
        self._docker = connection

    @override
    async def logs(
        self, replica: Replica, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncGenerator[LogLine]:
        asked: dict[str, str | int] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if tail is None else tail,
        }
        if since is not None:
            asked["since"] = f"{since:.9f}"
        feed = Feed(lambda: self._read_log(replica.id, asked))
        lines = Assembly()
        try:
            async for frame in feed:
                if (line := lines.add(frame)) is not None:
                    yield line
            for line in lines.rest():
                yield line
        except NotFound:
            return  # it is gone, and its log with it
        except APIError as error:
            raise EngineError(f"the log cannot be read: {sentence(error)}") from error
        finally:
            feed.close()

    @override
    async def run(
        self, replica: Replica, argv: Sequence[str], *, timeout_seconds: float
    ) -> ExecResult:
        try:
            return await self._run(replica.id, argv, timeout_seconds)
        except APIError as error:
            raise StartFailed(f"{argv[0]} cannot be run: {sentence(error)}") from error

    @override
    async def converse(
        self, replica: Replica, command: Command, typed: AsyncIterator[Typed]
    ) -> AsyncGenerator[Said]:
        program = command.argv[0]
        conversation = Conversation(self._docker, replica.id, command)
        said = conversation.held(typed)
        try:
            async for piece in said:
                yield piece
            yield Ended(await self._ended(conversation, program))
        except APIError as error:
            raise StartFailed(f"{program} cannot be run: {sentence(error)}") from error
        finally:
            await said.aclose()
            if conversation.goes_on:
                await self._kill(conversation.id, replica.id)

    async def _ended(self, conversation: Conversation, program: str) -> int:
        return _checked(program, await self._inspect(conversation.id), conversation.first)

    async def _run(self, container: str, argv: Sequence[str], timeout_seconds: float) -> ExecResult:
        command = await self._docker.call(
            lambda client: str(client.exec_create(container, list(argv))["Id"])
        )
        feed = Feed(lambda: self._start_command(command))
        try:
            async with asyncio.timeout(timeout_seconds):
                output = await collect(feed)
        except TimeoutError:
            await self._kill(command, container)
            raise
        finally:
            feed.close()
        exit_code = _checked(argv[0], await self._inspect(command), output["stdout"])
        return ExecResult(exit_code, output["stdout"], output["stderr"])

    async def _inspect(self, command: str) -> _Command:
        return await self._docker.get(_Command, f"/exec/{command}/json")

    async def _kill(self, command: str, container: str) -> None:
        with suppress(APIError, EngineError):
            pid = (await self._inspect(command)).pid
            if pid > 0 and sys.platform == "linux":
                await asyncio.to_thread(_kill_in, container, pid)

    def _read_log(self, container: str, asked: dict[str, str | int]) -> Output:
        with self._docker.connected() as client:
            where = url(client, f"/containers/{container}/logs")
            answer = client.get(where, params=asked, stream=True, timeout=(ANSWER_TIMEOUT, None))
            return Output(self._docker, answer)

    def _start_command(self, command: str) -> Output:
        with self._docker.connected() as client:
            where = url(client, f"/exec/{command}/start")
            how = {"Detach": False, "Tty": False}
            answer = client.post(where, json=how, stream=True, timeout=(ANSWER_TIMEOUT, None))
            return Output(self._docker, answer)


def _checked(program: str, command: _Command, output: bytes) -> int:
    """The exit code of a command that ran. Raises: StartFailed, of one that did not."""
    if command.exit_code is None:
        raise StartFailed(f"{program} has no end: the replica ended first")
    if command.exit_code in _REFUSED and output.startswith(_REFUSAL):
        said = output.decode(errors="replace").strip()
        raise StartFailed(f"{program} cannot be run: {said}")
    return command.exit_code


def _kill_in(container: str, pid: int) -> None:
    """Kill a process that is seen to be in the container: to a remote daemon it is another."""
    with suppress(OSError):
        handle = os.pidfd_open(pid)
        try:
            if container in Path(f"/proc/{pid}/cgroup").read_text():
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        finally:
            os.close(handle)
