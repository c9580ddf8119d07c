"""The logs pass the tests that the eventsourcing library ships for its recorders."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from eventsourcing.tests.persistence import (
    AggregateRecorderTestCase,
    ApplicationRecorderTestCase,
    RecorderTestCase,
)

from adapters.postgres.log import PostgresLog
from adapters.postgres.verify import verify as verify_database
from adapters.recording.recorder import SyncAggregateRecorder, SyncRecorder, open_recorder
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.verify import verify
from tests.support.postgres_server import Cluster

TWO = [StoredEvent("a", 1, "t", b"1"), StoredEvent("a", 2, "t", b"2")]


class _OnALog(RecorderTestCase):
    """A log of its own for each test; streams are named by text."""

    __test__ = False

    def opened(self, directory: Path) -> AbstractContextManager[SyncRecorder]:
        raise NotImplementedError

    def setUp(self) -> None:
        self._exits = ExitStack()
        directory = Path(self._exits.enter_context(TemporaryDirectory()))
        self.recorder = self._exits.enter_context(self.opened(directory))
        self.addCleanup(self._exits.close)

    def new_originator_id(self) -> str:
        return str(uuid4())


class _Streams(_OnALog, AggregateRecorderTestCase):
    def create_recorder(self) -> SyncAggregateRecorder:
        return SyncAggregateRecorder(self.recorder._log, self.recorder._loop)


class _Everything(_OnALog, ApplicationRecorderTestCase[SyncRecorder]):
    def create_recorder(self) -> SyncRecorder:
        return self.recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class _Sqlite:
    def opened(self, directory: Path) -> AbstractContextManager[SyncRecorder]:
        return open_recorder(lambda: SqliteLog.open(directory, now=lambda: 0.0))


class _Postgres:
    cluster: Cluster

    @pytest.fixture(autouse=True)
    def _has_a_server(self, postgres: Cluster) -> None:
        type(self).cluster = postgres

    def opened(self, directory: Path) -> AbstractContextManager[SyncRecorder]:
        url = self.cluster.migrated()
        return open_recorder(lambda: PostgresLog.open(url, directory, now=lambda: 0.0))


class TestAggregateRecorderOnSqlite(_Sqlite, _Streams):
    __test__ = True


class TestApplicationRecorderOnSqlite(_Sqlite, _Everything):
    __test__ = True


@pytest.mark.needs("postgres")
class TestAggregateRecorderOnPostgres(_Postgres, _Streams):
    __test__ = True


@pytest.mark.needs("postgres")
class TestApplicationRecorderOnPostgres(_Postgres, _Everything):
    __test__ = True


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[SyncRecorder]:
    with open_recorder(lambda: SqliteLog.open(tmp_path, now=lambda: 0.0)) as recorder:
        yield recorder


def test_what_the_library_records_is_sealed_like_everything_else(
    tmp_path: Path, recorder: SyncRecorder
) -> None:
    recorder.insert_events(TWO)
    report = verify(tmp_path)
    assert report.sound
    assert report.events == 2


@pytest.mark.needs("postgres")
def test_what_the_library_records_in_postgres_is_sealed_too(tmp_path: Path, database: str) -> None:
    with open_recorder(lambda: PostgresLog.open(database, tmp_path, now=lambda: 0.0)) as recorder:
        recorder.insert_events(TWO)
        report = verify_database(database, tmp_path)
    assert report.sound, report.problem
    assert report.events == 2
