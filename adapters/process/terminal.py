"""Our end of a terminal that a command runs on."""

import asyncio
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Final, final

from reconcilers.conversing import Size

PIECE: Final = 65536  # bytes read at once


@final
class Terminal:
    """`theirs` is the command's end: close it once the command has it."""

    def __init__(self, size: Size) -> None:
        self._ours, self.theirs = os.openpty()
        os.set_blocking(self._ours, False)
        self.resize(size)

    def resize(self, size: Size) -> None:
        """Set the size; who is in front of the terminal is told by SIGWINCH."""
        fcntl.ioctl(
            self._ours, termios.TIOCSWINSZ, struct.pack("4H", size.rows, size.columns, 0, 0)
        )

    def seat(self) -> None:
        """The command has its end now."""
        os.close(self.theirs)

    def read(self) -> bytes | None:
        """What is there to be read: nothing at the end, and None before anything more came."""
        try:
            return os.read(self._ours, PIECE)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == errno.EIO:  # nobody has the other end any more
                return b""
            raise

    async def readable(self) -> None:
        loop = asyncio.get_running_loop()
        await _once(self._ours, loop.add_reader, loop.remove_reader)

    async def write(self, data: bytes) -> None:
        """Type, as fast as it is read."""
        loop = asyncio.get_running_loop()
        while data:
            try:
                data = data[os.write(self._ours, data) :]
            except BlockingIOError:
                await _once(self._ours, loop.add_writer, loop.remove_writer)
            except OSError as error:
                if error.errno == errno.EIO:
                    return
                raise

    def close(self) -> None:
        """Whoever is still in front of it is told by SIGHUP."""
        os.close(self._ours)


async def _once(
    number: int,
    add: Callable[[int, Callable[[], None]], None],
    remove: Callable[[int], bool],
) -> None:
    ready = asyncio.Event()
    add(number, ready.set)
    try:
        await ready.wait()
    finally:
        remove(number)
