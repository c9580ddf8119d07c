"""The users of the shipped configuration: each does its own work, and is refused all other."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from nats.aio.client import Client

from bus.nats import streams
from bus.nats.client import NatsSession
from bus.nats.credentials import Credentials
from bus.nats.permissions import ROLES
from bus.nats.session import NatsUnavailable, Server
from bus.nats.settings import NatsSettings
from bus.nats.subjects import LEASES, own_inbox
from stateward import docs
from tests.support.intents import Desk
from tests.support.nats_cluster import passwords
from tests.support.nats_server import PATIENCE, Place, app, client, envelope, foreign_server

pytestmark = pytest.mark.needs("nats")

CONTROL, GATEWAY, WORKER, VIEWER, CI = "stateward", "gateway", "worker", "viewer", "ci"
USERS: Final = (CONTROL, GATEWAY, WORKER, VIEWER, CI)


class Deed(NamedTuple):
    """Something that some users may do, on a subject; `verb` is `publish` or `subscribe`."""

    verb: str
    subject: str
    by: frozenset[str]


def publish(subject: str, *by: str) -> Deed:
    return Deed("publish", subject, frozenset(by))


def subscribe(subject: str, *by: str) -> Deed:
    return Deed("subscribe", subject, frozenset(by))


DEEDS: Final[Mapping[str, Deed]] = {
    # -- of producers
    "ask as oneself": publish("stateward.v1.intent.ci.shop.App.web", CI),
    "ask as another": publish("stateward.v1.intent.other.shop.App.web"),
    "submit as oneself": publish("stateward.v1.submit.ci.shop.App.web", CI),
    "submit as another": publish("stateward.v1.submit.other.shop.App.web"),
    "find the service": publish("$SRV.PING", CI),
    "hear answers to ci": subscribe("_INBOX.ci.>", CI),
    "hear outcomes of ci": subscribe("stateward.v1.accepted.ci.>", CI, VIEWER),
    "hear refusals of ci": subscribe("stateward.v1.refused.ci.>", CI, VIEWER),
    "hear outcomes of another": subscribe("stateward.v1.refused.other.>", VIEWER),
    "hear all outcomes": subscribe("stateward.v1.accepted.>", VIEWER),
    "watch events": subscribe("stateward.v1.event.shop.App.web.>", CI, VIEWER),
    "hear of gaps": subscribe("stateward.v1.gap", CI, VIEWER),
    # -- of gateways
    "take intents": subscribe("stateward.v1.intent.*.*.*.*", GATEWAY, CONTROL),
    "take submissions unasked": subscribe("stateward.v1.submit.>"),
    "be found": subscribe("$SRV.PING", GATEWAY, CONTROL),
    "answer ci": publish("_INBOX.ci.x", GATEWAY, CONTROL),
    "tell events": publish("stateward.v1.event.shop.App.web.scaled", GATEWAY, WORKER, CONTROL),
    "tell of gaps": publish("stateward.v1.gap", GATEWAY, WORKER, CONTROL),
    "tell outcomes": publish("stateward.v1.accepted.ci.shop.App.web", GATEWAY, CONTROL),
    "tell refusals": publish("stateward.v1.refused.ci.shop.App.web", GATEWAY, CONTROL),
    "hint": publish("stateward.v1.hint.0", GATEWAY, WORKER, CONTROL),
    "make streams": publish("$JS.API.STREAM.CREATE.STATEWARD_SUBMIT", GATEWAY, CONTROL),
    "consume submissions": publish(
        "$JS.API.CONSUMER.CREATE.STATEWARD_SUBMIT.stateward", GATEWAY, CONTROL
    ),
    "acknowledge": publish("$JS.ACK.STATEWARD_SUBMIT.stateward.1.1.1.1.0", GATEWAY, CONTROL),
    "delete a stream": publish("$JS.API.STREAM.DELETE.STATEWARD_SUBMIT"),
    "purge a stream": publish("$JS.API.STREAM.PURGE.STATEWARD_ACCEPTED"),
    "read outcomes of all from the stream": publish("$JS.API.STREAM.MSG.GET.STATEWARD_ACCEPTED"),
    "ask workers": publish("stateward.v1.io.local.logs", GATEWAY, CONTROL),
    "read status": subscribe("stateward.v1.status.local.>", GATEWAY, CONTROL),
    # -- of workers
    "hear hints": subscribe("stateward.v1.hint.*", GATEWAY, WORKER, CONTROL),
    "answer gateways": publish("_INBOX.gateway.x", GATEWAY, WORKER, CONTROL),
    "tell status": publish("stateward.v1.status.local.shop.web", WORKER, CONTROL),
    "take questions": subscribe("stateward.v1.io.local.>", WORKER, CONTROL),
    "write a lease": publish(f"$KV.{LEASES}.7", WORKER, CONTROL),
    "read a lease": publish(f"$JS.API.DIRECT.GET.KV_{LEASES}.$KV.{LEASES}.7", WORKER, CONTROL),
    "make the bucket": publish(f"$JS.API.STREAM.CREATE.KV_{LEASES}", WORKER, CONTROL),
    "delete the bucket": publish(f"$JS.API.STREAM.DELETE.KV_{LEASES}"),
    "clear ended sessions": publish(f"$JS.API.STREAM.PURGE.KV_{LEASES}", WORKER, CONTROL),
    "tell of leases": publish("stateward.v1.leases", WORKER, CONTROL),
    "hear of leases": subscribe("stateward.v1.leases", WORKER, CONTROL),
    "watch leases": publish(f"$JS.API.CONSUMER.CREATE.KV_{LEASES}.x.$KV", WORKER, CONTROL),
    "hear answers to workers": subscribe("_INBOX.worker.>", WORKER),
    "hear answers to gateways": subscribe("_INBOX.gateway.>", GATEWAY),
    # -- of nobody
    "hear everything": subscribe(">"),
    "hear all answers": subscribe("_INBOX.>"),
    "hear all of Stateward": subscribe("stateward.v1.>"),
    "say anything": publish("greetings"),
    "make another stream": publish("$JS.API.STREAM.CREATE.OTHER"),
}


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server with the shipped users, as the file in the documentation says."""
    for variable, password in passwords().items():
        monkeypatch.setenv(variable, password)
    shipped = (docs.DIRECTORY / "nats-users.conf").read_text()
    async with foreign_server(tmp_path / "nats", shipped) as port:
        yield f"nats://127.0.0.1:{port}"


async def refused(user: Client, errors: list[str], deed: Deed) -> bool:
    """Whether the server refuses a deed; it says so before it answers the next ping."""
    errors.clear()
    if deed.verb == "publish":
        await user.publish(deed.subject, b"")
    else:
        await user.subscribe(deed.subject)
    await user.flush()
    await user.flush()
    return any("permissions violation" in error.lower() for error in errors)


@pytest.mark.parametrize("name", USERS)
async def test_each_may_do_its_own_work_and_is_refused_that_of_the_others(
    url: str, name: str
) -> None:
    errors: list[str] = []

    async def note(error: Exception) -> None:
        errors.append(str(error))

    async with client(url, user=name, password=name, error_cb=note) as user:
        wrong = [
            f"{what}: {deed.verb} {deed.subject}"
            for what, deed in DEEDS.items()
            if await refused(user, errors, deed) == (name in deed.by)
        ]
    assert wrong == []


def test_every_user_of_the_example_is_judged_and_every_subject_of_theirs_is_tried() -> None:
    assert set(ROLES) == set(USERS)
    for name, role in ROLES.items():
        for verb, subjects in role(name)._asdict().items():
            tried = [d.subject for d in DEEDS.values() if d.verb == verb and name in d.by]
            untried = [s for s in subjects if not any(covers(s, one) for one in tried)]
            assert set(untried) <= ELSEWHERE, f"{name} may {verb} {untried}, and nothing tries it"


ELSEWHERE: Final = {
    "$JS.API.INFO",
    "_INBOX.stateward.>",
    "$JS.FC.KV_stateward-leases.>",
    "$JS.API.STREAM.MSG.GET.KV_stateward-leases",
    "$JS.API.DIRECT.GET.KV_stateward-leases",
    *(
        f"$JS.API.STREAM.{verb}.{stream}"
        for verb in ("CREATE", "UPDATE", "INFO")
        for stream in ("STATEWARD_SUBMIT", "STATEWARD_ACCEPTED", "STATEWARD_REFUSED")
    ),
    *(f"$JS.API.STREAM.{verb}.KV_stateward-leases" for verb in ("UPDATE", "INFO")),
}
"""What the tests below do by doing the whole work of a user."""


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject, which may have wildcards itself, is within a pattern."""
    tokens, given = pattern.split("."), subject.split(".")
    for place, token in enumerate(tokens):
        if token == ">":
            return len(given) > place
        if place >= len(given) or token not in ("*", given[place]):
            return False
    return len(tokens) == len(given)


@pytest.mark.parametrize("name", [CONTROL, GATEWAY])
async def test_a_control_plane_needs_no_more_than_its_user_may_do(url: str, name: str) -> None:
    desk = Desk()
    await desk.furnish()
    login = Credentials(user=name, password=name)
    place = Place(NatsSettings(servers=(url,), credentials=login), desk)
    await place.bus.start()
    try:
        await place.ready()
        async with client(url, user=CI, password=CI, inbox_prefix=own_inbox(CI)) as producer:
            events = await producer.subscribe("stateward.v1.event.>")
            outcomes = await producer.subscribe("stateward.v1.accepted.ci.>")
            found = await producer.request("$SRV.PING", b"", timeout=PATIENCE)
            assert json.loads(found.data)["name"] == "stateward-intents"
            answer = await producer.request(
                "stateward.v1.intent.ci.shop.App.web",
                envelope("apply", "App/shop/web", app("web"), key="k1"),
                timeout=PATIENCE,
            )
            assert json.loads(answer.data)["changes"][0]["result"] == "created"
            kept = await producer.request(
                "stateward.v1.submit.ci.shop.App.web",
                envelope("scale", "App/shop/web", {"replicas": 3}, key="k2"),
                timeout=PATIENCE,
                headers={"Nats-Msg-Id": "ci:k2"},
            )
            assert json.loads(kept.data)["stream"] == "STATEWARD_SUBMIT"
            outcome = await outcomes.next_msg(timeout=PATIENCE)
            assert json.loads(outcome.data)["data"]["key"] == "k2"
            place.bus.publish(desk.log.events)
            assert (await events.next_msg(timeout=PATIENCE)).data
            await place.heard.until(lambda hint: hint[0] == desk.log.events[-1].position)
        assert "ermission" not in place.bus.status().reason
    finally:
        await place.bus.stop()


async def test_a_worker_keeps_leases_in_their_bucket(url: str) -> None:
    where = Server(url=url, name=WORKER, credentials=Credentials(user=WORKER, password=WORKER))
    session = await NatsSession.open(where)
    try:
        bucket = f"KV_{LEASES}"
        config = {
            "name": bucket,
            "subjects": [f"$KV.{LEASES}.>"],
            "max_msgs_per_subject": 1,
            "allow_direct": True,
            "allow_rollup_hdrs": True,
        }
        await streams.ensure_stream(session, config, "f00", 1)
        await streams.ensure_stream(session, config | {"description": "leases"}, "f00", 1)
        assert await session.store(f"$KV.{LEASES}.7", b"mine", "worker:1") == 1
        read = await session.ask(f"$JS.API.DIRECT.GET.{bucket}.$KV.{LEASES}.7", b"")
        assert read == b"mine"
        asked = {"last_by_subj": f"$KV.{LEASES}.7"}
        found = await session.ask_api(f"STREAM.MSG.GET.{bucket}", asked)
        assert found["message"]["seq"] == 1
        assert await session.ask(f"$JS.API.DIRECT.GET.{bucket}", json.dumps(asked).encode()) == (
            b"mine"
        )
    finally:
        await session.close()


async def test_who_is_not_among_the_users_is_not_let_in(url: str) -> None:
    with pytest.raises(NatsUnavailable, match="does not let us in"):
        await NatsSession.open(Server(url=url, credentials=Credentials(user=CI, password=WORKER)))
