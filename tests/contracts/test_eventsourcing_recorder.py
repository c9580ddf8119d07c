"""The log passes the tests that the eventsourcing library ships for its recorders."""

from collections.abc import Iterator
from contextlib import ExitStack
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

from adapters.recording.recorder import SyncAggregateRecorder, SyncRecorder, open_recorder
from adapters.sqlite.log import SqliteLog
from adapters.sqlite.verify import verify


class _OnSqlite(RecorderTestCase):
    """A log of its own for each test; streams are named by text."""

    __test__ = False

    def setUp(self) -> None:
        self._exits = ExitStack()
        self.directory = Path(self._exits.enter_context(TemporaryDirectory()))
        self.recorder = self._exits.enter_context(
            open_recorder(lambda: SqliteLog.open(self.directory, now=lambda: 0.0))
        )
        self.addCleanup(self._exits.close)

    def new_originator_id(self) -> str:
        return str(uuid4())


class TestAggregateRecorder(_OnSqlite, AggregateRecorderTestCase):
    __test__ = True

    def create_recorder(self) -> SyncAggregateRecorder:
        return SyncAggregateRecorder(self.recorder._log, self.recorder._loop)


class TestApplicationRecorder(_OnSqlite, ApplicationRecorderTestCase[SyncRecorder]):
    __test__ = True

    def create_recorder(self) -> SyncRecorder:
        return self.recorder

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[SyncRecorder]:
    with open_recorder(lambda: SqliteLog.open(tmp_path, now=lambda: 0.0)) as recorder:
        yield recorder


def test_what_the_library_records_is_sealed_like_everything_else(
    tmp_path: Path, recorder: SyncRecorder
) -> None:
    recorder.insert_events([StoredEvent("a", 1, "t", b"1"), StoredEvent("a", 2, "t", b"2")])
    report = verify(tmp_path)
    assert report.sound
    assert report.events == 2
