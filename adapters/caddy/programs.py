"""The three programs behind a router: Caddy, and two resolvers. All outlive the control plane."""

import asyncio
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol, final

from adapters.caddy.admin import Admin
from adapters.caddy.files import Files
from adapters.caddy.site import Version
from adapters.keeping.client import KeeperClient
from adapters.keeping.standing import Order
from adapters.keeping.standing import Standing as StandingProcess
from reconcilers.ports import EngineUnavailable
from reconcilers.router_ports import RouterMissing, RouterUnavailable

RESOLVERS: Final = 2
START_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.02
_ENDS: Final = 2  # of Caddy, after which its configuration is to blame
_VERSION_SECONDS: Final = 10.0
_SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_IN_IMAGE: Final = "caddy"  # the program of an image, by its path there
_RESOLVER: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from adapters.caddy.resolver import main; main(sys.argv[2], int(sys.argv[3]))"
)


class Standing(Protocol):
    """A program that should always run, as a process or as a container."""

    @property
    def ends(self) -> int:
        """How often it was seen to end unasked."""
        ...

    @property
    def runs(self) -> bool: ...

    @property
    def last_words(self) -> str:
        """The end of what it wrote, for a person."""
        ...

    async def start(self) -> None:
        """See to it that it runs, from now on; raises `EngineUnavailable`."""
        ...

    async def close(self) -> None:
        """See to it no longer."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...


class Contained(Standing, Protocol):
    """Caddy in a container: it sees its directory where this host has it, and its network."""

    async def said(self, *argv: str) -> str:
        """What another program of its image says, once; raises `EngineUnavailable`."""
        ...


class Caged(NamedTuple):
    """What Caddy runs by in a container."""

    argv: Sequence[str]
    env: Mapping[str, str]
    directory: Path
    listens: Path


type Container = Callable[[Caged, Callable[[], None]], Contained]
"""Makes the container's program; told whom to tell of beginnings that were not asked for."""


@final
class Programs:
    """What runs for one target.

    Args:
        root: of the keeper that they are children of.
        target: of which this is the router.
        files: where Caddy and the resolvers find what they need.
        program: a name or path of Caddy.
        began: told after each beginning that was not asked for.
        container: runs Caddy in a container, instead of `program`.
    """

    def __init__(
        self,
        root: Path,
        target: str,
        files: Files,
        program: str,
        began: Callable[[], None],
        container: Container | None = None,
    ) -> None:
        self._program = program
        self._files = files
        self._began = began
        self._group = root / target
        self._client = KeeperClient(root, lambda _path: None, lambda: None)
        self._contained: Contained | None = None
        if container is not None:
            env, home = self._environment(), self._files.directory
            argv = [_IN_IMAGE, "run", "--config", str(self._files.config)]
            self._contained = container(Caged(argv, env, home, self._files.admin), began)
        self.caddy: Standing | None = None
        self.resolvers: tuple[StandingProcess, ...] = ()

    async def version(self) -> Version:
        """Of the Caddy that runs, else of the one that is installed.

        Raises:
            RouterMissing: there is none; the message says how to get one.
            RouterUnavailable: it does not tell.
        """
        if self._contained is not None:
            try:
                return _read(_IN_IMAGE, await self._contained.said(_IN_IMAGE, "version"))
            except EngineUnavailable as error:
                raise RouterUnavailable(str(error)) from error
        pid = self._process("caddy", Order((), {})).pid
        program = Path(f"/proc/{pid}/exe") if pid else _found(self._program)
        return await asyncio.to_thread(_version, program)

    async def start(self, port: int) -> None:
        """See to it that all run. Does nothing about those that do.

        Raises:
            RouterUnavailable: one cannot be begun.
        """
        self.caddy = self.caddy or self._contained or self._process("caddy", self._caddy_order())
        package = str(Path(__file__).parents[2])
        words = ("-I", "-S", "-c", _RESOLVER, package, str(self._files.snapshot), str(port))
        order = Order([sys.executable, *words], {}, str(self._files.directory))
        self.resolvers = self.resolvers or tuple(
            self._process(f"resolver-{number}", order) for number in range(1, RESOLVERS + 1)
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
                f"Caddy{self._where()} has not answered at {self._files.admin} for "
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
        if self._contained is not None:
            await self._contained.close()
        await self._client.close()

    async def stop(self) -> None:
        """End them, by whomever they were begun."""
        for standing in self._all():
            await standing.close()
        for standing in self._left():
            if standing.runs or standing is self._contained:
                await standing.stop()
        self.caddy, self.resolvers = None, ()

    def _all(self) -> tuple[Standing, ...]:
        return (*self.resolvers, *((self.caddy,) if self.caddy else ()))

    def _left(self) -> tuple[Standing, ...]:
        """All that may run of an earlier life."""
        names = ("caddy", *(f"resolver-{number}" for number in range(1, RESOLVERS + 1)))
        processes = tuple(self._process(name, Order((), {})) for name in names)
        return (*processes, self._contained) if self._contained is not None else processes

    def _where(self) -> str:
        pid = None if self._contained is not None else self._process("caddy", Order((), {})).pid
        return f" (process {pid})" if pid else ""

    def _process(self, name: str, order: Order) -> StandingProcess:
        return StandingProcess(self._client, self._group / name, order, self._began)

    def _environment(self) -> dict[str, str]:
        home = str(self._files.directory)
        return {"PATH": _SEARCH_PATH, "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}

    def _caddy_order(self) -> Order:
        home, env = str(self._files.directory), self._environment()
        argv = [str(_found(self._program)), "run", "--config", str(self._files.config)]
        return Order(argv, env, home)


def absence(program: str) -> str | None:
    """Why there is no Caddy here, and what to do; None if there is one."""
    if shutil.which(program, path=_SEARCH_PATH) or shutil.which(program):
        return None
    return (
        f"there is no program {program!r} on this host, so nothing takes requests for its routes; "
        "install it (Debian: `apt-get install caddy`), or name an image of it in "
        "spec.routing.image of a Docker target on this host; until then apps are reached at the "
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
    return _read(program, told)


def _read(program: Path | str, told: str) -> Version:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", told)
    if match is None:
        raise RouterUnavailable(f"{program} tells a version that is none: {told[:80]!r}")
    return int(match[1]), int(match[2]), int(match[3])
