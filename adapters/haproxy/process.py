"""The HAProxy program: checked, started, loaded again, and found again by a later control plane.

It runs as a daemon of its own, master and worker, so that it outlives us: a dead control plane
stops no traffic. Its pid file says which process it is; a process counts as ours only if it was
started for this directory.
"""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.haproxy.settings import BACKENDS, CONFIGURATION, PID, HAProxySettings
from reconcilers.router_ports import RouterRefused, RouterUnavailable

_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 3.0


class HAProxyProcess:
    """At most one HAProxy of a directory."""

    def __init__(self, settings: HAProxySettings) -> None:
        self._settings = settings
        self._pid_file = settings.directory / PID

    @property
    def pid(self) -> int | None:
        """The master process, while it lives."""
        try:
            pid = int(self._pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._settings.directory) in arguments else None

    async def check(self, configuration: str, backends: str) -> None:
        """Let HAProxy read a configuration without serving it.

        Raises:
            RouterRefused: it does not accept it; says why.
            RouterUnavailable: there is no HAProxy.
        """
        code, said = await self._run("-c", "-f", configuration, "-f", backends)
        if code != 0:
            raise RouterRefused(f"HAProxy does not accept its configuration: {_alerts(said)}")

    async def start(self) -> None:
        """Start it as its files say.

        Raises:
            RouterUnavailable: it does not come up; says why.
        """
        self._pid_file.unlink(missing_ok=True)
        files = ("-f", CONFIGURATION, "-f", BACKENDS)
        code, said = await self._run("-W", "-D", "-p", str(self._pid_file), *files)
        if code != 0:
            raise RouterUnavailable(f"HAProxy does not start: {_alerts(said)}")
        try:
            async with asyncio.timeout(_START_SECONDS):
                while self.pid is None:
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise RouterUnavailable("HAProxy started, but does not say as which process") from error

    async def _run(self, *arguments: str) -> tuple[int, str]:
        program, directory = str(self._settings.program), str(self._settings.directory)
        try:
            process = await asyncio.create_subprocess_exec(
                *(program, "-C", directory, *arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={},
                cwd="/",
            )
        except OSError as error:
            raise RouterUnavailable(
                f"{program!r} cannot be run: {error.strerror}; install HAProxy 2.6 or newer "
                "(apt-get install haproxy), or choose another router"
            ) from error
        try:
            async with asyncio.timeout(_START_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise RouterUnavailable(f"HAProxy takes longer than {_START_SECONDS:.0f} s") from error
        return process.returncode or 0, said.decode(errors="replace")

    def load_again(self) -> None:
        """Ask for a new worker with the files as they are; the former one ends its requests."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR2)

    async def ended(self) -> None:
        """Wait until it lives no longer."""
        while (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                await _end_of(pid)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End it, with all that it serves."""
        while (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await _end_of(pid)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


async def _end_of(pid: int) -> None:
    """Wait until a process, child or not, has ended."""
    descriptor = os.pidfd_open(pid)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    try:
        loop.add_reader(descriptor, end)
        await ended
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _alerts(said: str) -> str:
    """What HAProxy complains about, without its greeting."""
    lines = [line.strip() for line in said.splitlines() if line.startswith("[ALERT]")]
    return " / ".join(line.split(" : ", 1)[-1] for line in lines)[:600] or said.strip()[-600:]
