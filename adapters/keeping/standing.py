"""A program that should always run: taken up where it does, begun anew whenever it ended.

It is the keeper's child and not ours, so it goes on when we end, and whoever comes next finds it by
its directory. Each time it begins it has a directory of its own, `FOLDER/1`, `FOLDER/2` and so on;
the last two stay, for what they said.
"""

import asyncio
import json
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, final

import structlog

from adapters.keeping.client import KeeperClient
from adapters.keeping.files import EXIT, ORDER, PID, Process
from reconcilers.ports import EngineUnavailable

FIRST_PAUSE: Final = 0.05  # seconds before a program that ended begins again
LONGEST_PAUSE: Final = 5.0
STEADY_SECONDS: Final = 30.0  # of life after which an end counts as the first one again
STOP_SECONDS: Final = 5.0
WORDS: Final = 500  # bytes of what it said last

_log = structlog.get_logger(__name__)


class Order(NamedTuple):
    """What to run; a program that runs by another order is ended, and begun by this one."""

    argv: Sequence[str]
    env: Mapping[str, str]
    workdir: str = "/"

    def text(self) -> str:
        order = {"argv": list(self.argv), "env": dict(self.env), "workdir": self.workdir}
        return json.dumps(order, sort_keys=True)


@final
class Standing:
    """One program below a keeper's root.

    Args:
        client: of that keeper.
        folder: `ROOT/GROUP/NAME`, of this program alone.
        order: what it is.
        began: told after each beginning that was not asked for; must not block.

    Attributes:
        ends: how often it was seen to end unasked.
    """

    def __init__(
        self,
        client: KeeperClient,
        folder: Path,
        order: Order,
        began: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._folder = folder
        self._order = order
        self._began = began
        self._watch: asyncio.Task[None] | None = None
        self.ends = 0

    @property
    def pid(self) -> int | None:
        """Of the program that runs."""
        process = _process(self._latest())
        return process.number if process else None

    @property
    def runs(self) -> bool:
        return self.pid is not None

    @property
    def last_words(self) -> str:
        """The end of what it wrote, for a person."""
        return self.said(1)

    def said(self, count: int, most: int = WORDS) -> str:
        """Return the last lines of what it wrote, at most so many, and so many bytes of them."""
        for path in (self._latest() / "stderr", self._latest() / "stdout"):
            with suppress(OSError):
                lines = path.read_text(errors="replace").strip().splitlines()
                if lines:
                    return "\n".join(lines[-count:])[-most:]
        return "it said nothing"

    async def start(self) -> None:
        """See to it that it runs, now and from now on. Does nothing if it is seen to already.

        Raises:
            EngineUnavailable: it cannot be begun; the message says why.
        """
        if self._watch is not None and not self._watch.done():
            return
        await self._begin()
        self._watch = asyncio.create_task(self._keep(), name=f"standing {self._folder.name}")

    async def close(self) -> None:
        """See to it no longer; it goes on."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def stop(self) -> None:
        """End it, and wait until it has ended."""
        await self.close()
        await self._end()

    # -- one life ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        latest = self._latest()
        if _process(latest):
            if _read(latest / ORDER) == self._order.text():
                return
            await self._end()
        fresh = self._prepare(int(latest.name) + 1)
        answer = await self._client.ask(
            "start",
            path=str(fresh),
            argv=list(self._order.argv),
            env=dict(self._order.env),
            workdir=self._order.workdir,
            cgroups=[],
            data_bytes=None,
        )
        if problem := answer.get("problem"):
            raise EngineUnavailable(f"{self._order.argv[0]} cannot be run: {problem}")

    async def _end(self) -> None:
        path = self._latest()
        if not _process(path):
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            await self._client.connect()
            with self._client.end_of(str(path)) as end:
                if not _process(path):
                    return
                await self._client.ask("signal", path=str(path), signal=number, group=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(STOP_SECONDS):
                        await asyncio.shield(end)
                        return

    async def _keep(self) -> None:
        clock = asyncio.get_running_loop().time
        pause = FIRST_PAUSE
        while True:
            born = clock()
            await self._ended()
            self.ends += 1
            if clock() - born > STEADY_SECONDS:
                pause = FIRST_PAUSE
            name, said = self._folder.name, self.last_words
            _log.warning("a program ended", program=name, said=said, again_in_seconds=pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                await self._begin()
            except (EngineUnavailable, OSError) as error:
                _log.warning("a program cannot be begun", program=name, reason=str(error))
            else:
                self._began()

    async def _ended(self) -> None:
        """Wait for its end, whatever becomes of the keeper meanwhile."""
        path = self._latest()
        while True:
            try:
                await self._client.connect()
                with self._client.end_of(str(path)) as end:
                    if _process(path):
                        await end
            except EngineUnavailable:
                await asyncio.sleep(FIRST_PAUSE)
            if not _process(path):
                return

    # -- its directories --------------------------------------------------------------------

    def _latest(self) -> Path:
        return self._folder / str(max(self._numbers(), default=0))

    def _numbers(self) -> list[int]:
        with suppress(FileNotFoundError):
            names = (path.name for path in self._folder.iterdir())
            return sorted(int(name) for name in names if name.isdecimal())
        return []

    def _prepare(self, number: int) -> Path:
        for old in self._numbers()[:-1]:
            shutil.rmtree(self._folder / str(old), ignore_errors=True)
        fresh = self._folder / str(number)
        fresh.mkdir(parents=True, mode=0o700)
        (fresh / ORDER).write_text(self._order.text())
        return fresh


def _process(directory: Path) -> Process | None:
    """The process of a directory, while it lives."""
    written = _read(directory / PID)
    if written is None or (directory / EXIT).exists():
        return None
    process = Process.parse(written)
    return process if process.is_alive else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
