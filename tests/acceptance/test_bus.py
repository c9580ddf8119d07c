"""The bus may die: intents are kept and reconciled without it, and it comes back by itself."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.acceptance.conftest import Serve
from tests.acceptance.producing import ask, producer
from tests.support.asking import greeting, web
from tests.support.nats_server import foreign_server
from tests.support.serving import ControlPlane

pytestmark = pytest.mark.needs("nats")


@pytest.fixture
def name(shared: ControlPlane) -> Iterator[str]:
    """The name of an app that is deleted afterwards."""
    made = f"b{uuid4().hex[:8]}"
    yield made
    shared.delete(made)
    shared.until(lambda: not shared.pids(f"default/{made}"), "it is gone")


def bus_server(plane: ControlPlane) -> psutil.Process:
    """The one NATS server of a control plane that is connected to it."""

    def connected() -> psutil.Process | None:
        ready = plane.get("/readyz", verbose="")
        (bus,) = [check for check in ready["checks"] if check["name"] == "bus"]
        servers = plane.bus_servers()
        return servers[0] if len(servers) == 1 and "not connected" not in bus["message"] else None

    found: psutil.Process = plane.until(connected, "the bus is connected")
    return found


async def test_an_app_asked_for_over_the_bus_runs(shared: ControlPlane, name: str) -> None:
    bus_server(shared)
    body = {"apiVersion": "stateward/v1", "kind": "App", "spec": web("over nats")}
    manifest = body | {"metadata": {"name": name, "project": "default"}}
    async with producer(shared) as asking:
        answer = await ask(asking, "apply", name, manifest, key=uuid4().hex)
    assert answer["changes"][0]["result"] == "created"
    await asyncio.to_thread(shared.rolled_out, name)
    assert greeting(shared.address(name)) == "over nats"


async def test_a_killed_server_comes_back_and_takes_intents_again(
    shared: ControlPlane, name: str
) -> None:
    before = bus_server(shared)
    shared.apply(name, web("zero"))
    before.kill()
    shared.apply(name, web("meanwhile"))
    after = await asyncio.to_thread(bus_server, shared)
    assert after.pid != before.pid
    async with producer(shared) as asking:
        answer = await ask(asking, "scale", name, {"replicas": 2}, key=uuid4().hex)
    assert answer["changes"][0]["result"] == "configured"
    await asyncio.to_thread(shared.rolled_out, name)
    assert len(shared.pids(f"default/{name}")) == 2
    assert greeting(shared.address(name)) == "meanwhile"


def test_with_the_bus_killed_again_and_again_all_is_accepted_healed_and_ready(
    shared: ControlPlane, name: str
) -> None:
    for number in range(4):
        for server in shared.bus_servers():
            server.kill()
        shared.apply(name, web(str(number)))
        shared.rolled_out(name)
        assert greeting(shared.address(name)) == str(number)
        assert shared.http.get("/readyz").status_code == 200
    (victim,) = shared.pids(f"default/{name}")
    for server in shared.bus_servers():
        server.kill()
    os.kill(victim, signal.SIGKILL)
    shared.until(lambda: shared.pids(f"default/{name}") - {victim}, "it is healed")
    bus_server(shared)


async def test_the_servers_of_others_are_named_by_flags_and_one_is_enough(
    serve: Serve, tmp_path: Path
) -> None:
    async with foreign_server(tmp_path, 'authorization {token: "right"}') as port:
        servers = f"--nats=nats://127.0.0.1:1,nats://127.0.0.1:{port}"
        plane = await asyncio.to_thread(
            serve, servers, "--nats=nats://127.0.0.1:2", "--set=nats.token=right"
        )

        def connected() -> bool:
            return (
                f"connected to nats://127.0.0.1:{port}"
                in plane.http.get("/readyz", params={"verbose": ""}).text
            )

        await asyncio.to_thread(plane.until, connected, "the bus is connected")
        assert plane.bus_servers() == []
        assert plane.terminate() == 0


def test_a_bus_server_that_cannot_start_stops_nothing_else(serve: Serve) -> None:
    plane = serve("--nats=nats://127.0.0.1:1")  # nobody listens there, ever
    plane.apply("web", web("without a bus"))
    plane.rolled_out()
    assert greeting(plane.address()) == "without a bus"
    assert plane.http.get("/readyz").status_code == 200
    assert "not connected" in plane.http.get("/readyz", params={"verbose": ""}).text
    assert plane.terminate() == 0
