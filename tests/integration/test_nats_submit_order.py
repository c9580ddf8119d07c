"""What is submitted is decided in order and once, whatever happens in between."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus.nats import streams
from bus.nats.server import EmbeddedServer
from bus.nats.session import Message
from bus.nats.settings import NatsSettings
from bus.nats.subjects import submit_subject
from domain.names import Ref
from tests.support.intents import Desk, manifest
from tests.support.nats_server import (
    PATIENCE,
    Place,
    app,
    client,
    envelope,
    foreign_server,
    program,
    running,
)
from tests.support.producers import causes, decided, emptied, refusals, refused, submit, waiting
from tests.support.troubled_log import TroubledDesk


@asynccontextmanager
async def connected(settings: NatsSettings, desk: Desk) -> AsyncIterator[Place]:
    """A control plane on a NATS that was there before it."""
    place = Place(settings, desk)
    await place.bus.start()
    try:
        await place.ready()
        yield place
    finally:
        await place.bus.stop()


@asynccontextmanager
async def server_alone(place: Place) -> AsyncIterator[None]:
    """The server of a place, while its control plane is down."""
    assert place.settings.directory is not None
    server = EmbeddedServer(place.settings.directory)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def test_what_came_while_we_were_down_is_decided_at_the_start_in_order_and_once(
    tmp_path: Path,
) -> None:
    desk = Desk()
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place:
        pass
    async with server_alone(place), program(place) as producer:
        await submit(producer, "apply", "App/shop/web", app("web"), key="s0")
        for n in range(1, 40):
            await submit(producer, "scale", "App/shop/web", {"replicas": n + 1}, key=f"s{n}")
    before = len(desk.log.events)
    async with running(tmp_path / "nats", desk) as place:
        await decided(desk, "s39")
        await emptied(place)
    assert causes(desk)[-40:] == [f"s{n}" for n in range(40)]
    scaled = [e for e in desk.log.events[before:] if e.type == "app.scaled"]
    assert [json.loads(e.data)["spec"]["replicas"] for e in scaled] == list(range(2, 41))


async def test_one_that_was_appended_but_not_acknowledged_takes_effect_once(
    tmp_path: Path,
) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place, program(place) as producer:
        desk.trouble.hold(stream="App/shop/web")
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        async with asyncio.timeout(PATIENCE):
            await desk.trouble.held(1)
        pid = place.server_pid
        os.kill(pid, signal.SIGKILL)  # the acknowledgement will find nobody
        desk.trouble.release()
        await decided(desk, "s1")
        async with asyncio.timeout(PATIENCE):
            while place.bus.status().server_restarts == 0:
                await asyncio.sleep(0.01)
            await place.bus.ready()
        await emptied(place)
    assert desk.types.count("app.defined") == 1


async def test_one_that_waits_for_the_log_holds_its_successors_and_nobody_else(
    tmp_path: Path,
) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place, program(place) as producer:
        desk.trouble.hold(stream="App/shop/held")
        await submit(producer, "apply", "App/shop/held", app("held"), key="held")
        for n in range(100):  # more than are decided at once
            await submit(producer, "scale", "App/shop/held", {"replicas": n + 2}, key=f"h{n}")
        await submit(producer, "apply", "App/shop/free", app("free"), key="free")
        await decided(desk, "free")
        assert "held" not in causes(desk)
        desk.trouble.release()
        await decided(desk, "h99")
        await emptied(place)
    assert [key for key in causes(desk) if key.startswith("h")] == [
        "held",
        *(f"h{n}" for n in range(100)),
    ]


async def test_a_log_that_is_away_loses_nothing(tmp_path: Path) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place, program(place) as producer:
        desk.trouble.away = True
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        await submit(producer, "scale", "App/shop/web", {"replicas": 3}, key="s2")
        async with asyncio.timeout(PATIENCE):
            await desk.trouble.tried(desk.trouble.attempts + 2)
        assert await waiting(place) == 2
        desk.trouble.away = False
        await decided(desk, "s2")
        await emptied(place)
        assert await refusals(place) == []
    assert causes(desk)[-2:] == ["s1", "s2"]


async def test_the_stream_survives_a_killed_server(tmp_path: Path) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    desk.trouble.away = True
    async with running(tmp_path / "nats", desk) as place:
        async with program(place) as producer:
            await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        os.kill(place.server_pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while place.bus.status().server_restarts == 0:
                await asyncio.sleep(0.01)
            await place.bus.ready()
        desk.trouble.away = False
        await decided(desk, "s1")


async def test_one_that_comes_after_a_later_one_of_its_resource_is_refused_as_superseded(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "apply", "App/shop/other", app("other"), key="s1")
        await submit(producer, "apply", "App/shop/web", app("web"), key="s2")
        await decided(place.desk, "s2")
        late = Message(
            submit_subject("producer", Ref("App", "shop", "web")),
            "$JS.ACK.STATEWARD_SUBMIT.stateward.1.1.1.0.0",
            envelope("scale", "App/shop/web", {"replicas": 9}, key="late"),
            {},
        )
        await place.bus._submit.arrived(late)
        ((_, notice),) = await refused(place, 1)
    assert notice["data"]["problem"]["code"] == "Superseded"
    assert "late" not in causes(place.desk)


async def test_a_delivery_that_comes_again_while_it_is_decided_is_one(tmp_path: Path) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place:
        desk.trouble.hold(stream="App/shop/web")
        message = Message(
            submit_subject("producer", Ref("App", "shop", "web")),
            "$JS.ACK.STATEWARD_SUBMIT.stateward.1.1.1.0.0",
            envelope("apply", "App/shop/web", app("web"), key="s1"),
            {},
        )
        attempts = desk.trouble.attempts
        for _ in range(3):
            await place.bus._submit.arrived(message)
        desk.trouble.release()
        await decided(desk, "s1")
        assert desk.trouble.attempts == attempts + 1


async def test_one_that_was_not_decided_when_we_stopped_comes_before_what_came_since(
    tmp_path: Path,
) -> None:
    desk = TroubledDesk()
    await desk.furnish()
    await desk.send(manifest("App", "web", {"image": "nginx:1.27"}))
    async with foreign_server(tmp_path, "") as port:  # which does not stop with us
        url = f"nats://127.0.0.1:{port}"
        async with client(url) as producer:
            async with connected(NatsSettings(servers=(url,)), desk):
                desk.trouble.away = True
                await submit(producer, "scale", "App/shop/web", {"replicas": 2}, key="s1")
                async with asyncio.timeout(PATIENCE):
                    await desk.trouble.tried(desk.trouble.attempts + 1)
            await submit(producer, "scale", "App/shop/web", {"replicas": 3}, key="s2")
        desk.trouble.away = False
        async with connected(NatsSettings(servers=(url,)), desk):
            await decided(desk, "s2")
    assert causes(desk)[-2:] == ["s1", "s2"]


async def test_what_a_process_holds_that_hangs_is_decided_by_another_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "ACK_SECONDS", 2)
    desk = TroubledDesk()
    await desk.furnish()
    async with foreign_server(tmp_path, "") as port, client(f"nats://127.0.0.1:{port}") as producer:
        settings = NatsSettings(servers=(f"nats://127.0.0.1:{port}",))
        async with connected(settings, Desk(desk.log)), connected(settings, desk) as hangs:
            desk.trouble.hold()
            for task in hangs.bus._tasks:
                if task.get_name() == "nats submit stream":
                    task.cancel()  # it asks for no patience any more, as when it is paused
            await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
            async with asyncio.timeout(PATIENCE):
                await desk.trouble.held(1)
            await decided(desk, "s1")  # by the other, for this one does nothing
            desk.trouble.release()
            await submit(producer, "scale", "App/shop/web", {"replicas": 2}, key="s2")
            await decided(desk, "s2")
    assert causes(desk)[-2:] == ["s1", "s2"]
    assert desk.types.count("app.defined") == 1
