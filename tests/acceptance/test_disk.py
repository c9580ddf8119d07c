"""Trouble with the place where all is kept: in use, of a newer format, locked, or full."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sqlite.schema import LOG_FILE
from tests.acceptance.conftest import Serve
from tests.support import requirements
from tests.support.asking import greeting, web
from tests.support.serving import ControlPlane


def test_a_second_control_plane_is_told_who_holds_the_directory(shared: ControlPlane) -> None:
    second = shared.run()
    assert second.returncode == 1
    assert f"in use by process {shared.pid}" in second.stderr
    assert "--data" in second.stderr
    assert shared.get("/api/v1/version")["apiVersion"] == "stateward/v1"


def test_a_port_that_is_taken_is_named(shared: ControlPlane, tmp_path: Path) -> None:
    port = shared.http.base_url.port
    taken = shared.run(f"--data={tmp_path / 'other'}", f"--listen=127.0.0.1:{port}", "--no-nats")
    assert taken.returncode == 1
    assert f"127.0.0.1:{port}" in taken.stderr
    assert "Traceback" not in taken.stderr


def test_a_directory_of_a_newer_format_is_refused_untouched(
    shared: ControlPlane, tmp_path: Path
) -> None:
    data = tmp_path / "newer"
    data.mkdir()
    (data / "format").write_text("2\n")
    refused = shared.run(f"--data={data}")
    assert refused.returncode == 1
    assert "format 2" in refused.stderr
    assert {entry.name for entry in data.iterdir()} <= {"format", "lock"}


# -- a log that is away -------------------------------------------------------------------------


def test_while_another_process_holds_the_log_intents_are_turned_away_and_replicas_healed(
    serve: Serve,
) -> None:
    plane = serve("--no-nats")
    plane.apply("web", web("same", replicas=2))
    plane.rolled_out()
    plane.until(lambda: plane.events("rollout.completed"), "its end is recorded")
    with closing(sqlite3.connect(plane.data / LOG_FILE, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        refused = plane.put("web", web("other"), Idempotency_Key="k1")
        assert (refused.status_code, refused.json()["code"]) == (503, "LogUnavailable")
        assert "another process" in refused.json()["detail"]
        victim = min(plane.pids())
        os.kill(victim, signal.SIGKILL)
        plane.until(lambda: len(plane.pids() - {victim}) == 2, "it is healed all the same")
        assert plane.http.get("/livez").status_code == 200
        holder.execute("ROLLBACK")
    assert plane.apply("web", web("other"), Idempotency_Key="k1")["repeated"] is False
    plane.rolled_out()
    plane.until(lambda: plane.events("replica.healed"), "what was done meanwhile is recorded")
    assert greeting(plane.address()) == "other"


# -- a full disk --------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    requirements.require("root")
    directory = tmp_path / "disk"
    directory.mkdir()
    mount, umount = (requirements.find_program(name) for name in ("mount", "umount"))
    if mount is None or umount is None:
        pytest.skip("there is no program to mount a small disk with")
    argv = [str(mount), "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield directory
    subprocess.run([umount, "--lazy", directory], check=True)


def fill(disk: Path) -> Path:
    """Leave no free block."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096):
            while True:
                try:
                    if file.write(bytes(size)) < size:
                        break
                except OSError:
                    break
    return ballast


def test_a_full_disk_takes_no_intent_heals_what_runs_and_recovers(
    small_disk: Path, tmp_path: Path, serve: Serve
) -> None:
    (small_disk / "data").mkdir()
    elsewhere = tmp_path / "replicas"  # so that an app has space where the log has none
    elsewhere.mkdir()
    (small_disk / "data" / "replicas").symlink_to(elsewhere)
    plane = serve("--no-nats", data=small_disk / "data")
    plane.apply("web", web("before", replicas=2))
    plane.rolled_out()
    plane.until(lambda: plane.events("rollout.completed"), "its end is recorded")
    before = plane.pids()
    ballast = fill(small_disk)

    def is_refused() -> bool:
        answer = plane.put("web", web("x" * 20_000, replicas=2))
        if answer.status_code < 300:  # there was room in pages that the log already had
            return False
        assert (answer.status_code, answer.json()["code"]) == (503, "LogFull"), answer.text
        assert "no space" in answer.json()["detail"]
        assert answer.headers["Retry-After"]
        return True

    taken = sum(1 for _ in iter(is_refused, True))
    ready = plane.http.get("/readyz", params={"verbose": ""})
    assert ready.status_code == 503
    assert "no space" in ready.text
    assert plane.http.get("/livez").status_code == 200
    revision = plane.rolled_out()["metadata"]["revision"]
    assert revision == 1 + taken
    victim = min(plane.pids())
    os.kill(victim, signal.SIGKILL)
    plane.until(lambda: len(plane.pids() - {victim}) == 2, "it is healed all the same")
    plane.rolled_out()
    assert plane.events("replica.healed") == []
    ballast.write_bytes(bytes(ballast.stat().st_size - 1_000_000))
    plane.until(lambda: plane.put("web", web("after", replicas=2)).status_code == 200, "space")
    plane.rolled_out()
    assert greeting(plane.address()) == "after"
    plane.until(lambda: plane.events("replica.healed"), "what was done meanwhile is recorded")
    assert plane.http.get("/readyz").status_code == 200
    assert not before & plane.pids()
    assert plane.terminate() == 0
    assert plane.run(str(plane.data), verb="verify").returncode == 0
