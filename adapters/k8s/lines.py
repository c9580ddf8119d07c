"""Lines of a stream of bytes: of any length, unlike those of `readline`."""

from collections.abc import AsyncIterator


async def lines(pieces: AsyncIterator[bytes], *, unfinished: bool = False) -> AsyncIterator[bytes]:
    """Whole lines, without their ends and without empty ones.

    What follows the last end is a line only if it may be `unfinished` and the stream ended well.
    """
    begun: list[bytes] = []
    async for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            begun.append(line)
            if joined := b"".join(begun):
                yield joined
            begun = []
        if rest:
            begun.append(rest)
    if unfinished and begun:
        yield b"".join(begun)
