"""Where everything is kept: the log and the secrets, in the data directory or in PostgreSQL.

Without a database nothing can begin, and it may be started later than we are: then it is waited
for, and whoever asks meanwhile is told what for.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from adapters.files.keyfile import KEY_FILE
from adapters.postgres.log import PostgresLog
from adapters.postgres.secrets import PostgresSecrets
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.secrets import SqliteSecrets
from bus.log import LogUnavailable, LogUnusable, WatchedLog
from bus.secrets import SecretStore, SecretUnavailable
from gateway.server import serve
from gateway.waiting import Waiting
from reconcilers.projecting import SealedLog
from stateward.data import Data, claimed
from stateward.settings import Api, Settings

RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger("storing")


class ControlLog(WatchedLog, SealedLog, Protocol):
    """All that a control plane asks of its log."""


class Stores(NamedTuple):
    """`data` is the directory, with the id of the installation that the log is of."""

    log: ControlLog
    secrets: SecretStore
    data: Data


@asynccontextmanager
async def stores(
    settings: Settings, data: Data, *, now: Callable[[], float], new_id: Callable[[], str]
) -> AsyncIterator[Stores]:
    """Open both for as long as the context lasts.

    Raises:
        LogUnavailable: the log in the directory cannot be opened.
        LogUnusable: the log needs somebody to change something.
        DataTrouble: the directory is of another installation than the log.
    """
    key_file = settings.secrets.key_file or data.directory / KEY_FILE
    async with AsyncExitStack() as stack:
        if settings.log.url is None:
            log = await SqliteLog.open(
                data.directory, now=now, synchronous=settings.log.synchronous
            )
            stack.push_async_callback(log.close)
            secrets = await SqliteSecrets.open(data.directory, now=now, key_file=key_file)
            stack.push_async_callback(secrets.close)
            yield Stores(log, secrets, data)
            return
        url = settings.log.url.reveal()
        shared = await _patiently(
            lambda: PostgresLog.open(url, data.directory, now=now), settings.api
        )
        stack.push_async_callback(shared.close)
        data = claimed(data, await _patiently(lambda: shared.installation(new_id), settings.api))
        values = await _patiently(lambda: _secrets(url, key_file, now), settings.api)
        stack.push_async_callback(values.close)
        yield Stores(shared, values, data)


async def _secrets(url: str, key_file: Path, now: Callable[[], float]) -> PostgresSecrets:
    try:
        return await PostgresSecrets.open(url, key_file, now=now)
    except SecretUnavailable as error:
        raise LogUnavailable(str(error)) from error


async def _patiently[T](attempt: Callable[[], Awaitable[T]], api: Api) -> T:
    """Try until it works or waiting cannot help; meanwhile, answer why there is no answer."""
    try:
        return await attempt()
    except LogUnusable:
        raise
    except LogUnavailable as error:
        _log.warning("waiting for the log", reason=str(error))
        waiting = Waiting(error)
    closing = asyncio.Event()
    async with serve(waiting.build(), api.host, api.port, closing=closing, drain_seconds=1):
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                return await attempt()
            except LogUnusable:
                raise
            except LogUnavailable as error:
                waiting.reason = error
