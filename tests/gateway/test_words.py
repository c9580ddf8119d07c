"""Small languages of the edge: label selectors, times, sentences for every event."""

from datetime import UTC, datetime

import msgspec
import pytest

from bus import codec
from bus.log import StoredEvent
from domain import events as e
from domain.refusals import BadValue
from gateway import labels, times
from gateway.telling import tell

LABELS = {"app": "web", "tier": "front", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app!=web", False),
        ("missing!=x", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! app", False),
        ("app in (web, db)", True),
        ("app notin (web,db)", False),
        ("missing notin (a)", True),
        ("empty=", True),
        (" app = web , tier ", True),
    ],
)
def test_a_selector_matches_as_kubernetes_has_it(selector: str, *, matches: bool) -> None:
    assert labels.parse(selector)(LABELS) is matches


@pytest.mark.parametrize("selector", ["=a", "a=b=c", "a in b", "a in (b", ",,", "a b"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(BadValue):
        labels.parse(selector)


def test_times_are_read_as_moments_or_ago() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()
    assert times.read("5m", "since", noon) == noon - 300
    assert times.read("2030-01-01T13:00:00+01:00", "since", 0) == noon
    assert times.shown(noon) == "2030-01-01T12:00:00Z"
    for text in ("", "soon", "2030-01-01T12:00:00", "-5m", "1e9s"):
        with pytest.raises(BadValue):
            times.read(text, "since", noon)


SPEC = msgspec.Raw(b'{"command":["a"],"replicas":1,"running":true}')
STAMP = {"actor": "user:alice", "cause": "k", "at": "2030-01-01T12:00:00Z"}
MEMBERS: dict[str, object] = {
    **STAMP,
    "uid": 1,
    "revision": 2,
    "digest": "d",
    "spec": SPEC,
    "to": 1,
    "secret": "db",
    "target": "local",
    "version": 1,
    "token": "t",
    "keys": ["a"],
    "member": "App/shop/web",
    "owner": "App/shop/web",
    "claims": ["http://shop.localhost/"],
    "message": "m",
    "slot": 0,
    "attempt": 1,
    "reason": "r",
    "fields": ["image"],
    "installation": "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f",
    "adopted": 1,
    "ready": True,
    "paused": {"revision": 1, "reason": "r"},
}


@pytest.mark.parametrize("kind", e.REGISTRY)
def test_every_event_is_told_in_a_sentence_of_its_own(kind: str) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(e.REGISTRY[kind])}
    data = msgspec.json.encode({k: v for k, v in MEMBERS.items() if k in known})
    told = tell(StoredEvent(1, "App/shop/web", 1, kind, data))
    assert codec.decode(kind, data).actor == told["actor"] == "user:alice"
    assert told["sentence"] not in ("", kind)


def test_an_event_of_a_later_version_is_told_as_far_as_it_is_understood() -> None:
    told = tell(StoredEvent(1, "App/shop/web", 1, "app.sung", b'{"song": "la"}'))
    assert "cannot be read" in told["sentence"]
    assert msgspec.json.encode(told["data"]) == b'{"song":"la"}'
    assert tell(StoredEvent(1, "App/shop/web", 1, "app.sung", b"\xff"))["data"] is None
