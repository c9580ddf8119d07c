"""When the bytes of a log were written: programs write their logs themselves, undated.

The keeper looks once a second: `stream time size` in `times` says that the stream had this size
when it was last written to, at that time. A log that grew too long loses the disk under its first
bytes and nothing else: offsets stay, so dates and readers stay right, and no byte is copied.
"""

import os
from bisect import bisect_left
from typing import NamedTuple

from adapters.keeping.files import STREAMS, TIMES, read_text, write_whole

KEEP_BYTES = 10 * 2**20  # of each stream, at least; twice as much at most
TIMES_BYTES = 256 * 2**10  # of dates, before the older half goes: the last 5,000 seconds of writing
_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_BLOCK = 4096


class Dates(NamedTuple):
    """Of one stream, both ordered: it had `sizes[i]` bytes at `times[i]`."""

    sizes: list[int]
    times: list[float]

    def at(self, offset: int, latest: float) -> float:
        """When the byte at `offset` was written; `latest` if that was after the last date."""
        index = bisect_left(self.sizes, offset + 1)
        return self.times[index] if index < len(self.times) else latest

    def offset_since(self, time: float) -> int:
        """No byte before this offset was written at `time` or later."""
        index = bisect_left(self.times, time)
        return self.sizes[index - 1] if index else 0


def read_dates(directory: int) -> dict[str, Dates]:
    dates = {stream: Dates([], []) for stream in STREAMS}
    for line in (read_text(directory, TIMES) or "").splitlines():
        stream, time, size = line.split()
        dates[stream].sizes.append(int(size))
        dates[stream].times.append(float(time))
    return dates


def tend(directory: int, sizes: dict[str, int], keep_bytes: int = KEEP_BYTES) -> None:
    """Date what was written since `sizes`, which is brought up to date; cut what is too long."""
    lines = []
    for stream in STREAMS:
        try:
            seen = os.stat(stream, dir_fd=directory)
        except FileNotFoundError:
            continue
        if seen.st_size < sizes.get(stream, 0):  # It was emptied; older dates mean nothing.
            write_whole(directory, TIMES, "")
        if seen.st_size != sizes.get(stream, 0):
            sizes[stream] = seen.st_size
            lines.append(f"{stream} {seen.st_mtime:.3f} {seen.st_size}\n")
        if seen.st_blocks * 512 > 2 * keep_bytes:
            _cut(directory, stream, (seen.st_size - keep_bytes) // _BLOCK * _BLOCK)
    if lines:
        _append(directory, "".join(lines))


def _append(directory: int, lines: str) -> None:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    file = os.open(TIMES, flags, 0o600, dir_fd=directory)
    try:
        os.write(file, lines.encode())
        if os.fstat(file).st_size > TIMES_BYTES:
            younger = os.pread(file, TIMES_BYTES, TIMES_BYTES // 2).partition(b"\n")[2]
            write_whole(directory, TIMES, younger.decode())
    finally:
        os.close(file)


def _cut(directory: int, stream: str, upto: int) -> None:
    """Give back the disk under a log's first bytes.

    On a file system that cannot, the whole log goes instead.
    """
    from ctypes import CDLL, c_int, c_long  # noqa: PLC0415 - rarely needed, and 5 ms to import

    file = os.open(stream, os.O_RDWR, dir_fd=directory)
    try:
        fallocate = CDLL(None).fallocate
        fallocate.argtypes = (c_int, c_int, c_long, c_long)
        if fallocate(file, _PUNCH, 0, upto) != 0:
            os.ftruncate(file, 0)
    finally:
        os.close(file)
