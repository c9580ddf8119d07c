"""Producers that do not wait hand in at the submit stream: all is decided, in order, once."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from bus.nats.server import EmbeddedServer
from bus.nats.session import Message
from bus.nats.subjects import refused_subject, submit_subject
from domain.names import Ref
from tests.support.intents import Desk
from tests.support.nats_server import PATIENCE, Place, app, envelope, program, running
from tests.support.troubled_log import TroubledDesk


async def submit(
    sender: Client, verb: str, resource: str, data: object = None, *, key: str
) -> dict[str, Any]:
    """Hand in, and return what the stream says of having stored it."""
    answer = await sender.request(
        submit_subject("producer", Ref.parse(resource)),
        envelope(verb, resource, data, key=key),
        timeout=PATIENCE,
        headers={"Nats-Msg-Id": key},
    )
    stored: dict[str, Any] = json.loads(answer.data)
    assert "error" not in stored, stored
    return stored


async def decided(desk: Desk, key: str) -> None:
    """Wait until an event of an intent is in the log."""
    async with asyncio.timeout(PATIENCE):
        while key not in causes(desk):
            await asyncio.sleep(0.01)


def causes(desk: Desk) -> list[str]:
    """The keys of the intents whose events are in the log, in order, once each."""
    found = (json.loads(event.data)["cause"] for event in desk.log.events)
    return list(dict.fromkeys(found))


async def waiting(place: Place) -> int:
    """How many submissions the stream still holds."""
    async with program(place, "stateward") as insider:
        answer = await insider.request("$JS.API.STREAM.INFO.STATEWARD_SUBMIT", timeout=PATIENCE)
        state = json.loads(answer.data)["state"]
        return int(state["messages"])


async def emptied(place: Place) -> None:
    async with asyncio.timeout(PATIENCE):
        while await waiting(place):
            await asyncio.sleep(0.02)


async def refusals(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """What the refused stream keeps, with its subjects."""
    async with program(place, "stateward") as insider:
        stream = insider.jetstream()
        info = await stream.stream_info("STATEWARD_REFUSED")
        kept = [
            await stream.get_msg("STATEWARD_REFUSED", seq)
            for seq in range(1, info.state.last_seq + 1)
        ]
    return [(m.subject or "", json.loads(m.data or b"")) for m in kept]


async def refused(place: Place, count: int) -> list[tuple[str, dict[str, Any]]]:
    async with asyncio.timeout(PATIENCE):
        while len(kept := await refusals(place)) < count:
            await asyncio.sleep(0.02)
    return kept


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


async def test_what_is_submitted_is_decided_and_leaves_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        await decided(place.desk, "s1")
        await emptied(place)
        (defined,) = [e for e in place.desk.log.events if e.type == "app.defined"]
        assert json.loads(defined.data)["actor"] == "program:producer"


async def test_a_key_that_is_submitted_twice_is_stored_once(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        first = await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        again = await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        assert again["duplicate"]
        assert again["seq"] == first["seq"]


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


async def test_a_refused_one_is_kept_with_its_reason(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        await submit(producer, "scale", "App/shop/none", {"replicas": 2}, key="s1")
        await submit(producer, "scale", "App/shop/web", {"replica": 2}, key="s2")
        kept = await refused(place, 2)
        await emptied(place)
    by_key = {notice["data"]["key"]: (subject, notice) for subject, notice in kept}
    subject, notice = by_key["s1"]
    assert subject == refused_subject(submit_subject("producer", Ref("App", "shop", "none")))
    assert (notice["type"], notice["subject"]) == ("stateward.intent.refused.v1", "App/shop/none")
    assert notice["data"]["problem"]["code"] == "NotFound"
    assert by_key["s2"][1]["data"]["problem"]["detail"].startswith("data.replica: there is no such")


async def test_a_producer_hears_of_its_refusals(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def note(message: Any) -> None:
            heard.put_nowait(message.data)

        await producer.subscribe("stateward.v1.refused.producer.>", cb=note)
        await producer.flush()
        await producer.flush()
        await submit(producer, "stop", "App/shop/none", key="s1")
        async with asyncio.timeout(PATIENCE):
            assert json.loads(await heard.get())["data"]["key"] == "s1"


async def test_nonsense_is_refused_and_holds_nobody_up(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "nats") as place, program(place) as producer:
        for n, nonsense in enumerate((b"", b"{", b"\xff\xfe", b"[" * 10_000, b"null")):
            await producer.request(
                submit_subject("producer", Ref("App", "shop", f"n{n}")), nonsense, timeout=PATIENCE
            )
        await submit(producer, "apply", "App/shop/web", app("web"), key="s1")
        await decided(place.desk, "s1")
        await emptied(place)
        assert len(await refusals(place)) == 5


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


async def test_settings_of_a_stream_that_changed_are_brought_up_to_date(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place, program(place, "stateward") as insider:
        stream = insider.jetstream()
        config = (await stream.stream_info("STATEWARD_SUBMIT")).config
        config.max_bytes = 1 << 20
        await stream.update_stream(config)
    async with running(tmp_path / "nats") as place, program(place, "stateward") as insider:
        config = (await insider.jetstream().stream_info("STATEWARD_SUBMIT")).config
        assert config.max_bytes == 256 << 20


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
