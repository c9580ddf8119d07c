"""`stateward export`: a log as JSON lines, without secrets, and without names when asked."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from adapters.sqlite.log import SqliteLog
from adapters.sqlite.secrets import SqliteSecrets
from bus import codec, exports
from bus.intents import IntentService
from projections.desired import DesiredState
from stateward.cli.app import app
from stateward.cli.session import Session
from tests.support.intents import ALICE, manifest
from tests.support.surroundings import surroundings

NOW = 1_900_000_000.0
PLAIN = "cleartext-of-the-customer"
SPEC = {
    "target": "basement",
    "image": "registry.example.org/acme/frontend:7",
    "command": ["/srv/acme", "--tenant=acme"],
    "replicas": 2,
    "env": {"CUSTOMER": "initech", "PIN": {"secretRef": {"name": "vault", "key": "pin"}}},
    "ports": [{"name": "web", "port": 8080}],
    "health": {"readiness": {"http": {"path": "/accounting", "port": "web"}}},
}
DOCKER = {"engine": "docker", "docker": {"host": "tcp://rack7:2375"}, "description": "rack seven"}
NAMES = (
    "acme",
    "accounting",
    "alice",
    "basement",
    "frontend",
    "initech",
    "CUSTOMER",
    "rack",
    "vault",
    "payroll",
    '"pin"',
    '"web"',
    "k-of-alice",
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a real log, and a secret in the real store beside it."""
    directory = tmp_path / ".local/state/stateward"
    directory.mkdir(parents=True)
    (directory / "installation").write_text("an-installation\n")
    asyncio.run(_write(directory))
    return directory


async def _write(directory: Path) -> None:
    log = await SqliteLog.open(directory, now=lambda: NOW)
    secrets = await SqliteSecrets.open(directory, now=lambda: NOW)
    service = IntentService(log, secrets, now=lambda: datetime.fromtimestamp(NOW, UTC))
    made = [
        manifest("Target", "basement", DOCKER),
        manifest("Project", "payroll", {"description": "of acme"}),
        manifest("Secret", "vault", {"data": {"pin": PLAIN}}, project="payroll"),
        manifest("App", "frontend", SPEC, project="payroll", labels={"team": "accounting"}),
    ]
    try:
        await service.submit(made, actor=ALICE, key="k-of-alice")
    finally:
        await log.close()
        await secrets.close()


def run(home: Path, *words: str) -> Result:
    def opened(**chosen: str) -> Session:
        return Session(surroundings(home), context=chosen["context"], server=chosen["server"])

    return CliRunner().invoke(app, ["export", *words], obj=opened, prog_name="stateward")


def test_every_event_is_a_line_behind_a_header(tmp_path: Path, data: Path) -> None:
    result = run(tmp_path)
    assert result.exit_code == 0, result.output
    header, *events = map(json.loads, result.stdout.splitlines())
    assert header["installation"] == "an-installation"
    assert header["position"] == events[-1]["position"]
    assert len(header["seal"]) == 64
    assert [event["type"] for event in events].count("app.defined") == 1
    assert events[0]["data"]["actor"] == "user:alice"
    assert exports.read(result.stdout_bytes.splitlines(keepends=True)).header.events == len(events)


def test_the_store_of_secrets_is_neither_read_nor_needed(tmp_path: Path, data: Path) -> None:
    """Two ways to know: nothing of it is in the export, and the export is the same without it."""
    with_store = run(tmp_path, str(data)).stdout
    for name in ("secrets.db", "secret.key"):
        (data / name).unlink()
    assert run(tmp_path, str(data)).stdout == with_store
    assert PLAIN not in with_store


def test_under_other_names_the_shape_stays_and_no_name_does(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "redacted.jsonl"
    result = run(tmp_path, "--redact", "-o", str(out))
    assert result.exit_code == 0, result.output
    text = out.read_text()
    assert [name for name in NAMES if name in text] == []
    desired = DesiredState(codec.decode)
    with out.open("rb") as file:
        desired.fold(exports.read(file).events)
    found = desired.app("App/project-1/app-1")
    assert found is not None
    assert (found.wanted, found.revision, found.target) == (2, 1, "target-1")
    assert found.spec.ports[0].port == 8080


def test_a_file_is_whole_or_not_there_and_only_its_owner_reads_it(
    tmp_path: Path, data: Path
) -> None:
    out = tmp_path / "export.jsonl"
    assert run(tmp_path, "-o", str(out)).exit_code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert run(tmp_path, str(tmp_path / "nowhere"), "-o", str(tmp_path / "no")).exit_code == 1
    assert not list(tmp_path.glob("no*"))
