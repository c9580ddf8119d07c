"""Reading a replica's logs: two files that their program writes, dated by the keeper, merged.

Lines of one stream are in the order of writing. Between the streams only the dates decide, which
are a second wide; what one second holds comes as stdout first, then stderr.
"""

import contextlib
import os
from collections import deque
from collections.abc import Iterator

from adapters.keeping.dates import Dates, read_dates
from adapters.keeping.files import STREAMS
from reconcilers.ports import LogLine

_CHUNK = 256 * 1024  # bytes read at a time
_LINE = 64 * 1024  # bytes after which a line without an end is one nevertheless


class Stream:
    """A place in one stream; it only moves forward."""

    def __init__(self, name: str, file: int) -> None:
        self.name = name
        self._file = file
        self.offset = _first_data(file)
        self._rest = b""
        self.is_at_end = False
        self.pending: deque[LogLine] = deque()

    def seek_since(self, dates: Dates, since: float) -> None:
        """Move over the lines that began before `since`."""
        skipped = dates.offset_since(since)
        if skipped > self.offset:
            self.offset = skipped - 1  # Of the line that was begun before, the end remains:
            self._rest = b""
            found = os.pread(self._file, _CHUNK, self.offset).find(b"\n")
            self.offset += found + 1 if found >= 0 else 1

    def seek_tail(self, lines: int) -> None:
        """Move to where the last `lines` lines begin."""
        position = os.fstat(self._file).st_size
        tail = b""
        while position > self.offset and tail.count(b"\n") <= lines:
            start = max(self.offset, position - _CHUNK)
            tail = os.pread(self._file, position - start, start) + tail
            position = start
        newest = tail.splitlines(keepends=True)[len(tail.splitlines()) - lines :] if lines else []
        self.offset = os.fstat(self._file).st_size - sum(map(len, newest))

    def fill(self, dates: Dates, *, finish: bool) -> None:
        """Read until a line is pending, or there are no more."""
        self.is_at_end = False
        while not self.pending and not self.is_at_end:
            self.pending.extend(self._read(dates, finish=finish))

    def _read(self, dates: Dates, *, finish: bool) -> list[LogLine]:
        """The next lines; with `finish`, also a last one that does not end yet."""
        seen = os.fstat(self._file)
        if seen.st_size < self.offset:  # It was emptied.
            self.offset, self._rest = 0, b""
        self._skip_hole()
        chunk = os.pread(self._file, _CHUNK, self.offset)
        self.is_at_end = not chunk
        begin = self.offset - len(self._rest)
        self.offset += len(chunk)
        text = self._rest + chunk
        *whole, self._rest = text.split(b"\n")
        if self._rest and ((finish and not chunk) or len(self._rest) > _LINE):
            whole.append(self._rest)
            self._rest = b""
        lines = []
        for line in whole:
            lines.append(LogLine(dates.at(begin, seen.st_mtime), self.name, line))
            begin += len(line) + 1
        return lines

    def _skip_hole(self) -> None:
        """What was cut before it was read is left out."""
        with contextlib.suppress(OSError):  # At its end there is neither data nor a hole.
            data = os.lseek(self._file, self.offset, os.SEEK_DATA)
            if data > self.offset:
                self.offset, self._rest = _first_line(self._file, data), b""


class LogFiles:
    """Both streams of one replica, open: they can be read to the end when they are removed."""

    def __init__(self, path: str) -> None:
        self._directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self._files: list[int] = []
        self.streams = list(self._open())

    def _open(self) -> Iterator[Stream]:
        for name in STREAMS:
            try:
                file = os.open(name, os.O_RDONLY, dir_fd=self._directory)
            except FileNotFoundError:
                continue
            self._files.append(file)
            yield Stream(name, file)

    def skip_until(self, since: float) -> None:
        """Move over what was certainly written before."""
        dates = read_dates(self._directory)
        for stream in self.streams:
            stream.seek_since(dates[stream.name], since)

    def next_lines(self, *, finish: bool) -> list[LogLine]:
        """Some more lines of all streams, by date; none when there are none now."""
        dates = read_dates(self._directory)
        for stream in self.streams:
            stream.fill(dates[stream.name], finish=finish)
        lines: list[LogLine] = []
        while all(stream.pending or stream.is_at_end for stream in self.streams):
            oldest = min(
                (stream for stream in self.streams if stream.pending),
                key=lambda stream: stream.pending[0].at,
                default=None,
            )
            if oldest is None:
                break
            lines.append(oldest.pending.popleft())
        return lines

    def close(self) -> None:
        for file in (*self._files, self._directory):
            os.close(file)


def _first_data(file: int) -> int:
    """Where the part begins that was not cut: at a line's start, unless nothing was cut."""
    try:
        start = os.lseek(file, 0, os.SEEK_DATA)
    except OSError:  # Empty, or all of it cut.
        return os.fstat(file).st_size
    return _first_line(file, start) if start else 0


def _first_line(file: int, start: int) -> int:
    """Where the first whole line after a cut begins."""
    return start + os.pread(file, _CHUNK, start).find(b"\n") + 1
