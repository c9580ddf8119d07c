"""Endless answers of the daemon, read in a thread and handed to the event loop.

A feed is closed from the event loop at any moment: its socket is shut down, and its thread ends.
The threads are daemons, so that none of them can hold up the end of the process.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol, final

import requests
from docker.types.daemon import CancellableStream

ROOM = 1024  # items that wait for a slow reader; then the daemon waits

_HEADER = 8  # bytes before each frame: stream, three zeros, length
_STREAMS = {1: "stdout", 2: "stderr"}


class Source[T](Protocol):
    """A blocking stream. `cancel` may be called from any thread, `close` ends it for good."""

    def __iter__(self) -> Iterator[T]: ...
    def cancel(self) -> None: ...
    def close(self) -> None: ...


class _End(NamedTuple):
    failure: BaseException | None


@final
class Feed[T]:
    """The items of one source, for one reader. Always close it."""

    def __init__(self, connect: Callable[[], Source[T]]) -> None:
        """`connect` runs in the thread, and may block or raise."""
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[T | _End] = asyncio.Queue()
        self._room = threading.Semaphore(ROOM)
        self._lock = threading.Lock()
        self._source: Source[T] | None = None
        self._closed = False
        threading.Thread(target=self._read, name="docker-feed", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            item = await self._items.get()
            self._room.release()
            if isinstance(item, _End):
                if item.failure is not None:
                    raise item.failure
                return
            yield item

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._source is not None:
                self._source.cancel()
        self._room.release()

    def _read(self) -> None:
        failure: BaseException | None = None
        try:
            self._read_source()
        except BaseException as error:  # raised again where the items are read
            failure = error
        self._hand_over(_End(failure))

    def _read_source(self) -> None:
        source = self._connect()
        try:
            with self._lock:
                if self._closed:
                    return
                self._source = source
            for item in source:
                self._room.acquire()
                if self._closed:
                    return
                self._hand_over(item)
        finally:
            with self._lock:
                self._source = None
            source.close()

    def _hand_over(self, item: T | _End) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._items.put_nowait, item)


class Wire:
    """One streamed answer, and the way to break it off."""

    def __init__(self, answer: requests.Response) -> None:
        self._answer = answer
        self._stream: CancellableStream[bytes] = CancellableStream(iter(()), answer)

    def cancel(self) -> None:
        with suppress(OSError, AttributeError):  # it ended by itself at this moment
            self._stream.close()

    def close(self) -> None:
        self._answer.close()


@final
class Lines(Wire):
    """The lines of an answer as they come."""

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        for chunk in self._answer.raw.read_chunked(decode_content=False):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from filter(None, lines)


class Frame(NamedTuple):
    stream: str
    data: bytes


@final
class Frames(Wire):
    """The frames of an answer in which the daemon mixes a program's two outputs."""

    def __iter__(self) -> Iterator[Frame]:
        read = self._answer.raw.read
        while len(header := read(_HEADER)) == _HEADER:
            yield Frame(_STREAMS.get(header[0], "stderr"), read(int.from_bytes(header[4:], "big")))
