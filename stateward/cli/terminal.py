"""The terminal of whoever runs a command: raw for a while, and as it was afterwards."""

import os
import select
import signal
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from stateward.cli.trouble import BadUse

type Size = tuple[int, int]
"""Columns and rows."""

_USUAL: Final = (80, 24)
_PIECE: Final = 16384  # bytes typed at once
_RESIZED, _OVER = b"r", b"o"
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


def size(number: int) -> Size:
    """That of the terminal behind a descriptor, or the usual one."""
    try:
        found = os.get_terminal_size(number)
    except OSError:
        return _USUAL
    return (found.columns, found.lines) if found.columns and found.lines else _USUAL


@contextmanager
def raw(number: int) -> Iterator[None]:
    """Every key goes through as it is, also Ctrl-C.

    The terminal is as it was afterwards, also when a signal ends the process.

    Raises:
        BadUse: it is no terminal.
    """
    try:
        before = termios.tcgetattr(number)
    except termios.error:
        raise BadUse("-t needs a terminal, and standard input is none; leave out -t") from None
    handlers = {one: signal.signal(one, _leave) for one in _ENDING}
    try:
        tty.setraw(number, termios.TCSADRAIN)
        yield
    finally:
        with suppress(termios.error):  # it has gone
            termios.tcsetattr(number, termios.TCSANOW, before)
        for one, handler in handlers.items():
            signal.signal(one, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def typing(
    keys: int | None,
    typed: Callable[[bytes], None],
    resized: Callable[[], None] | None,
) -> Iterator[None]:
    """Pass on, from a thread of its own, what is typed and that the terminal has a new size.

    `typed` gets no bytes at the end of what there is to type. Whatever the two raise ends it: they
    speak to a connection, and who reads from that is told.
    """
    hear, tell = os.pipe()
    os.set_blocking(tell, False)

    def changed(_number: int, _frame: FrameType | None) -> None:
        with suppress(BlockingIOError):  # it is told already
            os.write(tell, _RESIZED)

    handler = signal.signal(signal.SIGWINCH, changed) if resized else None
    thread = threading.Thread(target=_pass_on, args=(keys, hear, typed, resized), daemon=True)
    thread.start()
    try:
        yield
    finally:
        if resized:
            signal.signal(signal.SIGWINCH, handler)
        os.write(tell, _OVER)
        thread.join(1.0)  # it may wait for a connection that is broken
        os.close(tell)


def _pass_on(
    keys: int | None,
    hear: int,
    typed: Callable[[bytes], None],
    resized: Callable[[], None] | None,
) -> None:
    watched = [hear] if keys is None else [hear, keys]
    with suppress(Exception):
        while True:
            ready, _, _ = select.select(watched, [], [])
            if hear in ready:
                news = os.read(hear, 64)
                if _OVER in news:
                    break
                if resized:
                    resized()
            if keys in ready and keys is not None:
                data = os.read(keys, _PIECE)
                typed(data)
                if not data:
                    watched.remove(keys)
    os.close(hear)
