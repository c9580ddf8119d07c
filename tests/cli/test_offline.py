"""verify, backup, restore, doctor: what works without a server."""

import asyncio
import fcntl
import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.sqlite.log import SqliteLog
from bus.log import NewEvent
from stateward.cli.app import app
from stateward.cli.doctor import Examined, examine
from stateward.cli.session import Session
from stateward.layers import load
from tests.support.surroundings import surroundings


def run(home: Path, *words: str) -> Result:
    def opened(**chosen: str) -> Session:
        return Session(surroundings(home), context=chosen["context"], server=chosen["server"])

    return CliRunner().invoke(app, list(words), obj=opened, prog_name="stateward")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with three events, where a user's is by default."""
    directory = tmp_path / ".local/state/stateward"
    directory.mkdir(parents=True)
    (directory / "installation").write_text("an-installation\n")
    asyncio.run(write(directory, 3))
    return directory


async def write(directory: Path, count: int) -> None:
    log = await SqliteLog.open(directory, now=lambda: 0.0)
    try:
        for number in range(count):
            await log.append([NewEvent(f"App/shop/a{number}", "app.test", b"{}")], expect={})
    finally:
        await log.close()


def test_a_sound_log_is_said_to_be(tmp_path: Path, data: Path) -> None:
    result = run(tmp_path, "verify")
    assert result.exit_code == 0
    assert result.stdout == (f"The log in {data} is sound: 3 events, sealed up to position 3.\n")
    facts = json.loads(run(tmp_path, "verify", "-o", "json").stdout)
    assert (facts["sound"], facts["events"], facts["altered"]) == (True, 3, None)


def test_an_altered_record_is_named_by_its_position(tmp_path: Path, data: Path) -> None:
    connection = sqlite3.connect(data / "log.db")
    connection.execute("UPDATE stored_events SET state = x'78' WHERE notification_id = 2")
    connection.commit()
    connection.close()
    result = run(tmp_path, "verify", "--data", str(data))
    assert result.exit_code == 1
    assert "first wrong position: 2" in result.stderr
    assert "is not sound" in run(tmp_path, "backup", str(tmp_path / "copy")).stderr


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, "verify", str(tmp_path / "none"))
    assert result.exit_code == 1
    assert "does not exist" in result.stderr


def test_a_backup_comes_back(tmp_path: Path, data: Path) -> None:
    made = run(tmp_path, "backup", str(tmp_path / "copy"))
    assert made.exit_code == 0, made.output
    assert "holds the log up to position 3, verified" in made.stdout
    assert "The key of the secrets is not in it" in made.stderr
    assert "is not empty" in run(tmp_path, "backup", str(tmp_path / "copy")).stderr
    assert "is not empty" in run(tmp_path, "restore", str(tmp_path / "copy")).stderr
    back = run(tmp_path, "restore", str(tmp_path / "copy"), "--data", str(tmp_path / "new"))
    assert back.exit_code == 0, back.output
    assert run(tmp_path, "verify", str(tmp_path / "new")).exit_code == 0


def test_an_old_log_goes_on_only_when_that_is_accepted(tmp_path: Path, data: Path) -> None:
    run(tmp_path, "backup", str(tmp_path / "copy"))
    asyncio.run(write_more(data))
    head = (data / "head").read_bytes()
    new = tmp_path / "new"
    new.mkdir()
    (new / "head").write_bytes(head)
    assert run(tmp_path, "restore", str(tmp_path / "copy"), "--data", str(new)).exit_code == 0
    assert run(tmp_path, "verify", str(new)).exit_code == 1
    accepted = run(tmp_path, "restore", "--accept-rewind", "--data", str(new))
    assert accepted.exit_code == 0, accepted.output
    assert run(tmp_path, "verify", str(new)).exit_code == 0


async def write_more(directory: Path) -> None:
    log = await SqliteLog.open(directory, now=lambda: 0.0)
    await log.append([NewEvent("App/shop/later", "app.test", b"{}")], expect={})
    await log.close()


def test_nothing_is_restored_under_a_running_control_plane(tmp_path: Path, data: Path) -> None:
    run(tmp_path, "backup", str(tmp_path / "copy"))
    with (data / "lock").open("w") as lock:
        lock.write("process 42")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(tmp_path, "restore", "--accept-rewind")
    assert result.exit_code == 1
    assert f"a control plane uses {data} (process 42); stop it first" in result.stderr


def test_restore_says_what_it_needs(tmp_path: Path) -> None:
    assert run(tmp_path, "restore").exit_code == 2


def test_doctor_finds_what_is_wrong_and_says_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "doctor", "-o", "json")
    found = {item["name"]: item for item in json.loads(result.stdout)["items"]}
    assert list(found) == ["python", "data directory", "disk", "clock", "port", "docker", "nats"]
    assert found["python"]["good"]
    assert found["nats"]["found"].startswith("embedded, nats-server")


def test_doctor_looks_at_what_is_configured(tmp_path: Path) -> None:
    variables = {
        "STATEWARD_NATS__SERVERS": "nats://127.0.0.1:9",
        "STATEWARD_ENGINE__DOCKER_HOST": f"unix://{tmp_path}/none.sock",
        "STATEWARD_ENGINE__DEFAULT": "docker",
    }
    settings = load(surroundings(tmp_path, **variables))
    found = {finding.name: finding for finding in examine(Examined(settings, 1970))}
    assert found["nats"].advice.startswith("start it, or correct nats.servers")
    assert found["docker"].bad
    assert found["clock"].bad
