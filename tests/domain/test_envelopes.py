"""Messages that ask for something become intents or refusals that name what is wrong."""

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from bus.envelopes import check_actor, event_envelope, intent_from
from bus.intents import RecordedRefusal
from bus.log import StoredEvent
from bus.manifests import SecretManifest
from domain.access import Actor
from domain.events import HealthChanged, SecretDeleted
from domain.intents import Apply, Delete, Hold, Intent, Scale, Undo
from domain.names import app
from domain.refusals import BadValue, Expired, Forbidden, Refusal, UnknownField
from tests.support.intents import ALICE, Desk
from tests.support.intents import manifest as read_manifest

WEB = app("shop", "web")
SPEC = {"image": "nginx:1.27", "ports": [{"name": "http", "port": 80}]}
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def envelope(verb: str = "scale", data: object = None, **attributes: object) -> bytes:
    event: dict[str, object] = {
        "specversion": "1.0",
        "type": f"stateward.app.{verb}.v1",
        "id": "k1",
        "source": "/ci",
        "subject": "App/shop/web",
        "data": {"replicas": 3} if data is None else data,
    }
    event.update(attributes)
    return json.dumps(event).encode()


def manifest(name: str = "web", kind: str = "App", **metadata: Any) -> dict[str, object]:
    return {
        "apiVersion": "stateward/v1",
        "kind": kind,
        "metadata": {"name": name, **metadata},
        "spec": SPEC if kind == "App" else {"data": {"password": "hunter2"}},
    }


def asked(message: bytes) -> Intent:
    (only,) = intent_from(message).asked
    assert isinstance(only, Intent)
    return only


@pytest.mark.parametrize(
    ("message", "intent"),
    [
        (envelope(), Scale(ref=WEB, replicas=3)),
        (envelope(generation=7), Scale(ref=WEB, replicas=3, generation=7)),
        (envelope("undo", {}), Undo(ref=WEB)),
        (envelope("undo", {"to": 2}), Undo(ref=WEB, to=2)),
        (envelope("delete", {"volumes": True}), Delete(ref=WEB, volumes=True)),
        (
            envelope("pause", {"reason": "sale", "until": "2030-01-01T12:00:00Z"}),
            Hold(ref=WEB, reason="sale", until=NOON),
        ),
    ],
    ids=["scale", "with a generation", "undo", "undo to", "delete", "pause"],
)
def test_an_envelope_asks_for_a_verb_with_its_parameters(message: bytes, intent: Intent) -> None:
    assert asked(message) == intent


def test_an_envelope_without_data_asks_for_a_verb_without_parameters() -> None:
    raw = json.loads(envelope("restart"))
    del raw["data"]
    assert asked(json.dumps(raw).encode()).verb == "restart"


def test_apply_takes_the_manifest_and_the_project_of_the_subject() -> None:
    intent = asked(envelope("apply", manifest(), generation=4))
    assert isinstance(intent, Apply)
    assert (intent.ref, intent.generation) == (WEB, 4)


def test_a_secret_keeps_its_values_out_of_sight() -> None:
    message = envelope(
        "apply",
        manifest("db", "Secret"),
        type="stateward.secret.apply.v1",
        subject="Secret/shop/db",
    )
    submission = intent_from(message)
    assert isinstance(submission.asked[0], SecretManifest)
    assert "hunter2" not in repr(submission)


def test_a_set_is_sent_on_its_project() -> None:
    message = envelope(
        "apply",
        [manifest("web"), manifest("worker", project="shop")],
        type="stateward.project.apply.v1",
        subject="Project/shop",
    )
    assert [str(item.ref) for item in intent_from(message).asked] == [
        "App/shop/web",
        "App/shop/worker",
    ]


def test_a_message_says_when_it_is_worth_nothing_any_more() -> None:
    assert intent_from(envelope(expires="2030-01-01T12:00:00Z")).expires == NOON


@pytest.mark.parametrize(
    ("message", "path"),
    [
        (envelope(specversion="0.3"), "specversion"),
        (envelope(type="stateward.app.explode.v1"), "type"),
        (envelope(type="stateward.app.scale.v2"), "type"),
        (envelope(type="stateward.app.resolve-image.v1"), "type"),
        (envelope(type="stateward.project.scale.v1"), "type"),
        (envelope(subject="web"), "resource"),
        (envelope(subject="App/shop/we b"), "name"),
        (envelope(id=""), "id"),
        (envelope(id="k" * 257), "id"),
        (envelope(id=7), "envelope"),
        (envelope(expires="tomorrow"), "envelope"),
        (envelope(expires="2030-01-01T12:00:00"), "expires"),
        (envelope(datacontenttype="text/xml"), "datacontenttype"),
        (envelope(data={"replicas": "3"}), "data.replicas"),
        (envelope(data={"replicas": True}), "data.replicas"),
        (envelope(data={}), "data.replicas"),
        (envelope(data=[3]), "data"),
        (envelope("pause", {"reason": "sale", "until": "2030-01-01T12:00:00"}), "data.until"),
        (envelope("apply", manifest("other")), "data.metadata"),
        (envelope("apply", manifest(project="bank")), "data.metadata"),
        (envelope("apply", [manifest("web"), manifest("other")]), "data.metadata"),
        (envelope("apply", manifest(generation=3), generation=4), "generation"),
        (b"{", "envelope"),
        (b"[" * 100_000, "envelope"),
        (b"\xff\xfe", "envelope"),
        (b"", "envelope"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_path(message: bytes, path: str) -> None:
    with pytest.raises(BadValue) as refused:
        intent_from(message)
    assert refused.value.details["path"] == path


@pytest.mark.parametrize(
    ("message", "path", "meant"),
    [
        (envelope(expire="2030-01-01T12:00:00Z"), "expire", "expires"),
        (envelope(data={"replica": 3}), "data.replica", "replicas"),
        (envelope(data={"instances": 3}), "data.instances", "replicas"),
        (envelope("delete", {"volume": True}), "data.volume", "volumes"),
    ],
)
def test_an_unknown_field_is_answered_with_what_was_meant(
    message: bytes, path: str, meant: str
) -> None:
    with pytest.raises(UnknownField) as refused:
        intent_from(message)
    assert refused.value.details == {"path": path, "nearest": meant}


def test_what_tracing_adds_changes_neither_the_intent_nor_its_digest() -> None:
    plain, traced = intent_from(envelope()), intent_from(envelope(traceparent="00-1", time="x"))
    assert (plain.asked, plain.digest) == (traced.asked, traced.digest)


def test_another_generation_or_parameter_is_another_digest() -> None:
    messages = [envelope(), envelope(generation=1), envelope(data={"replicas": 4})]
    assert len({intent_from(message).digest for message in messages}) == 3


def test_an_envelope_cannot_speak_for_another_actor() -> None:
    alice = Actor(name="program:ci", role="editor")
    check_actor(intent_from(envelope()), alice)
    check_actor(intent_from(envelope(actor="program:ci")), alice)
    with pytest.raises(Forbidden, match="user:root"):
        check_actor(intent_from(envelope(actor="user:root")), alice)


@given(st.binary(max_size=200) | st.builds(envelope, st.text(max_size=8), st.none() | st.text()))
def test_whatever_arrives_is_read_or_refused(message: bytes) -> None:
    with contextlib.suppress(Refusal):
        intent_from(message)


@given(
    replicas=st.integers(-(2**40), 2**40),
    generation=st.none() | st.integers(0, 2**60),
    key=st.text(min_size=1, max_size=256),
)
def test_what_is_written_is_what_is_read(replicas: int, generation: int | None, key: str) -> None:
    submission = intent_from(envelope(data={"replicas": replicas}, id=key, generation=generation))
    assert submission.key == key
    assert submission.asked == (Scale(ref=WEB, replicas=replicas, generation=generation),)


@given(
    position=st.integers(1, 2**60),
    message=st.text(max_size=50),
    at=st.datetimes(timezones=st.just(UTC)),
)
def test_an_event_goes_out_with_its_position_and_its_resource(
    position: int, message: str, at: datetime
) -> None:
    event = HealthChanged(
        actor="system:replicas", cause="4", at=at, uid=1, ready=True, reason="Up", message=message
    )
    stored = StoredEvent(position, "App/shop/web#status", 1, event.type, codec.encode(event))
    out = json.loads(event_envelope(stored, "f00"))
    data = out.pop("data")
    assert codec.decode(event.type, json.dumps(data).encode()) == event
    assert datetime.fromisoformat(out.pop("time")) == at
    assert out == {
        "specversion": "1.0",
        "type": "stateward.health.changed.v1",
        "source": "/stateward/f00",
        "id": str(position),
        "subject": "App/shop/web",
        "datacontenttype": "application/json",
    }


def test_the_type_of_an_event_tells_the_version_of_its_shape() -> None:
    event = SecretDeleted(actor="user:alice", cause="k", at=NOON, version=1, v=3)
    stored = StoredEvent(1, "Secret/shop/db", 1, event.type, codec.encode(event))
    assert json.loads(event_envelope(stored, "f00"))["type"] == "stateward.secret.deleted.v3"


def test_a_damaged_event_is_told_apart() -> None:
    with pytest.raises(codec.Undecodable):
        event_envelope(StoredEvent(1, "App/shop/web", 1, "app.scaled", b"{"), "f00")


async def test_an_intent_that_came_too_late_is_refused_and_a_repeat_gets_its_first_answer() -> None:
    desk = Desk()
    await desk.furnish()
    await desk.send(read_manifest("App", "web", {"command": ["run"], "image": "nginx:1.27"}))

    def late(_now: datetime) -> None:
        raise Expired(WEB, NOON)

    intent = Scale(ref=WEB, replicas=3)
    first = await desk.service.submit(intent, actor=ALICE, key="in time")
    again = await desk.service.submit(intent, actor=ALICE, key="in time", check=late)
    assert (again.position, again.repeated) == (first.position, True)
    with pytest.raises(Expired):
        await desk.service.submit(intent, actor=ALICE, key="late", check=late)
    with pytest.raises(RecordedRefusal) as recorded:
        await desk.service.submit(intent, actor=ALICE, key="late")
    assert recorded.value.recorded_code == "Expired"
