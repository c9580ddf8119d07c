"""The PostgreSQL log keeps the contract of `bus.log`, on each schema that is in use."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.postgres.log import PostgresLog
from adapters.postgres.schema import MIGRATIONS
from bus.log import WatchedLog
from tests.contracts.log import LogContract
from tests.support.postgres_server import Cluster

pytestmark = pytest.mark.needs("postgres")

NOW = 1_700_000_000.0


class TestPostgresLog(LogContract):
    @pytest.fixture
    async def log(self, database: str, tmp_path: Path) -> AsyncIterator[WatchedLog]:
        log = await PostgresLog.open(database, tmp_path, now=lambda: NOW)
        yield log
        await log.close()


@pytest.mark.parametrize("schema", [m.number for m in MIGRATIONS[:-1]], scope="class")
class TestPostgresLogOnAnEarlierSchema(LogContract):
    @pytest.fixture
    def earlier(self, postgres: Cluster, schema: int) -> str:
        return postgres.migrated(schema)

    @pytest.fixture
    async def log(self, earlier: str, tmp_path: Path) -> AsyncIterator[WatchedLog]:
        log = await PostgresLog.open(earlier, tmp_path, now=lambda: NOW)
        yield log
        await log.close()


class TestPostgresLogThatKnowsAnEarlierSchema(LogContract):
    """Yesterday's release on today's schema."""

    @pytest.fixture
    async def log(self, database: str, tmp_path: Path) -> AsyncIterator[WatchedLog]:
        knows = MIGRATIONS[0].number
        log = await PostgresLog.open(database, tmp_path, now=lambda: NOW, knows=knows)
        yield log
        await log.close()
