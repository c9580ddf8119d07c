"""Every event that was ever written can still be read: a stored sample of each version says so.

A sample is what lies in logs out there. It is never edited; a new shape gets a new version, a new
sample and an upcaster from the one before.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import codec
from domain import events as e
from domain import state
from projections.desired import DesiredState

SAMPLES = Path(__file__).parents[1] / "support" / "event_samples"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
INTENT: Mapping[str, Any] = {"actor": "user:alice", "cause": "k-17", "at": NOON}
SEEN: Mapping[str, Any] = {"actor": "system:replicas", "cause": "42", "at": NOON, "uid": 17}
SPEC = (
    b'{"target":"local","image":"nginx:1.27","command":[],"args":[],"env":{"PASSWORD":{"secretRef":'
    b'{"name":"db","key":"password"}}},"imagePull":{"policy":"IfNotPresent"},"ports":[{"name":"http'
    b'","port":80,"protocol":"tcp"}],"health":{"readiness":{"http":{"path":"/","port":"http"},'
    b'"interval":"10s","timeout":"1s","failures":3,"successes":1}},"resources":{"memory":"256Mi"},'
    b'"volumes":[],"stopSignal":"SIGTERM","stopGrace":"10s","replicas":2,"running":true,"rollout":{'
    b'"strategy":"startFirst","maxSurge":1,"maxUnavailable":0,"progressDeadline":"10m","drain":"0s"'
    b"}}"
)
ROUTED = SPEC[:-1] + (
    b',"routes":[{"host":"shop.example.org","path":"/api","stripPrefix":true,"port":"http",'
    b'"tls":{"mode":"auto","redirect":true},"h2c":false,"auth":"soft","contexts":[{"header":'
    b'"x-feature","value":"blue","fallback":"base"}],"headers":{"request":[],"response":[{"name":'
    b'"x-by","value":"stateward"}]}}]}'
)
CLAIMS = (
    "https://shop.example.org/api x-feature: blue",
    "http://shop.example.org/api x-feature: blue",
)
RECORD: Mapping[str, Any] = {
    "uid": 17,
    "revision": 3,
    "digest": "0123456789abcdef",
    "spec": msgspec.Raw(SPEC),
    "labels": {"set": "x"},
    "secrets": {"db": "aa11"},
    "image": "sha256:feed",
}
OTHERS = "3f2a1c9d-6a5c-4f0e-9d37-1a2b3c4d5e6f"
EXPECTED: tuple[e.Event, ...] = (
    e.AppDefined(**INTENT, **RECORD, replaces=2),
    e.AppRestarted(**INTENT, **RECORD),
    e.AppUndone(**INTENT, **RECORD, to=1),
    e.AppRefreshed(**INTENT, **RECORD),
    e.AppSecretRotated(**INTENT, **RECORD, secret="db"),
    e.AppScaled(**INTENT, **RECORD),
    e.AppStarted(**INTENT, **RECORD),
    e.AppStopped(**INTENT, **RECORD),
    e.AppRolloutSet(**INTENT, **RECORD),
    e.AppAutoscaleSet(**INTENT, **RECORD),
    e.AppRouted(**INTENT, **{**RECORD, "spec": msgspec.Raw(ROUTED)}),
    e.AppLabelled(**INTENT, **RECORD),
    e.AppPaused(**INTENT, **RECORD, paused=e.Pause(revision=2, reason="sale", until=NOON)),
    e.AppResumed(**INTENT, **RECORD),
    e.AppAdopted(**INTENT, **RECORD, installation=OTHERS),
    e.AppImageResolved(**INTENT, **RECORD, generation=42),
    e.AppDeleted(**INTENT, uid=17, revision=3, target="local", volumes=True, orphan=True),
    e.ProjectDefined(**INTENT, uid=2, spec=msgspec.Raw(b'{"target":"local"}'), labels={"a": "b"}),
    e.ProjectDeleted(**INTENT),
    e.TargetDefined(**INTENT, uid=1, spec=msgspec.Raw(b'{"engine":"docker"}'), labels={"a": "b"}),
    e.TargetDeleted(**INTENT),
    e.SecretSet(
        **INTENT, uid=9, version=2, token="aa11", keys=("password", "user"), labels={"a": "b"}
    ),
    e.SecretDeleted(**INTENT, version=2),
    e.MemberJoined(**INTENT, member="App/shop/web"),
    e.MemberLeft(**INTENT, member="App/shop/web"),
    e.ClaimsTaken(**INTENT, owner="App/shop/web", claims=CLAIMS),
    e.ClaimsReleased(**INTENT, owner="App/shop/web", claims=CLAIMS),
    e.RolloutStarted(**SEEN, revision=3, replaces=2),
    e.RolloutCompleted(**SEEN, revision=3, seconds=1.5),
    e.RolloutStalled(**SEEN, revision=3, serving=2, message="it did not become healthy"),
    e.ReplicaHealed(**SEEN, revision=3, slot=1, reason="exited with 137", seconds=0.2),
    e.ReplicaRenamed(**SEEN, revision=3, slot=1, attempt=2, message="the name 'x' is taken"),
    e.DriftRepaired(**SEEN, revision=3, slot=1, fields=("memory", "cpu")),
    e.HealthChanged(**SEEN, ready=False, reason="CrashLoop", message="0 of 2 replicas are ready"),
    e.RouterRepaired(**SEEN, fields=("apps/http/servers/shop",)),
    e.RemovalCompleted(**SEEN),
    e.AdoptionCompleted(**SEEN, installation=OTHERS, adopted=42),
)
BY_TYPE = {event.type: event for event in EXPECTED}


GROWN: Mapping[str, tuple[str, e.Event]] = {
    "app.deleted.v1.stop-grace": (
        "app.deleted",
        e.AppDeleted(**INTENT, uid=17, revision=3, target="local", drain="5s", stop_grace="1m"),
    ),
    "app.deleted.v1.unsaid-drain": (
        "app.deleted",
        e.AppDeleted(**INTENT, uid=17, revision=3, target="local", drain=None),
    ),
    "drift.repaired.v1.object": (
        "drift.repaired",
        e.DriftRepaired(
            **SEEN,
            revision=3,
            slot=0,
            fields=("spec.replicas",),
            object="Deployment stw-shop/web",
            by=("kubectl",),
        ),
    ),
    "app.adopted.v1.objects": (
        "app.adopted",
        e.AppAdopted(
            **INTENT,
            **RECORD,
            installation="",
            objects=(
                e.ForeignObject(
                    api_version="apps/v1",
                    kind="Deployment",
                    namespace="stw-shop",
                    name="web",
                    uid="0d1f",
                ),
            ),
        ),
    ),
    "app.paused.v1.target": (
        "app.paused",
        msgspec.structs.replace(
            BY_TYPE["app.paused"],
            paused=e.Pause(revision=2, reason="sale", until=NOON, target="spare"),
        ),
    ),
}
"""Samples of shapes with fields that came later, and may be absent: file, type and event."""


def sample(kind: str, version: int = 1) -> bytes:
    return (SAMPLES / f"{kind}.v{version}.json").read_bytes().strip()


def test_every_registered_type_has_a_sample_of_each_of_its_versions() -> None:
    wanted = {
        f"{kind}.v{version}.json"
        for kind in e.REGISTRY
        for version in range(1, codec.CURRENT.get(kind, 1) + 1)
    }
    assert {path.name for path in SAMPLES.glob("*.json")} == wanted | {f"{n}.json" for n in GROWN}
    assert set(BY_TYPE) == set(e.REGISTRY)


@pytest.mark.parametrize("kind", sorted(e.REGISTRY))
def test_a_sample_is_read_as_the_event_it_was(kind: str) -> None:
    assert codec.decode(kind, sample(kind)) == BY_TYPE[kind]


@pytest.mark.parametrize("name", sorted(GROWN))
def test_a_shape_that_grew_is_read_and_written_with_what_came_later(name: str) -> None:
    kind, event = GROWN[name]
    stored = (SAMPLES / f"{name}.json").read_bytes().strip()
    assert codec.decode(kind, stored) == event
    assert codec.encode(event) == stored


@pytest.mark.parametrize("kind", sorted(k for k in e.REGISTRY if codec.CURRENT.get(k, 1) == 1))
def test_what_is_written_today_is_what_was_written_then(kind: str) -> None:
    assert codec.encode(BY_TYPE[kind]) == sample(kind)


@pytest.mark.parametrize("kind", sorted(e.REGISTRY))
def test_a_sample_can_be_folded(kind: str) -> None:
    stream = stream_of(kind)
    desired = DesiredState(codec.decode)
    desired.fold([(50, stream, 1, kind, sample(kind))])
    desired.resource(stream)
    desired.app(stream)
    assert not desired.frozen
    folded = state.fold(stream, [(50, codec.decode(kind, sample(kind)))])
    assert isinstance(folded, type(state.initial(stream)))


def stream_of(kind: str) -> str:
    """A stream where such events lie."""
    family = e.REGISTRY[kind]
    if issubclass(family, e.Transition):
        return "App/shop/web#status"
    streams = {
        "members": "Project/shop#members",
        "claims": "Host/shop.example.org#claims",
        "project": "Project/shop",
        "target": "Target/local",
        "secret": "Secret/shop/db",
        "app": "App/shop/web",
    }
    return streams[kind.partition(".")[0]]


# -- a shape that changes -----------------------------------------------------------------------


class ThirdMoved(e.Event, frozen=True, kw_only=True):
    """An event that was {"to": "x"}, then {"place": "x"}, and is now {"places": ["x"]}."""

    type = "test.moved"
    places: tuple[str, ...]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> str:
    """The type of an event whose shape changed twice."""
    kind = ThirdMoved.type

    def to_second(raw: dict[str, Any]) -> dict[str, Any]:
        return {"place": raw.pop("to"), **raw}

    def to_third(raw: dict[str, Any]) -> dict[str, Any]:
        return {"places": [raw.pop("place")], **raw}

    monkeypatch.setattr(codec, "CURRENT", {kind: 3})
    monkeypatch.setattr(codec, "UPCASTERS", {(kind, 1): to_second, (kind, 2): to_third})
    decoders = {**codec._decoders, kind: msgspec.json.Decoder(ThirdMoved)}
    monkeypatch.setattr(codec, "_decoders", decoders)
    return kind


def written(**fields: object) -> bytes:
    return json.dumps({"actor": "user:a", "cause": "k", "at": NOON.isoformat(), **fields}).encode()


@pytest.mark.parametrize(
    "old",
    [written(to="x"), written(place="x", v=2), written(places=["x"], v=3)],
    ids=["first", "second", "third"],
)
def test_every_version_of_a_shape_is_led_to_the_present_one(moved: str, old: bytes) -> None:
    event = codec.decode(moved, old)
    assert event == ThirdMoved(actor="user:a", cause="k", at=NOON, places=("x",), v=3)


def test_an_event_is_written_with_its_present_version_whoever_made_it(moved: str) -> None:
    data = codec.encode(ThirdMoved(actor="user:a", cause="k", at=NOON, places=("x",)))
    assert json.loads(data)["v"] == 3
    assert codec.decode(moved, data).v == 3


@pytest.mark.parametrize(
    "data",
    [
        written(places=["x"], v=4),
        written(places=["x"], v="3"),
        written(places=["x"], v=[3]),
        written(places=["x"], v=None),
        written(places=["x"], v=0),
        written(place="x", v=1),
        written(place=["x"], v=2, at=7),
        written(places=7, v=3),
        b"[]",
        b"7",
        b"",
        b"\xff",
        b"{",
    ],
)
def test_what_no_upcaster_leads_to_the_present_shape_is_undecodable(
    moved: str, data: bytes
) -> None:
    with pytest.raises(codec.Undecodable, match=r"test\.moved"):
        codec.decode(moved, data)


def test_a_type_that_nobody_knows_is_undecodable() -> None:
    with pytest.raises(codec.Undecodable, match=r"app\.teleported"):
        codec.decode("app.teleported", written())


def test_a_version_from_the_future_freezes_its_stream_and_no_other() -> None:
    newer = json.dumps({**json.loads(sample("app.scaled")), "v": 2}).encode()
    desired = DesiredState(codec.decode)
    desired.fold([(50, "App/shop/web", 1, "app.scaled", newer)])
    desired.fold([(51, "App/shop/api", 1, "app.scaled", sample("app.scaled"))])
    assert desired.app("App/shop/web") is None
    assert desired.app("App/shop/api") is not None
    assert list(desired.frozen) == ["App/shop/web"]
