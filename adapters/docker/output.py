"""What a container or a command in it writes, put together from the daemon's frames."""

from collections.abc import Iterator
from typing import final

import requests

from adapters.docker.connection import Connection, check
from adapters.docker.facts import moment
from adapters.docker.feed import Feed, Frame, Frames
from reconcilers.ports import LogLine

MAX_LINE = 2**20  # bytes; the daemon splits lines at 16 KiB, and they are put together again
MAX_OUTPUT = 2**20  # bytes of each stream of a command; the rest is thrown away


@final
class Output:
    """The frames of one answer, with errors translated."""

    def __init__(self, connection: Connection, answer: requests.Response) -> None:
        check(answer)
        frames = Frames(answer)
        self._docker = connection
        self._frames = frames
        self.cancel = frames.cancel
        self.close = frames.close

    def __iter__(self) -> Iterator[Frame]:
        with self._docker.connected():
            yield from self._frames


@final
class Assembly:
    """Makes lines of frames that hold a time and a line, or a part of a long one."""

    def __init__(self) -> None:
        self._begun: dict[str, LogLine] = {}

    def add(self, frame: Frame) -> LogLine | None:
        stamp, _, text = frame.data.partition(b" ")
        begun = self._begun.pop(frame.stream, None)
        at = begun.at if begun else moment(stamp.decode()) or 0.0
        line = LogLine(at, frame.stream, (begun.text if begun else b"") + text)
        if text.endswith(b"\n") or len(line.text) >= MAX_LINE:
            return line._replace(text=line.text.removesuffix(b"\n"))
        self._begun[frame.stream] = line
        return None

    def rest(self) -> list[LogLine]:
        """Lines that the program had not finished."""
        return sorted(self._begun.values())


async def collect(feed: Feed[Frame]) -> dict[str, bytes]:
    """All a command wrote, by stream."""
    output = {"stdout": bytearray(), "stderr": bytearray()}
    async for frame in feed:
        kept = output[frame.stream]
        kept += frame.data[: MAX_OUTPUT - len(kept)]
    return {stream: bytes(kept) for stream, kept in output.items()}
