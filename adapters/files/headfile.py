"""The file `head` beside the log: the newest position and seal, as of less than a second ago.

It is written only after the commit it tells of is on disk, so it is never ahead of a sound log.
"""

import threading
from pathlib import Path
from typing import final

import structlog

from adapters.files.durable import replace_file
from bus.log import EMPTY, Head

HEAD_FILE = "head"
INTERVAL_SECONDS = 0.5  # between two writes; with the write itself it stays below a second

_log = structlog.get_logger()


class HeadFileDamaged(Exception):
    """The head file does not hold what this program writes."""


def write_head(directory: Path, head: Head) -> None:
    replace_file(directory / HEAD_FILE, f"{head.position} {head.seal.hex()}\n".encode())


def read_head_file(directory: Path) -> Head | None:
    """Return what the head file says, None when there is none.

    Raises:
        HeadFileDamaged: it cannot be understood.
    """
    try:
        text = (directory / HEAD_FILE).read_text("ascii")
        position, seal = text.split()
        head = Head(int(position), bytes.fromhex(seal))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise HeadFileDamaged(f"{directory / HEAD_FILE} is damaged: {error}") from error
    if head.position < 0 or len(head.seal) != len(EMPTY.seal):
        raise HeadFileDamaged(f"{directory / HEAD_FILE} is damaged: it holds {text!r}")
    return head


@final
class HeadKeeper:
    """A thread that writes the head file after commits, so that no commit waits for it.

    It sleeps through all commits of an interval: waking it for each would slow them down.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._latest: Head | None = None
        self._written: Head | None = None
        self._failing = False
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-head", daemon=True)
        self._thread.start()

    def note(self, head: Head) -> None:
        """Have `head`, which is on disk, written soon."""
        self._latest = head
        if not self._changed.is_set():
            self._changed.set()

    def close(self) -> None:
        """Write the last head and end."""
        self._closing.set()
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._changed.wait()
            self._changed.clear()
            self._write()
            self._closing.wait(INTERVAL_SECONDS)
        self._write()

    def _write(self) -> None:
        head = self._latest
        if head is None or head is self._written:
            return
        try:
            write_head(self._directory, head)
        except OSError as error:
            if not self._failing:  # once, not twice a second while the disk is full
                _log.warning("log.head_file_not_written", position=head.position, error=str(error))
            self._failing = True
            self._changed.set()  # try again after the interval
        else:
            self._written, self._failing = head, False
