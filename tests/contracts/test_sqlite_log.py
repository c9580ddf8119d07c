"""The SQLite log keeps the contract of `bus.log`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.sqlite.log import SqliteLog
from tests.contracts.log import LogContract


class TestSqliteLog(LogContract):
    @pytest.fixture
    async def log(self, tmp_path: Path) -> AsyncIterator[SqliteLog]:
        log = await SqliteLog.open(tmp_path, now=lambda: 1_700_000_000.0)
        yield log
        await log.close()
