"""A conversation with a command that runs beside a replica: what is typed, and what it says.

Both directions flow at once. What is typed comes in order, so a size is in effect, as far as the
technology tells, before what is typed after it.
"""

from collections.abc import AsyncIterator
from typing import Final, NamedTuple

import msgspec

END_OF_INPUT: Final = b""
END_TYPED: Final = b"\x04"
"""What a terminal takes for the end of input (Ctrl-D), at the beginning of a line."""


class Size(NamedTuple):
    """Of a terminal, in characters."""

    columns: int
    rows: int


class Command(NamedTuple):
    """What to run, without a shell.

    With `terminal`, on a terminal of that size: all it writes is `stdout` then. Without
    `has_input` it finds the end of its input at once; on a terminal, nothing is ever typed.
    """

    argv: tuple[str, ...]
    terminal: Size | None = None
    has_input: bool = False


type Typed = bytes | Size
"""Bytes for its input, `END_OF_INPUT` (of which a terminal makes a Ctrl-D), or a new size."""


class Written(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A piece of what the command wrote to `stdout` or `stderr`."""

    stream: str
    data: bytes


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The last that is said. A signal's number is told as 128 and that."""

    exit_code: int


type Said = Written | Ended


async def nothing_typed() -> AsyncIterator[Typed]:
    """For who has nothing to say."""
    return
    yield END_OF_INPUT
