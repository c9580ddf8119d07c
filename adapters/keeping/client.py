"""The engine's end of the keeper's socket; starts a keeper where none answers.

Whoever waits for an answer or for the end of a replica when the keeper dies gets
`EngineUnavailable`; the next question starts the next keeper.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.keeping.files import KEEPER
from reconcilers.ports import EngineUnavailable

_ANSWER_SECONDS = 30.0
_LINE_BYTES = 2**26  # an environment of 500 variables of 32 KiB, escaped
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from adapters.keeping.keeper import main; sys.exit(main(sys.argv[2]))"
)


class _KeeperEnded(EngineUnavailable):
    """The next question starts the next keeper."""


class KeeperClient:
    """A connection to the keeper of a directory of replicas, made when it is first needed.

    Args:
        root: the directory of the replicas.
        on_end: called with the directory of each replica that ends.
        on_gap: called when ends may have been missed.
    """

    def __init__(
        self, root: Path, on_end: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        self._root = root
        self._on_end = on_end
        self._on_gap = on_gap
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ends: dict[str, set[asyncio.Future[None]]] = {}
        self.pid: int | None = None

    async def ask(self, do: str, **what: object) -> dict[str, Any]:
        """Ask, and return the answer. Every question may be asked twice.

        Raises:
            EngineUnavailable: the keeper died twice or does not answer; unknown what it did.
        """
        try:
            return await self._ask_once(do, what)
        except _KeeperEnded:
            return await self._ask_once(do, what)

    async def _ask_once(self, do: str, what: dict[str, object]) -> dict[str, Any]:
        await self.connect()
        writer = self._writer
        if writer is None:
            raise _KeeperEnded("the process keeper ended; asking again starts another")
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer.write(json.dumps({"id": number, "do": do, **what}).encode() + b"\n")
                await writer.drain()
                return await answer
        except ConnectionError as error:
            await self._hang_up(writer)
            raise _KeeperEnded("the process keeper ended as it was asked; ask again") from error
        except TimeoutError as error:
            raise EngineUnavailable(f"the process keeper did not answer to {do!r}") from error
        finally:
            del self._answers[number]

    @contextmanager
    def end_of(self, path: str) -> Iterator[asyncio.Future[None]]:
        """A future of the end of a replica, from now on."""
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ends.setdefault(path, set()).add(end)
        try:
            yield end
        finally:
            end.cancel()
            self._ends[path].discard(end)
            if not self._ends[path]:
                del self._ends[path]

    async def connect(self) -> None:
        """Make sure that a keeper listens to us, and we to it.

        Raises:
            EngineUnavailable: none can be started; the message says why.
        """
        async with self._connecting:
            for _ in range(5):  # A keeper may end, its work done, just as we come.
                if self._writer is not None:
                    return
                try:
                    await self._open()
                except (FileNotFoundError, ConnectionError, asyncio.IncompleteReadError):
                    await asyncio.to_thread(_start_keeper, self._root)
            if self._writer is None:
                raise EngineUnavailable(f"no process keeper stays up in {self._root / KEEPER}")

    async def _open(self) -> None:
        directory = os.open(self._root / KEEPER, os.O_PATH)
        try:  # Through its open directory: the path of a socket has 107 bytes at most.
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{directory}/socket", limit=_LINE_BYTES
            )
        finally:
            os.close(directory)
        try:
            hello = json.loads(await reader.readuntil())
        except BaseException:
            writer.close()
            raise
        self.pid = hello["pid"]
        self._writer = writer
        self._listening = asyncio.create_task(self._listen(reader, writer))

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                said = json.loads(line)
                if "ended" in said:
                    self._on_end(said["ended"])
                    _settle(self._ends.get(said["ended"], set()))
                elif (answer := self._answers.get(said["to"])) and not answer.done():
                    answer.set_result(said)
        except ConnectionError:
            pass  # As good as its end.
        finally:
            self._writer = None
            writer.close()
            self._give_up()
        self._on_gap()

    def _give_up(self) -> None:
        lost = _KeeperEnded("the process keeper ended while it was asked; ask again")
        ends = (end for ends in self._ends.values() for end in ends)
        waiting: list[asyncio.Future[Any]] = [*self._answers.values(), *ends]
        for future in waiting:
            if not future.done():
                future.set_exception(lost)
                future.exception()  # Read here: nobody may be left who waits for it.

    async def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        """Make sure that the next question does not go to the same dead keeper."""
        writer.transport.abort()
        if self._writer is writer and self._listening:
            await asyncio.wait([self._listening])

    async def close(self) -> None:
        """Stop listening. The keeper and the replicas go on."""
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._writer:  # A task that is cancelled before it began closes nothing.
            self._writer.close()
            self._writer = None


def _settle(ends: set[asyncio.Future[None]]) -> None:
    for end in ends:
        if not end.done():
            end.set_result(None)


def _start_keeper(root: Path) -> None:
    """Start a keeper in the background, with nothing of our own environment."""
    package_root = Path(__file__).parents[2]
    folder = root / KEEPER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "log").open("w", encoding="utf-8") as log:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(package_root), str(root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={},
            cwd="/",
            start_new_session=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
    if ended.returncode != 0:
        said = (folder / "log").read_text(encoding="utf-8")[-500:]
        raise EngineUnavailable(f"the process keeper does not start: {said}")
