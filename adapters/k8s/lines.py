"""Lines of a stream of bytes: of any length, unlike those of `readline`."""

from collections.abc import AsyncIterator


async def lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Whole lines, without their ends and without empty ones; one that is cut off is dropped."""
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
