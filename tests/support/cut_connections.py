"""A way to a server that loses what is on it: messages vanish, then the connection is cut.

TCP delivers all or nothing, so a message is lost only together with its connection: what was
written last never arrives, and neither side knows.
"""

import asyncio
from contextlib import suppress
from random import Random
from typing import Self, final


@final
class Proxy:
    """Passes connections on to a port of this machine, on a port of its own.

    Use as an async context manager: leaving it closes every connection.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._ends: set[asyncio.StreamWriter] = set()
        self._is_losing = False
        self._loses_answers = False
        self.cuts = 0
        """How many connections were cut."""
        self.lost = 0
        """How many bytes, of either direction, never arrived."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def lose(self) -> None:
        """Let nothing arrive from now on, until the next cut."""
        self._is_losing = True

    def lose_answers(self) -> None:
        """Let nothing come back from now on, until the next cut; what is asked arrives."""
        self._loses_answers = True

    def cut(self) -> None:
        """Cut every connection; new ones are passed on again."""
        self._is_losing = self._loses_answers = False
        self.cuts += len(self._ends) // 2
        for end in self._ends:
            end.transport.abort()

    async def trouble(self, chance: Random) -> None:
        """Lose and cut, again and again, until cancelled."""
        while True:
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            self.lose()
            await asyncio.sleep(chance.uniform(0.02, 0.1))
            self.cut()

    async def _pass_on(self, here: asyncio.StreamReader, to_here: asyncio.StreamWriter) -> None:
        ends = [to_here]
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(to_there)
            self._ends.update(ends)
            await asyncio.gather(
                self._pump(here, to_there), self._pump(there, to_here, are_answers=True)
            )
        except OSError:
            pass
        finally:  # also when the test is over before the connection is
            self._ends.difference_update(ends)
            for end in ends:
                end.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        *,
        are_answers: bool = False,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if self._is_losing or (are_answers and self._loses_answers):
                    self.lost += len(data)
                    continue
                sink.write(data)
                await sink.drain()
        sink.close()
