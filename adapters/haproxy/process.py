"""The HAProxy program: checked, kept running, loaded again, and taken up by a later control plane.

It is a child of the keeper and not of us, so a dead control plane stops no traffic.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from adapters.haproxy.settings import BACKENDS, CONFIGURATION, HAProxySettings
from adapters.keeping.client import KeeperClient
from adapters.keeping.standing import Order, Standing
from reconcilers.ports import EngineUnavailable
from reconcilers.router_ports import RouterMissing, RouterRefused, RouterUnavailable

_CHECK_SECONDS: Final = 30.0
_LINES: Final = 500  # of what it said: the last one alone says only that something was wrong
_BYTES: Final = 50_000
_ATTEMPT: Final = "Reloading HAProxy"  # what it says before it tries to have a new worker
_FAILURE: Final = "Loading failure!"  # and when it has none
_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class HAProxyProcess:
    """The one HAProxy of a target.

    Args:
        root: of the keeper whose child it is.
        target: of which this is the router.
        directory: of its files; it runs there.
        settings: of the operator.
        began: told after each beginning that was not asked for.
    """

    def __init__(
        self,
        root: Path,
        target: str,
        directory: Path,
        settings: HAProxySettings,
        began: Callable[[], None],
    ) -> None:
        self._settings, self._directory, self._began = settings, directory, began
        self._client = KeeperClient(root, lambda _path: None, lambda: None)
        self._folder = root / target / "haproxy"
        self._standing: Standing | None = None

    @property
    def pid(self) -> int | None:
        """The master process, while it lives, by whomever it was begun."""
        return (self._standing or self._as(Order((), {}))).pid

    @property
    def ends(self) -> int:
        """How often it was seen to end unasked."""
        return self._standing.ends if self._standing else 0

    @property
    def last_words(self) -> str:
        return _alerts(self._said().rpartition(_ATTEMPT)[2])

    @property
    def failures(self) -> int:
        """How often it said that it has no new worker."""
        return self._said().count(_FAILURE)

    def _said(self) -> str:
        return self._standing.said(_LINES, _BYTES) if self._standing else "nothing"

    async def check(self, configuration: str, backends: str) -> None:
        """Let HAProxy read a configuration without serving it.

        Raises:
            RouterRefused: it does not accept it; says why.
            RouterMissing: there is no HAProxy.
        """
        code, said = await self._run("-c", "-f", configuration, "-f", backends)
        if code != 0:
            raise RouterRefused(f"HAProxy does not accept its configuration: {_alerts(said)}")

    async def has_lua(self) -> bool:
        """Whether it was built with Lua.

        Raises:
            RouterMissing: there is no HAProxy.
        """
        _, said = await self._run("-vv")
        return "+LUA" in said.split()

    async def _run(self, *arguments: str) -> tuple[int | None, str]:
        """Let it do something that ends at once. Return how it ended, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *(self._program(), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
            cwd=self._directory,
        )
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                said, _ = await process.communicate()
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise RouterUnavailable(
                f"HAProxy {arguments[0]} has not ended within {_CHECK_SECONDS:.0f} s"
            ) from error
        return process.returncode, said.decode(errors="replace")

    async def start(self) -> None:
        """See to it that it runs, as its files say, from now on.

        Raises:
            RouterUnavailable: it cannot be begun; says why.
        """
        if self._standing is None:
            argv = (self._program(), "-W", "-f", CONFIGURATION, "-f", BACKENDS)
            self._standing = self._as(Order(argv, {}, str(self._directory)))
        try:
            await self._standing.start()
        except EngineUnavailable as error:
            raise RouterUnavailable(str(error)) from error

    def load_again(self) -> None:
        """Ask for a new worker with the files as they are; the former one ends its requests."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR2)

    async def close(self) -> None:
        """See to it no longer; it goes on."""
        if self._standing is not None:
            await self._standing.close()
        await self._client.close()

    async def stop(self) -> None:
        """End it, with all that it serves.

        Raises:
            RouterUnavailable: it may run on; says why.
        """
        try:
            await (self._standing or self._as(Order((), {}))).stop()
        except EngineUnavailable as error:
            raise RouterUnavailable(f"HAProxy cannot be ended: {error}") from error
        finally:
            await self._client.close()

    def _as(self, order: Order) -> Standing:
        return Standing(self._client, self._folder, order, self._began)

    def _program(self) -> str:
        name = self._settings.program
        found = shutil.which(name, path=_SEARCH_PATH) or shutil.which(name)
        if found is None:
            raise RouterMissing(absence(name))
        return found


def absence(program: str) -> str | None:
    """Why there is no HAProxy here, and what to do; None if there is one."""
    if shutil.which(program, path=_SEARCH_PATH) or shutil.which(program):
        return None
    return (
        f"there is no program {program!r} on this host, so nothing takes requests for its routes; "
        "install it (Debian: `apt-get install haproxy`); until then apps are reached at the "
        "addresses of their replicas"
    )


def _alerts(said: str) -> str:
    """What HAProxy complains about, without its greeting."""
    lines = [line.strip() for line in said.splitlines() if line.startswith("[ALERT]")]
    told = dict.fromkeys(line.split(" : ", 1)[-1] for line in lines)
    return " / ".join(told)[:600] or said.strip()[-600:]
