"""The three programs behind a router: Caddy, and two resolvers. All outlive the control plane."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from adapters.caddy.admin import Admin
from adapters.caddy.files import Files
from adapters.caddy.site import Version
from adapters.keeping.client import KeeperClient
from adapters.keeping.standing import Order, Standing
from reconcilers.ports import EngineUnavailable
from reconcilers.router_ports import RouterMissing, RouterUnavailable

RESOLVERS: Final = 2
START_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.02
_ENDS: Final = 2  # of Caddy, after which its configuration is to blame
_VERSION_SECONDS: Final = 10.0
_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RESOLVER: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from adapters.caddy.resolver import main; main(sys.argv[2], int(sys.argv[3]))"
)


@final
class Programs:
    """What runs for one target.

    Args:
        root: of the keeper that they are children of.
        target: of which this is the router.
        files: where Caddy and the resolvers find what they need.
        program: a name or path of Caddy.
        began: told after each beginning that was not asked for.
    """

    def __init__(
        self, root: Path, target: str, files: Files, program: str, began: Callable[[], None]
    ) -> None:
        self._program = program
        self._files = files
        self._began = began
        self._group = root / target
        self._client = KeeperClient(root, lambda _path: None, lambda: None)
        self.caddy: Standing | None = None
        self.resolvers: tuple[Standing, ...] = ()

    async def version(self) -> Version:
        """Of the Caddy that runs, else of the one that is installed.

        Raises:
            RouterMissing: there is none; the message says how to get one.
            RouterUnavailable: it does not tell.
        """
        pid = self._standing("caddy", Order((), {})).pid
        program = Path(f"/proc/{pid}/exe") if pid else _found(self._program)
        return await asyncio.to_thread(_version, program)

    async def start(self, port: int) -> None:
        """See to it that all run. Does nothing about those that do.

        Raises:
            RouterUnavailable: one cannot be begun.
        """
        self.caddy = self.caddy or self._standing("caddy", self._caddy_order())
        package = str(Path(__file__).parents[2])
        words = ("-I", "-S", "-c", _RESOLVER, package, str(self._files.snapshot), str(port))
        order = Order([sys.executable, *words], {}, str(self._files.directory))
        self.resolvers = self.resolvers or tuple(
            self._standing(f"resolver-{number}", order) for number in range(1, RESOLVERS + 1)
        )
        try:
            for standing in (*self.resolvers, self.caddy):
                await standing.start()
        except EngineUnavailable as error:
            raise RouterUnavailable(str(error)) from error

    async def answering(self, admin: Admin) -> bool:
        """Wait until Caddy answers; False if it ends again and again instead.

        Raises:
            RouterUnavailable: it runs, and does not answer.
        """
        assert self.caddy is not None, "it was not started"
        ends = self.caddy.ends
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await admin.answers():
                    if self.caddy.ends - ends >= _ENDS:
                        return False
                    await asyncio.sleep(_LOOK_SECONDS)
                return True
        except TimeoutError as error:
            raise RouterUnavailable(
                f"Caddy (process {self.caddy.pid}) has not answered at {self._files.admin} for "
                f"{START_SECONDS:g} s; if its routes still work, its socket was taken away: end "
                "the process when its connections may be cut, and it is started again. It said: "
                f"{self.caddy.last_words}"
            ) from error

    def any_runs(self) -> bool:
        """Whether one of them does, by whomever it was begun."""
        return any(one.runs for one in self._left())

    async def close(self) -> None:
        """See to them no longer; they go on."""
        for standing in self._all():
            await standing.close()
        await self._client.close()

    async def stop(self) -> None:
        """End them, by whomever they were begun."""
        for standing in self._all():
            await standing.close()
        for standing in self._left():
            if standing.runs:
                await standing.stop()
        self.caddy, self.resolvers = None, ()

    def _all(self) -> tuple[Standing, ...]:
        return (*self.resolvers, *((self.caddy,) if self.caddy else ()))

    def _left(self) -> tuple[Standing, ...]:
        """All that may run of an earlier life."""
        names = ("caddy", *(f"resolver-{number}" for number in range(1, RESOLVERS + 1)))
        return tuple(self._standing(name, Order((), {})) for name in names)

    def _standing(self, name: str, order: Order) -> Standing:
        return Standing(self._client, self._group / name, order, self._began)

    def _caddy_order(self) -> Order:
        home = str(self._files.directory)
        env = {"PATH": _SEARCH_PATH, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}
        argv = [str(_found(self._program)), "run", "--config", str(self._files.config)]
        return Order(argv, env, home)


def absence(program: str) -> str | None:
    """Why there is no Caddy here, and what to do; None if there is one."""
    if shutil.which(program, path=_SEARCH_PATH) or shutil.which(program):
        return None
    return (
        f"there is no program {program!r} on this host, so nothing takes requests for its routes; "
        "install it (Debian: `apt-get install caddy`); until then apps are reached at the "
        "addresses of their replicas"
    )


def _found(program: str) -> Path:
    found = shutil.which(program, path=_SEARCH_PATH) or shutil.which(program)
    if found is None:
        raise RouterMissing(absence(program))
    return Path(found)


def _version(program: Path) -> Version:
    try:
        told = subprocess.run(
            [str(program), "version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=True,
            env={"HOME": "/"},
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise RouterUnavailable(f"{program} does not tell its version: {error}") from error
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", told)
    if match is None:
        raise RouterUnavailable(f"{program} tells a version that is none: {told[:80]!r}")
    return int(match[1]), int(match[2]), int(match[3])
