"""What every engine must do in a conversation with a command, of whatever world it is.

Provide `beside`, a replica that runs and the way into it, and inherit all. The program of the
conversation is `tests.support.program`, as `converse`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, final

import pytest

from reconcilers.conversing import END_OF_INPUT, Command, Ended, Size, Typed, Written
from reconcilers.ports import Replica, ReplicaIO, StartFailed

PATIENCE = 60.0  # seconds until a test gives up on what should happen at once
SMALL, WIDE = Size(80, 24), Size(132, 50)


@final
class Conversation:
    """One that is under way: type into it, and wait for what it says."""

    def __init__(self, io: ReplicaIO, replica: Replica, command: Command) -> None:
        self._typed: asyncio.Queue[Typed] = asyncio.Queue()
        self._said = io.converse(replica, command, self._typing())
        self._heard = {"stdout": b"", "stderr": b""}
        self._code: int | None = None

    async def _typing(self) -> AsyncIterator[Typed]:
        while True:
            yield await self._typed.get()

    def type(self, *typed: Typed) -> None:
        for one in typed:
            self._typed.put_nowait(one)

    async def hear(self, text: bytes, stream: str = "stdout") -> None:
        """Wait until it has said something, and forget all up to there."""
        async with asyncio.timeout(PATIENCE):
            while text not in self._heard[stream]:
                await self._listen()
        self._heard[stream] = self._heard[stream].partition(text)[2]

    async def resized(self, size: Size) -> None:
        """Wait until it sees a size: a cluster and a daemon tell it beside what is typed."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self.type(b"size\n")
                await self.hear(b"size\r\n")
                while b"\n" not in self._heard["stdout"]:
                    await self._listen()
                seen, _, self._heard["stdout"] = self._heard["stdout"].partition(b"\n")
                if seen.split() == [b"%d" % number for number in size]:
                    return

    async def end(self) -> tuple[int, bytes, bytes]:
        """Wait for its end: its code, and all that it said and nobody waited for."""
        async with asyncio.timeout(PATIENCE):
            while self._code is None:
                await self._listen()
        assert [piece async for piece in self._said] == [], "the end is the last that is said"
        return self._code, self._heard["stdout"], self._heard["stderr"]

    async def _listen(self) -> None:
        match await anext(self._said):
            case Written(stream, data):
                self._heard[stream] += data
            case Ended(code):
                self._code = code

    async def leave(self) -> None:
        await self._said.aclose()


class Beside(NamedTuple):
    """A replica that runs, the way into it, and a program it can run."""

    io: ReplicaIO
    replica: Replica
    program: tuple[str, ...]

    @asynccontextmanager
    async def conversation(
        self, *words: str, terminal: Size | None = None, has_input: bool = True
    ) -> AsyncIterator[Conversation]:
        command = Command((*self.program, *(words or ("converse",))), terminal, has_input)
        conversation = Conversation(self.io, self.replica, command)
        try:
            yield conversation
        finally:
            await conversation.leave()


class ConversingContract:
    """Whoever is bound by it has a fixture `beside`: the way to a program beside a replica."""

    async def test_what_is_typed_is_answered_until_it_ends(self, beside: Beside) -> None:
        async with beside.conversation() as talk:
            talk.type(b"hel", b"lo\n")
            await talk.hear(b"hello\n")
            talk.type(b"complain loudly\nseats\n")
            await talk.hear(b"loudly\n", "stderr")
            await talk.hear(b"0 0 0\n")
            talk.type(b"last\n", END_OF_INPUT)
            assert await talk.end() == (7, b"last\nno more\n", b"")
        async with beside.conversation() as talk:  # one that ends while it could be typed
            talk.type(b"leave 3\n", b"unheard\n")
            assert await talk.end() == (3, b"", b"")

    async def test_without_input_it_has_ended_from_the_start(self, beside: Beside) -> None:
        async with beside.conversation(has_input=False) as talk:
            talk.type(b"unheard\n")
            assert await talk.end() == (7, b"no more\n", b"")
        async with beside.conversation("both", terminal=SMALL, has_input=False) as talk:
            talk.type(b"unheard\n", WIDE)
            assert (await talk.end())[0] == 3

    async def test_much_flows_both_ways_and_who_leaves_may_come_back(self, beside: Beside) -> None:
        async with beside.conversation() as talk:
            talk.type(b"one\n")
            await talk.hear(b"one\n")
        lines = [b"%d %s\n" % (number, b"x" * 1000) for number in range(400)]
        async with beside.conversation() as talk:
            talk.type(*lines, END_OF_INPUT)
            assert await talk.end() == (7, b"".join([*lines, b"no more\n"]), b"")

    async def test_a_terminal_is_all_streams_and_its_size_may_change(self, beside: Beside) -> None:
        async with beside.conversation(terminal=SMALL) as talk:
            await talk.resized(SMALL)
            talk.type(b"seats\n")
            await talk.hear(b"seats\r\n1 1 1\r\n")
            talk.type(WIDE)
            await talk.resized(WIDE)
            talk.type(b"complain loudly\n")
            await talk.hear(b"complain loudly\r\nloudly\r\n")
            talk.type(END_OF_INPUT)
            code, out, err = await talk.end()
            assert (code, out.splitlines()[-1], err) == (7, b"no more", b"")

    async def test_what_is_not_there_cannot_be_talked_with(self, beside: Beside) -> None:
        there_is_none = Beside(beside.io, beside.replica, ("/no/such/program",))
        for terminal in (None, SMALL):
            async with there_is_none.conversation(terminal=terminal) as talk:
                with pytest.raises(StartFailed, match="/no/such/program"):
                    await talk.end()
