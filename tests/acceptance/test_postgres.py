"""`stateward serve` over PostgreSQL: what users notice of it, and of its troubles."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.conftest import Serve
from tests.support.asking import greeting, until, web
from tests.support.postgres_server import Cluster, cluster
from tests.support.serving import ControlPlane

pytestmark = pytest.mark.needs("postgres", "pidfd")

RELOADED = "SELECT pg_reload_conf()"


@pytest.fixture
def server() -> Iterator[Cluster]:
    """A server of this test alone, to be stopped and started."""
    with cluster() as running:
        yield running


def installation(database: str, postgres: Cluster) -> str:
    ((found,),) = postgres.execute("SELECT id FROM stateward.installation", database)
    return str(found)


def trouble_of(plane: ControlPlane) -> str:
    """What readiness says of the log."""
    checks = plane.http.get("/readyz?verbose").json()["checks"]
    return next(str(c["message"]) for c in checks if c["name"] == "log" and not c["ok"])


def test_a_control_plane_over_postgres_rolls_out_and_survives_kill_9(
    serve: Serve, database: str, postgres: Cluster
) -> None:
    plane = serve("--no-nats", f"--log={database}")
    secret = {"apiVersion": "stateward/v1", "kind": "Secret", "spec": {"data": {"word": "hush"}}}
    put = plane.http.put("/api/v1/projects/default/secrets/db", json=secret)
    assert put.status_code in (200, 201), put.text
    env = {"GREETING": {"secretRef": {"name": "db", "key": "word"}}}
    first = plane.apply("web", web(env=env, replicas=2), Idempotency_Key="k1")
    plane.rolled_out()
    assert greeting(plane.address()) == "hush"
    pids = plane.pids()

    plane.restart()
    assert plane.pids() == pids
    again = plane.apply("web", web(env=env, replicas=2), Idempotency_Key="k1")
    assert (again["repeated"], again["position"]) == (True, first["position"])
    plane.act("web", "scale", {"replicas": 1})
    plane.rolled_out()
    assert installation(database, postgres) == plane.get("/api/v1/version")["installation"]
    assert not {"log.db", "secrets.db"} & {entry.name for entry in plane.data.iterdir()}
    said = " ".join(
        str(row) for row in postgres.execute("SELECT * FROM stateward.secrets", database)
    )
    assert "hush" not in said


def test_postgres_that_stops_and_comes_back_costs_only_the_intents_of_that_time(
    serve: Serve, server: Cluster
) -> None:
    plane = serve("--no-nats", f"--log={server.migrated()}")
    plane.apply("web", web("same", replicas=2))
    plane.rolled_out()
    plane.until(lambda: plane.events("rollout.completed"), "its end is recorded")
    server.stop()
    refused = plane.put("web", web("other"), Idempotency_Key="k1")
    assert (refused.status_code, refused.json()["code"]) == (503, "LogUnavailable")
    assert "PostgreSQL" in refused.json()["detail"] or "postgresql://" in refused.json()["detail"]
    assert plane.app()["spec"]["replicas"] == 2
    plane.until(lambda: plane.http.get("/readyz").status_code == 503, "it says that it is not well")
    assert "postgresql://" in trouble_of(plane)
    victim = min(plane.pids())
    os.kill(victim, signal.SIGKILL)
    plane.until(lambda: len(plane.pids() - {victim}) == 2, "it is healed all the same")
    assert plane.http.get("/livez").status_code == 200

    server.start()
    plane.until(lambda: plane.http.get("/readyz").status_code == 200, "it is well again")
    assert plane.apply("web", web("other"), Idempotency_Key="k1")["repeated"] is False
    plane.rolled_out()
    plane.until(lambda: plane.events("replica.healed"), "what was done meanwhile is recorded")
    assert greeting(plane.address()) == "other"


def test_a_read_only_server_turns_intents_away_until_it_takes_writes_again(
    serve: Serve, server: Cluster
) -> None:
    plane = serve("--no-nats", f"--log={server.migrated()}")
    server.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    server.execute(RELOADED)
    plane.until(lambda: plane.http.get("/readyz").status_code == 503, "it is noticed unasked")
    refused = plane.put("web", web(), Idempotency_Key="k1")
    assert refused.status_code == 503
    assert "default_transaction_read_only" in refused.json()["detail"]
    assert plane.get("/api/v1/targets")["items"]
    _let_write(server)
    plane.apply("web", web(), Idempotency_Key="k1")
    plane.rolled_out()
    plane.until(lambda: plane.http.get("/readyz").status_code == 200, "it is well again")


def _let_write(server: Cluster) -> None:
    auto = server.data / "postgresql.auto.conf"
    auto.write_text("")
    server.execute(RELOADED)


def test_postgres_that_starts_late_is_waited_for_and_the_reason_is_told(tmp_path: Path) -> None:
    with cluster() as server:
        url = server.migrated()
        server.stop()
        port = _free_port()
        options = ("--no-nats", f"--log={url}", f"--listen=127.0.0.1:{port}")
        plane = ControlPlane(tmp_path / "p", options)
        try:
            plane.begin()
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                told = until(lambda: _answer(client, "/api/v1/apps"), "it answers", lambda: "")
                assert told.status_code == 503
                assert told.json()["code"] == "LogUnavailable"
                assert f"127.0.0.1:{server.port}" in told.json()["detail"]
                assert client.get("/livez").status_code == 200
                assert client.get("/readyz").status_code == 503
                server.start()
                until(lambda: _is_ready(client), "it has begun", lambda: plane.said)
            assert plane.terminate() == 0
        finally:
            plane.close()


def test_waiting_for_postgres_ends_when_it_is_told_to(tmp_path: Path) -> None:
    port = _free_port()
    options = ("--no-nats", f"--log=postgresql://stateward@127.0.0.1:{_free_port()}/none")
    plane = ControlPlane(tmp_path / "p", (*options, f"--listen=127.0.0.1:{port}"))
    try:
        plane.begin()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            until(lambda: _answer(client, "/readyz"), "it answers", lambda: plane.said)
        assert plane.terminate() == 0
    finally:
        plane.close()


def _answer(client: httpx.Client, path: str) -> httpx.Response | None:
    try:
        return client.get(path)
    except httpx.HTTPError:
        return None


def _is_ready(client: httpx.Client) -> bool:
    answer = _answer(client, "/readyz")
    return answer is not None and answer.status_code == 200


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_what_only_a_person_can_change_is_said_at_once_with_what_to_do(
    postgres: Cluster, tmp_path: Path
) -> None:
    plane = ControlPlane(tmp_path / "p")
    empty = postgres.create()
    locked = postgres.url("postgres", user="guarded:wr0ng")
    for address, said in (
        (empty, f"run `stateward migrate --log {empty.replace('stateward@', '')}`"),
        (locked, "give the right password"),
        (postgres.url("nowhere"), "create the database"),
    ):
        refused = plane.run("--no-nats", f"--log={address}")
        assert refused.returncode == 1
        assert said in refused.stderr.replace("\n", " ")
        assert "wr0ng" not in refused.stderr + refused.stdout
        assert "Traceback" not in refused.stderr


def test_a_directory_of_another_installation_is_refused(
    serve: Serve, database: str, postgres: Cluster, tmp_path: Path
) -> None:
    plane = serve("--no-nats", f"--log={postgres.migrated()}")
    plane.terminate()
    refused = plane.run("--no-nats", f"--log={database}")
    assert refused.returncode == 1
    assert "is of installation" in refused.stderr
