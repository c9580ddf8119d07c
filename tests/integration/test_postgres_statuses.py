"""Statuses over a real PostgreSQL: put by one, seen by all, and never by an older holder again."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from adapters.postgres.statuses import PostgresStatuses
from reconcilers.status import AppStatus, TargetStatus
from tests.support.postgres_server import Cluster

pytestmark = pytest.mark.needs("postgres")

PATIENCE = 60.0
WEB = "App/shop/web"


def app(ready: int) -> AppStatus:
    return AppStatus(
        uid=1,
        observed_generation=2,
        observed_at=1_700_000_000.0 + ready,
        revision=1,
        serving=1,
        wanted=3,
        ready=ready,
        updated=ready,
        conditions=(),
    )


def target(replicas: int) -> TargetStatus:
    return TargetStatus(answers=True, message="", observed_at=1.0, replicas=replicas)


@pytest.fixture
async def stores(database: str) -> AsyncIterator[list[PostgresStatuses]]:
    stores = [await PostgresStatuses.open(database) for _ in range(2)]
    yield stores
    for store in stores:
        await store.close()


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.01)


async def test_what_one_puts_another_sees_as_it_was_and_drops(
    stores: list[PostgresStatuses],
) -> None:
    one, other = stores
    one.put(WEB, app(1), 5)
    one.put_target("local", target(7), 5)
    assert one.get(WEB) == app(1)
    await until(lambda: other.get(WEB) and other.get_target("local"))
    assert (other.get(WEB), other.get_target("local")) == (app(1), target(7))
    assert WEB in other.changes()
    one.drop(WEB)
    await until(lambda: other.get(WEB) is None)


async def test_an_older_holder_replaces_nothing_of_a_newer_one(
    stores: list[PostgresStatuses], database: str
) -> None:
    one, other = stores
    one.put(WEB, app(3), 9)
    await until(lambda: other.get(WEB) == app(3))
    late = await PostgresStatuses.open(database)
    late.put(WEB, app(1), 8)  # before it has read anything
    late.put(f"{WEB}2", app(2), 8)
    await until(lambda: other.get(f"{WEB}2"))
    await until(lambda: late.get(WEB) == app(3))
    assert one.get(WEB) == other.get(WEB) == app(3)
    await late.close()


async def test_the_fences_of_two_targets_are_not_compared(
    stores: list[PostgresStatuses], database: str
) -> None:
    """An app moves, and its new holder has the older lease: what it tells counts all the same."""
    one, other = stores
    one.put(WEB, app(3), 9, asked=20)
    await until(lambda: other.get(WEB) == app(3))
    other.put(WEB, app(1), 4, asked=21)
    await until(lambda: one.get(WEB) == app(1))
    late = await PostgresStatuses.open(database)
    late.put(WEB, app(2), 9, asked=20)  # it does not know yet that the app has gone
    await until(lambda: late.get(WEB) == app(1))
    assert one.get(WEB) == other.get(WEB) == app(1)
    late.put(WEB, app(2), 5, asked=21)
    await until(lambda: one.get(WEB) == app(2))
    await late.close()


async def test_many_who_put_at_once_hide_nothing_from_who_reads_on(database: str) -> None:
    stores = [await PostgresStatuses.open(database) for _ in range(4)]
    for number in range(200):
        stores[number % 4].put(f"App/shop/a{number}", app(number), 1)
        await asyncio.sleep(0.005)
    for store in stores:
        await until(lambda store=store: all(store.get(f"App/shop/a{n}") for n in range(200)))  # type: ignore[misc]
        await store.close()


async def test_with_the_database_away_what_is_put_is_known_here_and_told_later(
    postgres: Cluster, database: str, stores: list[PostgresStatuses]
) -> None:
    one, other = stores
    one.put(WEB, app(1), 1)
    await until(lambda: other.get(WEB))
    postgres.stop()
    one.put(WEB, app(2), 1)
    await until(lambda: one.trouble)
    assert (one.get(WEB), other.get(WEB)) == (app(2), app(1))
    postgres.start()
    await until(lambda: other.get(WEB) == app(2))
    connection = await asyncpg.connect(database)
    assert await connection.fetchval("SELECT count(*) FROM stateward.statuses") == 1
    await connection.close()
