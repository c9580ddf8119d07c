"""The file `head` beside the log: the newest position and seal, as of less than a second ago.

It is written only after the commit it tells of is on disk, so it is never ahead of a sound log.
"""

import threading
from pathlib import Path
from typing import final

import structlog

from adapters.sqlite.durable import replace_file
from adapters.sqlite.schema import EMPTY
from bus.log import Head

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
    """A thread that writes the head file after commits, so that no commit waits for it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._latest: Head | None = None
        self._thread = threading.Thread(target=self._run, name="log-head", daemon=True)
        self._thread.start()

    def note(self, head: Head) -> None:
        """Have `head`, which is on disk, written soon."""
        with self._changed:
            self._latest = head
            self._changed.notify()

    def close(self) -> None:
        """Write the last head and end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._latest is not None or self._closing)
                head, self._latest = self._latest, None
            if head is not None:
                self._write(head)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, INTERVAL_SECONDS)
                if self._closing and self._latest is None:
                    return

    def _write(self, head: Head) -> None:
        try:
            write_head(self._directory, head)
        except OSError as error:
            if not self._failing:  # once, not twice a second while the disk is full
                _log.warning("log.head_file_not_written", position=head.position, error=str(error))
            self._failing = True
            self._retry(head)
        else:
            self._failing = False

    def _retry(self, head: Head) -> None:
        with self._changed:
            if self._latest is None and not self._closing:
                self._latest = head
