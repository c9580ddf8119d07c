"""Several processes over one PostgreSQL and one NATS: what users notice of them, and of their ends.

The engine is simulated, in a process of its own that all of them reach.
"""

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import TTL, Fleet, fleet, measured, seconds_until
from tests.support.postgres_server import Cluster
from tests.support.serving import ControlPlane

pytestmark = pytest.mark.needs("postgres", "nats", "pidfd")

APPS = 12


@pytest.fixture
def town(tmp_path: Path, postgres: Cluster) -> Iterator[Fleet]:
    with fleet(tmp_path, postgres.migrated()) as found:
        yield found


def spec(**more: Any) -> dict[str, Any]:
    return {"image": "web:1", "target": "fleet", **more}


def furnished(town: Fleet, plane: ControlPlane) -> None:
    """Apps that run, told by one gateway."""
    town.furnish(plane)
    for number in range(APPS):
        plane.apply(f"a{number}", spec())
    for number in range(APPS):
        plane.rolled_out(f"a{number}")


def ready(plane: ControlPlane) -> int:
    items = plane.get("/api/v1/projects/default/apps")["items"]
    return sum((item["status"] or {}).get("ready", 0) for item in items)


def shared_out(town: Fleet, *planes: ControlPlane) -> None:
    for plane in planes:
        plane.until(partial(_holds, town, plane, 64 // len(planes)), "it has its share")
    assert sum(map(town.held, planes)) == 64


def _holds(town: Fleet, plane: ControlPlane, share: int) -> bool:
    return town.held(plane) == share


def test_workers_share_the_apps_and_every_gateway_tells_how_all_of_them_are(town: Fleet) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    b.until(lambda: ready(b) == APPS, "the other gateway knows it, too")

    def told(plane: ControlPlane) -> list[Any]:
        return [plane.app(f"a{number}")["status"]["conditions"] for number in range(APPS)]

    b.until(lambda: told(a) == told(b), "both gateways tell the same of every app")
    assert all(b.app(f"a{number}")["status"]["ageSeconds"] >= 0 for number in range(APPS))
    found = town.machine.ask()
    assert (len(found["apps"]), found["doubled"], found["writes"]["start"]) == (APPS, [], APPS)
    workers = {plane.get("/api/v1/targets/fleet")["status"]["worker"] for plane in (a, b)}
    assert len(workers) == 1
    assert workers <= {"a", "b"}
    assert "WORKER" in a.run("targets", "-o", "wide", verb="get").stdout


def test_logs_commands_and_plans_reach_the_worker_that_holds_the_app(town: Fleet) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    for plane in (a, b):
        for number in range(APPS):
            path = f"/api/v1/projects/default/apps/a{number}"
            lines = plane.http.get(f"{path}/logs").text.splitlines()
            assert [json.loads(line)["text"] for line in lines] == ["serving", "listening"]
            answer = plane.http.post(f"{path}/exec", json={"argv": ["x", "both"]})
            assert (answer.status_code, answer.json()["exitCode"]) == (200, 3), answer.text
            assert answer.json()["stdout"] == "out\n"
            assert plane.get(f"{path}/plan")["actions"] == []
        done = plane.run("-i", "a0", "--", "x", "converse", verb="exec", typed="hello\n")
        assert (done.returncode, done.stdout) == (7, "hello\nno more\n"), done.stderr
    assert b.get("/api/v1/targets/fleet/foreign")["items"] == []


def test_a_gateway_and_a_worker_may_be_processes_of_their_own(town: Fleet) -> None:
    gateway, worker = town.add("g", "gateway"), town.add("w", "worker")
    furnished(town, gateway)
    assert town.held(gateway) == 0
    assert worker.http.get("/api/v1/version").status_code == 404
    assert worker.http.get("/readyz").status_code == 200
    lines = gateway.http.get("/api/v1/projects/default/apps/a1/logs").text.splitlines()
    assert len(lines) == 2
    worker.kill()
    answer = gateway.http.get("/api/v1/projects/default/apps/a1/logs")
    assert (answer.status_code, answer.json()["code"]) == (502, "EngineUnavailable"), answer.text
    assert ready(gateway) == APPS  # as it was last seen, with its age


def test_doctor_tells_which_workers_live_and_who_holds_what(town: Fleet) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    config = town.home / "config.yaml"
    lines = [f"log: {{url: '{town.database}'}}", f"nats: {{servers: ['{town.nats.url}']}}"]
    config.write_text("\n".join([*lines, f"worker: {{lease_ttl: {TTL:g}s}}", ""]))

    def told() -> dict[str, Any]:
        said = a.run(f"--config={config}", f"--data={a.data}", "-o", "json", verb="doctor").stdout
        return {one["name"]: one for one in json.loads(said)["items"]}

    found = told()
    for name in ("worker a", "worker b"):
        assert found[name]["good"], found[name]
        assert "holds fleet (32 of 64)" in found[name]["found"]
    b.kill()
    a.until(lambda: town.held(a) == 64, "it has all")
    found = told()
    assert "holds fleet (64 of 64)" in found["worker a"]["found"]
    assert not found.get("worker b", {"good": False})["good"]


def test_after_kill_9_another_worker_takes_over_and_nothing_is_doubled_or_lost(
    town: Fleet,
) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    b.kill()
    for number in range(APPS):
        town.machine.ask(f"kill a{number}")
    took = seconds_until(lambda: len(town.machine.ask()["apps"]) == APPS, "all that died is healed")
    assert measured(a, "stateward_lease_takeovers_total") > 0
    a.until(lambda: ready(a) == APPS, "and is told as ready")
    found = town.machine.ask()
    assert (found["doubled"], found["writes"]["start"]) == ([], 2 * APPS), took
    b.start()
    shared_out(town, a, b)
    assert town.machine.ask()["writes"]["start"] == 2 * APPS


def test_sigterm_hands_over_at_once_and_exits_0_and_no_app_is_restarted(town: Fleet) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    writes = town.machine.ask()["writes"]
    began = time.monotonic()
    assert b.terminate() == 0
    assert time.monotonic() - began < 10  # what is promised to whoever ends it
    a.until(lambda: town.held(a) == 64, "it has all")
    assert measured(a, "stateward_lease_takeovers_total") == 0
    assert town.machine.ask()["writes"] == writes


def test_a_worker_that_was_paused_for_longer_than_its_lease_begins_nothing_when_it_wakes(
    town: Fleet,
) -> None:
    a, b = town.add("a"), town.add("b")
    furnished(town, a)
    shared_out(town, a, b)
    b.tell(signal.SIGSTOP)
    a.until(lambda: town.held(a) == 64, "it has all")
    for number in range(APPS):
        a.act(f"a{number}", "scale", {"replicas": 2})
    a.until(lambda: ready(a) == 2 * APPS, "it goes on alone")
    b.tell(signal.SIGCONT)
    b.until(lambda: measured(b, "stateward_leases_lost_total") > 0, "it notices")
    shared_out(town, a, b)
    b.until(lambda: ready(b) == 2 * APPS, "it knows how they are")
    time.sleep(TTL)
    found = town.machine.ask()
    assert (found["doubled"], found["writes"]["start"]) == ([], 2 * APPS)
