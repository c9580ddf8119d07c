"""What is said to the running HAProxy, over its socket.

One connection per line of commands; a change of the map is a version of its own until it is
committed, so the map that serves is always whole.
"""

import asyncio
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from adapters.haproxy.servers import InUse, Slots, in_use, observed
from adapters.haproxy.settings import MAP
from reconcilers.router_ports import RouterRefused, RouterUnavailable

_ANSWER_SECONDS: Final = 5.0
_LINE_BYTES: Final = 12_000  # HAProxy reads 16 KiB at once
_DONE: Final = re.compile(
    r"|IP changed from .*|port changed from .*|no need to change the .*|New server registered\."
    r"|New empty certificate store .*|Committing .*|Transaction created for .*"
    r"|Inserting certificate .*|Success!|\.+"
    r"|Entry .* deleted in crtlist .*|Certificate .* deleted!",
)
_VERSION: Final = re.compile(r"New version created: (\d+)")
_PROCESS: Final = re.compile(r"^Pid: (\d+)$", re.MULTILINE)


class Runtime:
    """The socket of the HAProxy in a directory.

    Every call raises `RouterUnavailable` when nobody answers: unknown then what was done; and
    `RouterRefused` with HAProxy's own words when it does not do as it is told.
    """

    def __init__(self, directory: Path, socket: str) -> None:
        self._directory, self._socket = directory, socket

    async def ask(self, line: str) -> str:
        """Send a line, or several, as they are, and return all of the answer."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._ask(line)
        except (OSError, TimeoutError) as error:
            raise RouterUnavailable(
                f"HAProxy does not answer on {str(self._directory / self._socket)!r} "
                f"({str(error) or 'in time'}); it is started again when it has ended"
            ) from error

    async def _ask(self, line: str) -> str:
        directory = os.open(self._directory, os.O_PATH)
        try:  # Through its open directory: the path of a socket has 107 bytes at most.
            reader, writer = await asyncio.open_unix_connection(
                f"/proc/self/fd/{directory}/{self._socket}"
            )
        finally:
            os.close(directory)
        try:
            writer.write(f"{line}\n".encode())
            await writer.drain()
            answer = await reader.read()
        finally:
            writer.close()
        if not answer:
            raise ConnectionResetError("it hung up")
        return answer.decode(errors="replace")

    async def do(self, commands: Iterable[str]) -> None:
        """Carry out commands that change something, in this order."""
        for line in _chunks(commands, "; "):
            _expect_done(line, await self.ask(line))

    async def worker(self) -> int:
        """Return the process that serves now."""
        answer = await self.ask("show info")
        found = _PROCESS.search(answer)
        if found is None:
            raise RouterUnavailable(f"HAProxy answers without its process: {answer[:200]!r}")
        return int(found[1])

    async def slots(self) -> dict[str, Slots]:
        """Return where the servers of all backends lead."""
        return observed(await self.ask("show servers state"))

    async def in_use(self, backends: Iterable[str] = ()) -> list[InUse]:
        """Return what all servers have in hand, or those of some backends."""
        lines = [f"show servers conn {name}" for name in backends] or ["show servers conn"]
        answers = [await self.ask(line) for line in _chunks(lines, "; ")]
        return [one for answer in answers for one in in_use(answer)]

    async def entries(self) -> dict[str, str]:
        """Return the map that serves."""
        lines = (line.split(" ", 2) for line in (await self.ask(f"show map {MAP}")).splitlines())
        return {line[1]: line[2] for line in lines if len(line) == 3 and line[0].startswith("0x")}

    async def replace_map(self, entries: Mapping[str, str]) -> None:
        """Put `entries` in place of the map that serves, in one step."""
        answer = await self.ask(f"prepare map {MAP}")
        found = _VERSION.search(answer)
        if found is None:
            raise RouterRefused(f"HAProxy prepares no version of its map: {answer.strip()!r}")
        version = f"@{found[1]} {MAP}"
        try:
            for payload in _chunks((f"{key} {value}" for key, value in entries.items()), "\n"):
                _expect_done("add map", await self.ask(f"add map {version} <<\n{payload}\n"))
            _expect_done("commit map", await self.ask(f"commit map {version}"))
        except RouterRefused:
            await self.ask(f"clear map {version}")
            raise

    async def put_certificate(self, name: str, pem: str, listing: str | None) -> None:
        """Serve a certificate anew; `listing` is the list that a new one is added to."""
        if listing is not None:
            await self.do([f"new ssl cert {name}"])
        lines = "\n".join(line for line in pem.splitlines() if line.strip())
        _expect_done("set ssl cert", await self.ask(f"set ssl cert {name} <<\n{lines}\n"))
        await self.do([f"commit ssl cert {name}"])
        if listing is not None:
            await self.do([f"add ssl crt-list {listing} {name}"])

    async def drop_certificate(self, name: str, listing: str) -> None:
        await self.do([f"del ssl crt-list {listing} {name}", f"del ssl cert {name}"])


def _chunks(parts: Iterable[str], between: str) -> Iterator[str]:
    """Join as many parts as HAProxy reads at once."""
    chunk: list[str] = []
    size = 0
    for part in parts:
        length = len(part.encode()) + len(between)
        if chunk and size + length > _LINE_BYTES:
            yield between.join(chunk)
            chunk, size = [], 0
        chunk.append(part)
        size += length
    if chunk:
        yield between.join(chunk)


def _expect_done(line: str, answer: str) -> None:
    complaints = [said for said in answer.splitlines() if not _DONE.fullmatch(said.strip())]
    if complaints:
        raise RouterRefused(
            f"HAProxy was told {line[:200]!r} and answers {' '.join(complaints)[:500]!r}"
        )
