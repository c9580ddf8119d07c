"""Programs ask over NATS and are answered once their intent is on disk."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NoAnswer

from bus.nats.subjects import intent_subject
from domain.names import Ref
from tests.support.nats_server import PATIENCE, Place, app, client, envelope, program, running
from tests.support.troubled_log import TroubledDesk


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with running(tmp_path / "nats") as started:
        yield started


@pytest.fixture
async def producer(place: Place) -> AsyncIterator[Client]:
    async with program(place) as connected:
        yield connected


async def ask(
    sender: Client,
    verb: str,
    resource: str,
    data: object = None,
    *,
    key: str,
    speaker: str = "producer",
    on: str = "",
    **attributes: object,
) -> Msg:
    return await sender.request(
        intent_subject(speaker, Ref.parse(on or resource)),
        envelope(verb, resource, data, key=key, **attributes),
        timeout=PATIENCE,
    )


def refusal(answer: Msg) -> tuple[str, str]:
    """The code of the problem, and that of the micro protocol."""
    assert answer.headers is not None, answer.data
    problem = json.loads(answer.data)
    assert problem["status"] == int(answer.headers["Nats-Service-Error-Code"])
    assert answer.headers["Nats-Service-Error"]
    return problem["code"], answer.headers["Nats-Service-Error-Code"]


async def test_a_request_is_answered_with_the_position_of_what_is_in_the_log(
    place: Place, producer: Client
) -> None:
    answer = json.loads((await ask(producer, "apply", "App/shop/web", app("web"), key="k1")).data)
    assert answer["changes"] == [
        {
            "resource": "App/shop/web",
            "result": "created",
            "generation": answer["changes"][0]["generation"],
            "events": ["app.defined"],
        }
    ]
    (defined,) = [e for e in place.desk.log.events if e.type == "app.defined"]
    assert defined.position == answer["changes"][0]["generation"]
    assert json.loads(defined.data)["actor"] == "program:producer"


async def test_the_same_key_gets_the_same_answer_and_one_effect(
    place: Place, producer: Client
) -> None:
    first = json.loads((await ask(producer, "apply", "App/shop/web", app("web"), key="k1")).data)
    again = json.loads((await ask(producer, "apply", "App/shop/web", app("web"), key="k1")).data)
    assert again == first | {"repeated": True}
    assert place.desk.types.count("app.defined") == 1


async def test_a_key_of_another_intent_is_refused(producer: Client) -> None:
    await ask(producer, "apply", "App/shop/web", app("web"), key="k1")
    answer = await ask(producer, "scale", "App/shop/web", {"replicas": 2}, key="k1")
    assert refusal(answer) == ("KeyReused", "422")


@pytest.mark.parametrize(
    ("verb", "resource", "data", "attributes", "problem"),
    [
        ("scale", "App/shop/web", {"replica": 2}, {}, ("UnknownField", "422")),
        ("scale", "App/shop/none", {"replicas": 2}, {}, ("NotFound", "404")),
        ("scale", "App/shop/web", {"replicas": 2}, {"generation": 1}, ("Stale", "409")),
        ("stop", "App/shop/web", {}, {"actor": "user:alice"}, ("Forbidden", "403")),
        ("stop", "App/shop/web", {}, {"expires": "2029-01-01T00:00:00Z"}, ("Expired", "409")),
    ],
    ids=["unknown field", "no such app", "stale", "other actor", "too late"],
)
async def test_what_is_refused_says_why(
    producer: Client,
    verb: str,
    resource: str,
    data: object,
    attributes: Mapping[str, object],
    problem: tuple[str, str],
) -> None:
    await ask(producer, "apply", "App/shop/web", app("web"), key="k1")
    answer = await producer.request(
        intent_subject("producer", Ref.parse(resource)),
        envelope(verb, resource, data, key="k2", **attributes),
        timeout=PATIENCE,
    )
    assert refusal(answer) == problem


async def test_what_comes_on_the_subject_of_another_resource_is_refused(producer: Client) -> None:
    answer = await ask(producer, "stop", "App/shop/web", key="k1", on="App/shop/other")
    assert refusal(answer) == ("BadValue", "422")


async def test_whoever_has_no_credentials_is_not_let_in(place: Place) -> None:
    with pytest.raises(Exception, match="Authorization Violation"):
        async with client(place.bus.status().url, allow_reconnect=False):
            pass
    with pytest.raises(Exception, match="Authorization Violation"):
        async with program(place, password="guessed", allow_reconnect=False):
            pass


async def test_a_program_cannot_ask_on_the_subject_of_another(
    place: Place, producer: Client
) -> None:
    before = len(place.desk.log.events)
    with pytest.raises(NoAnswer):
        await producer.request(
            intent_subject("viewer", Ref.parse("App/shop/web")),
            envelope("apply", "App/shop/web", app("web"), key="k1"),
            timeout=0.3,
        )
    assert len(place.desk.log.events) == before


async def test_a_program_hears_no_answers_but_its_own(place: Place) -> None:
    denied: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        denied.put_nowait(str(error))

    async with program(place, error_cb=note) as connected:
        for subject in ("_INBOX.stateward.>", "_INBOX.>", "stateward.v1.hint.*"):
            await connected.subscribe(subject)
            async with asyncio.timeout(PATIENCE):
                assert "permissions violation" in (await denied.get()).lower()


async def test_an_actor_that_nobody_knows_or_that_may_only_look_is_refused(place: Place) -> None:
    async with program(place, "stateward") as anyone:
        unknown = await ask(anyone, "stop", "App/shop/web", key="k1", speaker="nobody")
        viewer = await ask(anyone, "stop", "App/shop/web", key="k1", speaker="viewer")
    assert refusal(unknown) == refusal(viewer) == ("Forbidden", "403")


async def test_an_answer_never_goes_anywhere_but_to_an_inbox(place: Place) -> None:
    async with program(place, "stateward") as listener, program(place) as producer:
        seen: list[str] = []

        async def note(message: Msg) -> None:
            seen.append(message.subject)

        await listener.subscribe("stateward.v1.hint.*", cb=note)
        await listener.flush()
        await producer.publish(
            intent_subject("producer", Ref.parse("App/shop/web")),
            envelope("stop", "App/shop/web", key="k1"),
            reply="stateward.v1.hint.7",
        )
        await ask(producer, "stop", "App/shop/web", key="k2")
        await listener.flush()
    assert "stateward.v1.hint.7" not in seen


async def test_more_intents_than_can_be_decided_at_once_are_told_to_come_again(
    tmp_path: Path,
) -> None:
    desk = TroubledDesk()
    log = desk.trouble
    await desk.furnish()
    async with (
        running(tmp_path / "nats", desk, intents_at_once=2) as place,
        program(place) as producer,
    ):
        log.hold()
        waiting = [
            asyncio.create_task(ask(producer, "apply", f"App/shop/a{n}", app(f"a{n}"), key=f"k{n}"))
            for n in range(2)
        ]
        async with asyncio.timeout(PATIENCE):
            await log.held(2)
        full = await ask(producer, "apply", "App/shop/b", app("b"), key="b")
        assert refusal(full) == ("Overloaded", "429")
        assert json.loads(full.data)["retry"] is True
        log.release()
        answers = [json.loads(message.data) for message in await asyncio.gather(*waiting)]
        assert [answer["changes"][0]["result"] for answer in answers] == ["created"] * 2
        again = await ask(producer, "apply", "App/shop/b", app("b"), key="b")
        assert json.loads(again.data)["changes"][0]["result"] == "created"


async def test_a_slow_intent_delays_no_other(tmp_path: Path) -> None:
    desk = TroubledDesk()
    log = desk.trouble
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place, program(place) as producer:
        log.hold(stream="App/shop/slow")
        slow = asyncio.create_task(ask(producer, "apply", "App/shop/slow", app("slow"), key="slow"))
        async with asyncio.timeout(PATIENCE):
            await log.held(1)
        await ask(producer, "apply", "App/shop/quick", app("quick"), key="quick")
        assert not slow.done()
        log.release()
        await slow


async def test_a_log_that_is_away_is_a_problem_that_retrying_may_solve(tmp_path: Path) -> None:
    desk = TroubledDesk()
    log = desk.trouble
    await desk.furnish()
    async with running(tmp_path / "nats", desk) as place, program(place) as producer:
        log.away = True
        answer = await ask(producer, "apply", "App/shop/web", app("web"), key="k1")
        assert refusal(answer) == ("LogUnavailable", "503")
        assert json.loads(answer.data)["retry"] is True
        log.away = False
        answer = await ask(producer, "apply", "App/shop/web", app("web"), key="k1")
        assert json.loads(answer.data)["changes"][0]["result"] == "created"


async def test_the_service_is_found_and_tells_its_numbers(producer: Client) -> None:
    await ask(producer, "apply", "App/shop/web", app("web"), key="k1")
    await ask(producer, "scale", "App/shop/web", {"replicas": -1}, key="k2")
    found = json.loads((await producer.request("$SRV.PING.stateward-intents")).data)
    assert (found["type"], found["id"]) == ("io.nats.micro.v1.ping_response", "0")
    info = json.loads((await producer.request("$SRV.INFO")).data)
    assert info["endpoints"][0]["subject"] == "stateward.v1.intent.*.*.*.*"
    (stats,) = json.loads((await producer.request("$SRV.STATS.stateward-intents.0")).data)[
        "endpoints"
    ]
    assert (stats["num_requests"], stats["num_errors"]) == (2, 1)
    assert stats["average_processing_time"] > 0
    assert "replicas" in stats["last_error"]


async def test_the_server_ends_with_the_bus(tmp_path: Path) -> None:
    async with running(tmp_path / "nats") as place:
        pid = place.server_pid
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
