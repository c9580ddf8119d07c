"""What PostgreSQL's errors mean for the log.

Three questions are answered of each: what the log raises instead, whether the append may have been
written all the same, and whether the connection is of any more use.
"""

import asyncio
import ssl
from typing import Final

import asyncpg
from asyncpg import exceptions as pg
from asyncpg.exceptions import InternalClientError

from bus.log import LogFull, LogUnavailable, LogUnusable

TROUBLE: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    InternalClientError,
    OSError,
    asyncio.TimeoutError,
    ssl.SSLError,
)
"""All that a connection may raise."""

_GONE: Final = (
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,  # the server is ending, or has ended this session
    asyncpg.InterfaceError,
    InternalClientError,
    OSError,
    asyncio.TimeoutError,
)
_POISON: Final = (asyncpg.DataError, pg.DataError, pg.IntegrityConstraintViolationError)
_MIGRATE = "{reason}; run `stateward migrate`"
_EXPLAINED: Final[tuple[tuple[type[Exception], type[LogUnavailable], str], ...]] = (
    (
        pg.InvalidPasswordError,
        LogUnusable,
        "{reason}; give the right password in `log.url` or ~/.pgpass",
    ),
    (
        pg.InvalidAuthorizationSpecificationError,
        LogUnusable,
        "{reason}; give another user in `log.url`, or let this one in by pg_hba.conf",
    ),
    (
        pg.InvalidCatalogNameError,
        LogUnusable,
        "{reason}; create the database, then run `stateward migrate`",
    ),
    (
        pg.InsufficientPrivilegeError,
        LogUnusable,
        "{reason}; grant the user all on the schema `stateward`, or connect as its owner",
    ),
    (pg.UndefinedTableError, LogUnusable, _MIGRATE),
    (pg.UndefinedFunctionError, LogUnusable, _MIGRATE),
    (pg.InvalidSchemaNameError, LogUnusable, _MIGRATE),
    (asyncpg.ClientConfigurationError, LogUnusable, "its address is not usable; correct `log.url`"),
    (
        pg.DiskFullError,
        LogFull,
        (
            "it has no space left; nothing was written, reading goes on, and appends work again as "
            "soon as space is made there"
        ),
    ),
    (
        pg.ReadOnlySQLTransactionError,
        LogUnavailable,
        (
            "it is read-only: a replica, or its `default_transaction_read_only` is on; nothing was "
            "written; name the primary in `log.url`, or end that"
        ),
    ),
    (
        pg.LockNotAvailableError,
        LogUnavailable,
        (
            "others kept it locked for too long; nothing was written; try again, and look into "
            "pg_locks for who holds it"
        ),
    ),
    (
        pg.QueryCanceledError,
        LogUnavailable,
        "it took too long and gave up; nothing was written; try again",
    ),
    (TimeoutError, LogUnavailable, "it does not answer; try again"),
)


def is_gone(error: BaseException) -> bool:
    """Whether the connection broke, so that nobody knows what became of what was sent.

    A statement that ran out of its time was cancelled by the server itself: that is known.
    """
    return isinstance(error, _GONE) and not isinstance(
        error, pg.QueryCanceledError | asyncpg.DataError | asyncpg.ClientConfigurationError
    )


def is_poison(error: BaseException) -> bool:
    """Whether a single append causes it, for which the others of its group must not suffer."""
    return isinstance(error, _POISON)


def refuses_writes(error: BaseException) -> bool:
    """Whether the server answers and takes nothing: another one may have become the primary."""
    return isinstance(error, pg.ReadOnlySQLTransactionError | asyncpg.InternalClientError)


def explain(error: BaseException, place: str, asked: str) -> LogUnavailable:
    """The error to raise instead of PostgreSQL's own; the message never holds a credential."""
    for kind, named, words in _EXPLAINED:
        if isinstance(error, kind):
            return named(f"could not {asked} at {place}: {words.format(reason=_reason(error))}")
    return LogUnavailable(f"could not {asked} at {place}: {_reason(error)}; try again")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
