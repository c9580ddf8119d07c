"""The verbs that open a log themselves, with one in PostgreSQL."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.files.headfile import write_head
from adapters.postgres.schema import MIGRATIONS
from bus.log import Head
from stateward.cli.app import app
from stateward.cli.session import Session
from tests.support.databases import append, opened
from tests.support.postgres_server import GUARDED, RIGHT, Cluster, private_directory
from tests.support.surroundings import surroundings

pytestmark = pytest.mark.needs("postgres")


def run(home: Path, *words: str, **variables: str) -> Result:
    def opened(**chosen: str) -> Session:
        here = surroundings(home, **variables)
        return Session(here, context=chosen["context"], server=chosen["server"])

    return CliRunner().invoke(app, list(words), obj=opened, prog_name="stateward")


@pytest.fixture
def filled(database: str, tmp_path: Path) -> str:
    """The address of a log with three events, of the data directory `data`."""

    async def fill() -> None:
        async with opened(database, tmp_path / "data") as log:
            await log.installation(lambda: "an-installation")
            for number in range(3):
                await append(log, data=b'{"n":%d}' % number)

    asyncio.run(fill())
    return database


def test_migrate_tells_each_step_and_then_that_there_is_none(
    postgres: Cluster, tmp_path: Path
) -> None:
    url = postgres.create()
    first, second = run(tmp_path, "migrate", "--log", url), run(tmp_path, "migrate", "--log", url)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert [line[:4] for line in first.stdout.splitlines()[:-1]] == [
        f"{m.number:04}" for m in MIGRATIONS
    ]
    assert f"has schema {MIGRATIONS[-1].number} already" in second.stdout
    assert "stateward@" not in first.output


def test_migrate_without_a_database_says_how_to_name_one(tmp_path: Path) -> None:
    refused = run(tmp_path, "migrate")
    assert refused.exit_code == 2
    assert "--log" in refused.output


def test_verify_and_export_open_the_log_that_the_settings_name(filled: str, tmp_path: Path) -> None:
    for words, variables in (
        (("--log", filled, "--data", str(tmp_path / "data")), {}),
        (("--data", str(tmp_path / "data")), {"STATEWARD_LOG__URL": filled}),
    ):
        verified = run(tmp_path, "verify", *words, "-o", "json", **variables)
        assert verified.exit_code == 0, verified.output
        found = json.loads(verified.stdout)
        assert (found["sound"], found["events"], found["position"]) == (True, 3, 3)
        exported = run(tmp_path, "export", *words, **variables)
        assert exported.exit_code == 0, exported.output
        lines = [json.loads(line) for line in exported.stdout.splitlines()]
        assert len(lines) == 1 + 3
        assert lines[0]["installation"] == "an-installation"


def test_verify_names_what_was_altered_in_the_database(
    filled: str, postgres: Cluster, tmp_path: Path
) -> None:
    postgres.execute(
        "UPDATE stateward.stored_events SET topic = 'x' WHERE notification_id = 2", filled
    )
    found = run(tmp_path, "verify", "--log", filled)
    assert found.exit_code == 1
    assert "first wrong position: 2" in found.output


def test_backup_and_restore_name_the_tools_that_copy_a_database(
    filled: str, tmp_path: Path
) -> None:
    for words in (("backup", str(tmp_path / "b")), ("restore", str(tmp_path / "b"))):
        refused = run(tmp_path, *words, "--log", filled)
        assert refused.exit_code == 1
        for word in ("pg_dump", "pg_basebackup", "--accept-rewind", "key of the secrets"):
            assert word in refused.output.replace("\n", " ")


def test_a_rewind_of_the_database_is_accepted_by_who_says_so(filled: str, tmp_path: Path) -> None:
    words = ("--log", filled, "--data", str(tmp_path / "data"))
    write_head(tmp_path / "data", Head(9, bytes(32)))
    assert "has seen position 9" in run(tmp_path, "verify", *words).output
    accepted = run(tmp_path, "restore", "--accept-rewind", *words)
    assert accepted.exit_code == 0, accepted.output
    assert run(tmp_path, "verify", *words).exit_code == 0


def test_a_password_is_in_nothing_that_is_printed(filled: str, tmp_path: Path) -> None:
    wrong = filled.replace("stateward@", f"{GUARDED}:wr0ng@")
    for verb in ("migrate", "verify", "export"):
        refused = run(tmp_path, verb, "--log", wrong)
        assert refused.exit_code == 1
        assert "right password" in refused.output.replace("\n", " ")
        assert "wr0ng" not in refused.output
        assert RIGHT not in refused.output.replace("the right password", "")


def test_an_address_of_something_else_is_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, "verify", "--log", "mysql://ada:wr0ng@h/x")
    assert refused.exit_code == 1
    assert "postgresql://USER@HOST:PORT/DATABASE" in refused.output
    assert "wr0ng" not in refused.output


def test_a_dump_that_is_brought_back_is_written_to_once_what_is_missing_is_accepted(
    filled: str, postgres: Cluster, tmp_path: Path
) -> None:
    with private_directory() as place:
        dump = place / "monday.dump"
        postgres.run("pg_dump", "--format=custom", "--file", str(dump), filled)
        _append(filled, tmp_path / "data")
        fresh = postgres.create()
        postgres.run("pg_restore", "--dbname", fresh, str(dump))
    words = ("--log", fresh, "--data", str(tmp_path / "data"))
    assert "ends at position 3" in run(tmp_path, "verify", *words).output
    accepted = run(tmp_path, "restore", "--accept-rewind", *words)
    assert accepted.exit_code == 0, accepted.output
    assert _append(fresh, tmp_path / "data") == (5,)
    verified = run(tmp_path, "verify", *words)
    assert verified.exit_code == 0, verified.output


def _append(url: str, directory: Path) -> tuple[int, ...]:
    async def appended() -> tuple[int, ...]:
        async with opened(url, directory) as log:
            return (await append(log)).positions

    return asyncio.run(appended())
