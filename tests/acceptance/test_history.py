"""A log that is not what it was: unknown events, an older copy, an altered record."""

import asyncio
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sqlite.log import SqliteLog
from adapters.sqlite.schema import LOG_FILE
from bus.log import NewEvent
from tests.acceptance.conftest import Serve
from tests.support.asking import greeting, web

# -- a stream that cannot be read ---------------------------------------------------------------


def append_offline(data: Path, stream: str, kind: str) -> None:
    """As a newer version of Stateward would: sealed, with an event that this one does not know."""

    async def append() -> None:
        log = await SqliteLog.open(data, now=lambda: 0.0)
        await log.append([NewEvent(stream, kind, b'{"v":1}')], expect={})
        await log.close()

    asyncio.run(append())


def test_an_app_with_an_unknown_event_is_frozen_and_runs_on_while_others_work(
    serve: Serve,
) -> None:
    plane = serve("--no-nats")
    plane.apply("web", web("as it was", replicas=2))
    plane.apply("other", web("one"))
    plane.rolled_out()
    plane.rolled_out("other")
    address, before = plane.address(), plane.pids()
    assert plane.terminate() == 0
    append_offline(plane.data, "App/default/web", "app.teleported")
    plane.start()
    plane.apply("other", web("two"))
    plane.rolled_out("other")
    assert greeting(plane.address("other")) == "two"
    assert plane.condition("Ready") == ("Unknown", "Frozen")
    refused = plane.put("web", web("changed"))
    assert (refused.status_code, refused.json()["code"]) == (409, "Frozen")
    assert plane.pids() == before
    assert greeting(address) == "as it was"
    ready = plane.http.get("/readyz", params={"verbose": ""}).json()
    assert "App/default/web" in str(ready)
    assert "stateward_quarantined_streams 1" in plane.http.get("/metrics").text
    os.kill(min(before), signal.SIGKILL)
    plane.apply("other", web("three"))
    plane.rolled_out("other")
    assert plane.pids() == before - {min(before)}, "nothing is done to what cannot be read"


# -- a log that is not what it was --------------------------------------------------------------


@pytest.mark.parametrize("witness", ["its head file", "a replica on target local"])
def test_a_restored_older_copy_changes_nothing_until_it_is_accepted(
    serve: Serve, witness: str
) -> None:
    plane = serve("--no-nats")
    plane.apply("web", web("old"))
    plane.rolled_out()
    assert plane.terminate() == 0
    older = (plane.data / LOG_FILE).read_bytes()
    plane.start()
    plane.apply("web", web("new", replicas=2))
    plane.rolled_out()
    before = plane.pids()
    assert plane.terminate() == 0
    (plane.data / LOG_FILE).write_bytes(older)
    shutil.rmtree(plane.data / "snapshots")
    if witness != "its head file":
        (plane.data / "head").unlink()
    plane.start()
    plane.until(lambda: plane.condition("Degraded")[1] == "LogRewound", "the status says so")
    ready = plane.http.get("/readyz", params={"verbose": ""})
    assert ready.status_code == 503
    assert witness in ready.text
    refused = plane.put("web", web("other"))
    assert (refused.status_code, refused.json()["code"]) == (503, "LogRewound")
    os.kill(min(before), signal.SIGKILL)

    def is_seen() -> bool:
        states = [one["state"] for one in plane.app()["status"]["replicas"]]
        return sorted(states) == ["exited", "running"]

    plane.until(is_seen, "the dead replica is seen")
    assert plane.pids() == before - {min(before)}
    assert plane.terminate() == 0
    accepted = plane.run(f"--data={plane.data}", "--accept-rewind", verb="restore")
    assert accepted.returncode == 0, accepted.stderr
    plane.start()
    plane.apply("web", web("afterwards"))
    plane.rolled_out()
    assert greeting(plane.address()) == "afterwards"
    plane.until(lambda: len(plane.pids()) == 1, "one replica is left")
    assert plane.run(str(plane.data), verb="verify").returncode == 0


def test_an_altered_record_is_named_by_its_position(serve: Serve) -> None:
    plane = serve("--no-nats")
    position = plane.apply("web", web(replicas=0))["position"]
    plane.act("web", "scale", {"replicas": 0})
    assert plane.terminate() == 0
    with closing(sqlite3.connect(plane.data / LOG_FILE, isolation_level=None)) as forger:
        (changed,) = forger.execute(
            "SELECT notification_id FROM stored_events WHERE topic = 'app.defined'"
        ).fetchone()
        forger.execute(
            "UPDATE stored_events SET state = replace(state, 'user:admin', 'user:other')"
            " WHERE notification_id = ?",
            (changed,),
        )
    assert changed <= position
    found = plane.run(str(plane.data), verb="verify")
    assert found.returncode == 1
    assert f"first wrong position: {changed}" in found.stderr
