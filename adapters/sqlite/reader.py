"""The log's reading side: a few threads, each with a read-only connection of its own.

In write-ahead mode a reader neither waits for the writer nor holds it up, and each statement sees
whole groups only.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, final

from adapters.sqlite.schema import open_reader
from adapters.sqlite.trouble import explain
from bus.log import LogUnavailable

THREADS = 2  # one page of a long scan must not hold up the read of a single stream

type Row = tuple[Any, ...]


@final
class Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="log-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> asyncio.Future[list[Row]]:
        """Start a query at once, and return the future of all its rows."""
        return self.run(lambda connection: connection.execute(sql, parameters).fetchall())

    def run[T](self, job: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Start a job at once, in a thread with a connection that cannot write."""
        if self._closed:
            raise LogUnavailable("the log is closed; open it again")
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._pool, self._run, job)

    def close(self) -> None:
        """Blocks until the running queries are done."""
        self._closed = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def _run[T](self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return job(self._connection())
        except sqlite3.Error as error:
            raise explain(error, self._path, "read") from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = open_reader(self._path)
            self._connections.append(connection)
        return connection
