"""The schema: changed step by step beside running processes, and refused when it is wrong."""

import asyncio
from pathlib import Path

import pytest

from adapters.postgres import schema
from adapters.postgres.log import PostgresLog
from adapters.postgres.schema import MIGRATIONS, NEWEST, migrate
from adapters.postgres.server import Server
from adapters.postgres.verify import verify
from adapters.postgres.writer import KEY_LIFETIME, SWEEP_AFTER
from bus.log import LogUnusable
from tests.support.databases import append, opened, until
from tests.support.postgres_server import Cluster, execute

pytestmark = pytest.mark.needs("postgres")


async def has_keys(url: str, keys: list[str]) -> bool:
    return await execute(url, "SELECT key FROM stateward.keys ORDER BY at") == [(k,) for k in keys]


@pytest.fixture
def empty(postgres: Cluster) -> str:
    """The address of a database without any table."""
    return postgres.create()


async def test_migrations_are_applied_in_order_once_and_forward_only(empty: str) -> None:
    server = Server(empty)
    first = await migrate(server, upto=1)
    rest = await migrate(server)
    assert [m.number for m in (*first, *rest)] == list(range(1, NEWEST + 1))
    assert await migrate(server) == []
    assert await migrate(server, upto=1) == []
    found = await execute(empty, "SELECT number FROM stateward.migrations ORDER BY number")
    assert [number for (number,) in found] == [m.number for m in MIGRATIONS]


async def test_several_processes_may_migrate_at_once(empty: str) -> None:
    done = await asyncio.gather(*(migrate(Server(empty)) for _ in range(6)))
    assert sorted(m.number for each in done for m in each) == [m.number for m in MIGRATIONS]


async def test_a_migration_that_fails_leaves_the_schema_before_it(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = schema.Migration(NEWEST + 1, "broken", 1, "CREATE TABLE stateward.x (); SELECT 1/0")
    monkeypatch.setattr(schema, "MIGRATIONS", [*MIGRATIONS, broken])
    with pytest.raises(Exception, match="division by zero"):
        await migrate(Server(empty), upto=NEWEST + 1)
    assert await execute(empty, "SELECT max(number) FROM stateward.migrations") == [(NEWEST,)]
    assert await execute(empty, "SELECT to_regclass('stateward.x') IS NULL") == [(True,)]


async def test_a_migration_goes_on_below_a_log_in_use(postgres: Cluster, tmp_path: Path) -> None:
    url = postgres.migrated(1)
    async with opened(url, tmp_path) as log:
        going = True

        async def appender(number: int) -> int:
            done = 0
            while going:
                await append(log, f"App/shop/a{number}", key=f"{number}-{done}")
                done += 1
            return done

        appenders = [asyncio.create_task(appender(number)) for number in range(4)]
        await append(log)
        assert [m.number for m in await migrate(Server(url))] == [m.number for m in MIGRATIONS[1:]]
        await append(log)
        going = False
        assert len(await log.read(0, 10**6)) == sum(await asyncio.gather(*appenders)) + 2
    report = await asyncio.to_thread(verify, url, tmp_path)
    assert report.sound, report.problem


@pytest.mark.parametrize("number", [m.number for m in MIGRATIONS])
async def test_old_keys_are_forgotten_on_every_schema(
    postgres: Cluster, tmp_path: Path, number: int
) -> None:
    url = postgres.migrated(number)
    clock = [0.0]
    log = await PostgresLog.open(url, tmp_path, now=lambda: clock[0])
    try:
        await append(log, key="old")
        clock[0] = KEY_LIFETIME + 1
        await append(log, key="new")
        await until(lambda: has_keys(url, ["new"]))
        clock[0] += SWEEP_AFTER
        await append(log, key="newer")
        await until(lambda: has_keys(url, ["new", "newer"]))
    finally:
        await log.close()


async def test_an_empty_database_is_refused_with_the_command_that_prepares_it(
    empty: str, tmp_path: Path
) -> None:
    with pytest.raises(LogUnusable, match=r"no schema of Stateward.*stateward migrate --log"):
        await PostgresLog.open(empty, tmp_path, now=lambda: 0.0)


async def test_a_schema_that_is_too_old_is_refused_with_the_command_that_changes_it(
    postgres: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "OLDEST", 2)
    with pytest.raises(LogUnusable, match=r"has schema 1, .*works with 2 .*stateward migrate"):
        await PostgresLog.open(postgres.migrated(1), tmp_path, now=lambda: 0.0)


async def test_a_newer_schema_is_refused_only_if_it_says_so(database: str, tmp_path: Path) -> None:
    sql = "INSERT INTO stateward.migrations VALUES ({0}, 'of tomorrow', {1})"
    await execute(database, sql.format(NEWEST + 1, NEWEST))
    async with opened(database, tmp_path) as log:
        await append(log)
    await execute(database, sql.format(NEWEST + 2, NEWEST + 2))
    with pytest.raises(LogUnusable, match=rf"has schema {NEWEST + 2}.*a newer version"):
        await PostgresLog.open(database, tmp_path, now=lambda: 0.0)


async def test_a_database_that_is_not_utf8_is_not_migrated(postgres: Cluster) -> None:
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(LogUnusable, match="UTF-8"):
        await migrate(Server(postgres.url("latin")))
