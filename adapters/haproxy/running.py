"""The running HAProxy: begun until it answers, and given a new worker that others do not notice."""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from adapters.haproxy.process import HAProxyProcess
from adapters.haproxy.runtime import Runtime
from adapters.haproxy.settings import KEEP_ALIVE_SECONDS
from reconcilers.router_ports import RouterUnavailable

_PROPAGATION: Final = 0.05  # seconds: a request that was matched reaches its server by then
_START_SECONDS: Final = 20.0
_SILENT_SECONDS: Final = 3.0  # after which one that runs has lost its socket
_SIGNAL_SECONDS: Final = 1.0  # a master that is just beginning does not hear the first one
_LOOK_SECONDS: Final = 0.02
_ENDS: Final = 2  # after which its files or its ports are to blame

_log = structlog.get_logger(__name__)


class Running:
    """A process and its workers.

    Attributes:
        reloads: how often a new worker was needed, since we look after it.
    """

    def __init__(self, process: HAProxyProcess, directory: Path) -> None:
        self.process = process
        self._directory = directory
        self._stale_until = 0.0
        self.reloads = 0

    @property
    def propagation(self) -> float:
        """Longer while clients may still hold connections to a worker from before a reload."""
        return max(_PROPAGATION, self._stale_until - asyncio.get_running_loop().time())

    def runtime(self, socket: str) -> Runtime:
        return Runtime(self._directory, socket)

    async def worker(self, socket: str) -> int | None:
        """The worker that takes commands at a socket; None if none does."""
        try:
            return await self.runtime(socket).worker()
        except RouterUnavailable:
            return None

    async def answers(self, socket: str) -> bool:
        """Whether it takes commands; waits a moment for one that is just beginning."""
        end = self._now() + _SILENT_SECONDS
        while self.process.pid is not None:
            if await self.worker(socket) is not None:
                return True
            if self._now() > end:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def begin(self, socket: str) -> None:
        """See to it that it runs, and wait until it takes commands.

        Raises:
            RouterUnavailable: it ends, again and again, or says nothing.
        """
        ends = self.process.ends
        await self.process.start()
        end = self._now() + _START_SECONDS
        while await self.worker(socket) is None:
            if self.process.ends - ends >= _ENDS or self._now() > end:
                raise RouterUnavailable(
                    f"HAProxy does not start, and is tried again; it said: "
                    f"{self.process.last_words}"
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def renew(self, before: str, after: str) -> None:
        """Have a new worker, which takes commands at the socket `after`.

        Raises:
            RouterUnavailable: there is none yet; the former goes on.
        """
        former = await self.worker(before)
        end = self._now() + _START_SECONDS
        asked, failures = 0.0, self.process.failures
        while self._now() < end:
            if self._now() - asked > _SIGNAL_SECONDS:
                if self.process.failures > failures:
                    break  # Each try stops the former one from accepting for a moment.
                asked = self._now()
                self.process.load_again()
            worker = await self.worker(after)
            if worker is not None and worker != former:
                self.reloads += 1
                self._stale_until = self._now() + KEEP_ALIVE_SECONDS
                _log.info("HAProxy has a new worker", worker=worker, reloads=self.reloads)
                return
            await asyncio.sleep(_LOOK_SECONDS)
        raise RouterUnavailable(
            "HAProxy has no new worker, and the former goes on; it is asked again; it said: "
            f"{self.process.last_words}"
        )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
