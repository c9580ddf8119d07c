"""Which tables the database has, and whether this version of Stateward can work with them.

Migrations only add. Each says which schema a program must know at least to go on working beside
it, so that a rollout migrates first and then replaces one process after the other.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Final, NamedTuple

from adapters.postgres.server import Connection, Server
from adapters.postgres.trouble import TROUBLE, explain
from bus.log import LogUnusable

CHANNEL: Final = "stateward_log"
OLDEST: Final = 1
"""The oldest schema that this version can work with."""

_NAME = re.compile(r"(?P<number>\d{4})_(?P<words>\w+)\.sql")
_TURN = "SELECT pg_advisory_xact_lock(8315168253862016869)"  # one migration at a time
_BEGIN = """
CREATE SCHEMA IF NOT EXISTS stateward;
CREATE TABLE IF NOT EXISTS stateward.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    needs integer NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)
"""
_EXISTS = "SELECT to_regclass('stateward.migrations') IS NOT NULL"
_FOUND = "SELECT coalesce(max(number), 0), coalesce(max(needs), 0) FROM stateward.migrations"
_NOTE = "INSERT INTO stateward.migrations (number, name, needs) VALUES ($1, $2, $3)"
_ENCODING = "SELECT current_setting('server_encoding')"


class Migration(NamedTuple):
    """One step. `needs` is the newest schema that a program must know to work beside it."""

    number: int
    name: str
    needs: int
    sql: str


class Schema(NamedTuple):
    """What a database has: 0 when nothing."""

    number: int
    needs: int


def _read() -> Sequence[Migration]:
    found = []
    for file in files("adapters.postgres").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(file.name)
        if match is not None:
            # Additive ones leave alone what the first release uses.
            words = match["words"].replace("_", " ")
            found.append(Migration(int(match["number"]), words, 1, file.read_text("utf-8")))
    return sorted(found)


MIGRATIONS: Final = _read()
NEWEST: Final = MIGRATIONS[-1].number


async def migrate(server: Server, upto: int = NEWEST) -> Sequence[Migration]:
    """Bring the database to a schema, each step in a transaction; return the steps that it took.

    Safe while control planes run, and when several do this at once.

    Raises:
        LogUnavailable: the database cannot be reached or changed.
        LogUnusable: it does not keep text as UTF-8.
    """
    async with server.connected("migrate") as connection:
        try:
            if await connection.fetchval(_ENCODING) != "UTF8":
                raise LogUnusable(
                    f"{server.shown} does not keep text as UTF-8; create the database with "
                    "ENCODING 'UTF8'"
                )
            async with connection.transaction():
                await connection.execute(_TURN)
                await connection.execute(_BEGIN)
            done = [
                migration
                for migration in MIGRATIONS
                if migration.number <= upto and await _apply(connection, migration)
            ]
        except TROUBLE as error:
            raise explain(error, server.shown, "migrate the log") from error
    return done


async def _apply(connection: Connection, migration: Migration) -> bool:
    async with connection.transaction():
        await connection.execute(_TURN)
        number, _ = await connection.fetchrow(_FOUND) or (0, 0)
        if number >= migration.number:
            return False
        await connection.execute(migration.sql)
        await connection.execute(_NOTE, migration.number, migration.name, migration.needs)
    return True


async def check(connection: Connection, shown: str, knows: int = NEWEST) -> Schema:
    """Return the database's schema, if a program that `knows` one can work with it.

    Raises:
        LogUnusable: it cannot; the message says which command helps.
    """
    found = Schema(0, 0)
    if await connection.fetchval(_EXISTS):
        number, needs = await connection.fetchrow(_FOUND) or (0, 0)
        found = Schema(number, needs)
    if found.number < OLDEST:
        state = f"schema {found.number}" if found.number else "no schema of Stateward"
        raise LogUnusable(
            f"{shown} has {state}, and this version works with {OLDEST} to {knows}; run "
            f"`stateward migrate --log {shown}`"
        )
    if found.needs > knows:
        raise LogUnusable(
            f"{shown} has schema {found.number}, which only versions that know schema "
            f"{found.needs} may use, and this one knows {knows}: a newer version has migrated it; "
            "install that one, and see it by `stateward version`"
        )
    return found
