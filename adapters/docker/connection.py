"""The way to one Docker daemon: the blocking SDK in bounded threads, its errors translated.

A daemon that cannot be reached, breaks off or answers too late is `EngineUnavailable`, whatever
was asked. What a daemon that answers refuses stays the SDK's `APIError`, for the caller in this
folder to give a meaning to.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, final

import docker
import msgspec
import requests
import urllib3
from docker.errors import APIError, DockerException, create_api_error_from_http_exception

from adapters.docker.transport import connect
from reconcilers.ports import EngineUnavailable

ANSWER_TIMEOUT = 60  # seconds; a busy daemon takes long, a stuck one for ever
PARALLEL_CALLS = 8
PARALLEL_WAITS = 32  # calls that wait for something else: a stop, a pull, a command


@final
class Connection:
    """Calls of one daemon. Connects at the first, and pins the API version it then finds."""

    def __init__(self, host: str, *, parallel_starts: int) -> None:
        self.host = host
        self._client: docker.APIClient | None = None
        self._connecting = threading.Lock()
        self._closed = False
        self._calls = ThreadPoolExecutor(PARALLEL_CALLS, "docker-call")
        self._waits = ThreadPoolExecutor(PARALLEL_WAITS, "docker-wait")
        self._starts = ThreadPoolExecutor(parallel_starts, "docker-start")

    async def call[T](self, ask: Callable[[docker.APIClient], T]) -> T:
        """Run a short call in a thread.

        Raises:
            EngineUnavailable: the daemon cannot be reached, or answered too late.
            APIError: it answered, and refused.
        """
        return await self._in(self._calls, ask)

    async def wait[T](self, ask: Callable[[docker.APIClient], T]) -> T:
        """Run a call that may take long; otherwise like `call`."""
        return await self._in(self._waits, ask)

    async def start(self, container: str) -> None:
        """Start a container, when its turn comes: more than a few at once are only slower."""
        await self._in(self._starts, lambda client: client.start(container))

    async def get[T](self, kind: type[T], path: str, **params: str | int) -> T:
        """GET a path of the API and decode the answer. Raises like `call`."""
        return await self.call(lambda client: get(client, kind, path, params))

    @contextmanager
    def connected(self) -> Iterator[docker.APIClient]:
        """The client, for use in a thread; errors in the block are translated."""
        try:
            yield self._connect()
        except APIError as error:
            if error.status_code == requests.codes.service_unavailable:
                raise self._unavailable(error) from error
            raise
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise self._unavailable(error) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        """Take no more calls. Those under way end in their threads."""
        self._closed = True
        for pool in (self._calls, self._waits, self._starts):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def _in[T](self, pool: ThreadPoolExecutor, ask: Callable[[docker.APIClient], T]) -> T:
        def run() -> T:
            with self.connected() as client:
                return ask(client)

        if self._closed:
            raise EngineUnavailable(f"the connection to the Docker daemon at {self.host} is closed")
        return await asyncio.get_running_loop().run_in_executor(pool, run)

    def _connect(self) -> docker.APIClient:
        with self._connecting:
            if self._client is None:
                self._client = connect(
                    self.host, timeout=ANSWER_TIMEOUT, connections=PARALLEL_CALLS + PARALLEL_WAITS
                )
            return self._client

    def _unavailable(self, error: Exception) -> EngineUnavailable:
        return EngineUnavailable(
            f"the Docker daemon at {self.host} does not answer: {root_cause(error)}"
        )


def url(client: docker.APIClient, path: str) -> str:
    return f"{client.base_url}/v{client.api_version}{path}"


def get[T](client: docker.APIClient, kind: type[T], path: str, params: Mapping[str, Any]) -> T:
    """GET and decode only what `kind` has: several times faster than the SDK's dictionaries."""
    answer = client.get(url(client, path), params=params, timeout=ANSWER_TIMEOUT)
    check(answer)
    return msgspec.json.decode(answer.content, type=kind)


def check(answer: requests.Response) -> None:
    """Raise what the SDK raises for a refusal.

    Raises:
        APIError: the daemon refused.
    """
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        create_api_error_from_http_exception(error)


def sentence(error: APIError) -> str:
    """What the daemon said, without the SDK's address lines around it."""
    return (error.explanation or str(error)).strip()


def root_cause(error: BaseException) -> str:
    """What was wrong in the first place, under the layers of an HTTP library."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return str(error) or type(error).__name__
