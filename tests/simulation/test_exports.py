"""Exports: what is written is what is read, and what is not whole is refused by its line."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bus import codec, exports
from bus.exports import NotAnExport
from bus.log import Head, StoredEvent
from bus.redaction import redacted
from domain import events as e
from domain.app import AppSpec
from domain.events import REGISTRY
from projections.desired import DesiredApp, DesiredState
from tests.support.histories import played, poisons, steps
from tests.support.intents import NOON

HISTORIES = st.lists(st.one_of(steps, steps, steps, poisons), max_size=12).map(played)
OURS = ("shop", "web", "api", "local", "a:1", "a:2", "a:3", "alice", "sha256:aa")


def head(events: Sequence[StoredEvent]) -> Head:
    return Head(events[-1].position if events else 0, b"seal")


def lines(events: Sequence[StoredEvent]) -> list[bytes]:
    first = exports.header("11111111-aaaa", head(events), len(events))
    return list(exports.write(first, events))


def folded(events: Sequence[StoredEvent]) -> DesiredState:
    state = DesiredState(codec.decode)
    state.fold(events)
    return state


def shape(app: DesiredApp) -> tuple[object, ...]:
    """All of an app that is no name."""
    return (
        app.position,
        app.uid,
        app.generation,
        app.revision,
        app.wanted,
        app.spec.running,
        app.spec.rollout,
        app.paused is not None,
        (app.begun, app.stable),
        len(app.secrets),
    )


def shapes(state: DesiredState) -> list[tuple[object, ...]]:
    apps = [state.app(stream) for stream in state.streams("App")]
    return sorted(shape(app) for app in apps if app)


@given(HISTORIES)
def test_what_is_exported_is_read_back(history: list[StoredEvent]) -> None:
    read = exports.read(lines(history))
    assert read.events == history
    assert read.header.position == head(history).position


@given(HISTORIES)
def test_a_redacted_history_folds_to_the_same_shape(history: list[StoredEvent]) -> None:
    other = list(redacted(history))
    was, now = folded(history), folded(other)
    assert shapes(now) == shapes(was)
    assert len(now.frozen) == len(was.frozen)
    assert [removal.uid for removal in now.removals()] == [r.uid for r in was.removals()]
    assert [len(now.revisions(s)) for s in now.streams("App")] == [
        len(was.revisions(s)) for s in was.streams("App")
    ]


@given(HISTORIES)
def test_equal_digests_stay_equal_and_others_stay_apart(history: list[StoredEvent]) -> None:
    def digests(events: Sequence[StoredEvent]) -> list[str]:
        found = [
            codec.decode(one.type, one.data) for one in events if one.type.startswith("app.de")
        ]
        return [event.digest for event in found if hasattr(event, "digest")]

    was, now = digests(history), digests(list(redacted(history)))
    assert [was.index(one) for one in was] == [now.index(one) for one in now]


@given(HISTORIES)
def test_no_name_is_left_in_a_redacted_history(history: list[StoredEvent]) -> None:
    text = b"".join(lines(list(redacted(history)))).decode().replace("11111111-aaaa", "")
    quoted = [name for name in OURS if f'"{name}"' in text or f"/{name}" in text]
    assert not quoted


def test_a_key_of_digits_is_a_name_and_the_position_that_a_transition_serves_is_not() -> None:
    number = "4915551234567"
    stamp: dict[str, Any] = {"actor": "user:ada", "cause": number, "at": NOON}
    asked = e.ProjectDefined(uid=1, spec=msgspec.Raw(b"{}"), **stamp)
    served = e.RolloutStarted(uid=1, revision=1, **stamp)
    rows = [
        StoredEvent(1, "Project/shop", 1, asked.type, codec.encode(asked)),
        StoredEvent(2, "App/shop/web#status", 1, served.type, codec.encode(served)),
    ]
    intent, transition = list(redacted(rows))
    assert number.encode() not in intent.data
    assert number.encode() in transition.data


def test_a_redacted_history_is_an_export_like_any_other() -> None:
    history = played([])
    assert exports.read(lines(list(redacted(history)))).header.events == len(history)


@pytest.mark.parametrize(
    ("damage", "line", "why"),
    [
        (lambda text: [], 1, "no export of a log"),
        (lambda text: [b"hello\n", *text], 1, "no export of a log"),
        (lambda text: [b'{"some": "json"}\n'], 1, "no export of a log"),
        (lambda text: [text[0].replace(b'"format":1', b'"format":2'), *text[1:]], 1, "format 2"),
        (lambda text: [text[0].replace(b'"position":', b'"place":')], 1, "header is damaged"),
        (lambda text: text[:-1], 9, "ends after 7 of 8"),
        (lambda text: [*text[:-1], text[-1][:-30]], 9, "cut off"),
        (lambda text: [*text, text[-1]], 10, "one more"),
        (lambda text: [*text[:3], b"{\n", *text[4:]], 4, "damaged"),
        (lambda text: [*text[:3], b"\xff\n", *text[4:]], 4, "damaged"),
        (lambda text: [*text[:3], text[3].replace(b'"data"', b'"date"'), *text[4:]], 4, "no data"),
        (lambda text: [*text[:3], text[4], text[3], *text[5:]], 5, "does not follow position"),
        (lambda text: [text[0], text[1].replace(b'"version":1', b'"version":3'), *text[2:]],
         2, "version 3 of"),
    ],
)  # fmt: skip
def test_what_is_no_whole_export_is_refused_by_its_line(damage, line, why) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotAnExport, match=f"^line {line}: .*{why}"):
        exports.read(damage(lines(played([])[:8])))


def test_what_is_no_json_travels_too() -> None:
    odd = StoredEvent(1, "App/shop/web", 1, "app.teleported", b"\xff\x00")
    plain = StoredEvent(2, "App/shop/web", 2, "app.teleported", b'{"a": "b",\n "c": 1}')
    read = exports.read(lines([odd, plain])).events
    assert read[0] == odd
    assert read[1].data == b'{"a":"b","c":1}'


MARK = "hooli"
OURS_TO_SAY = {  # fields whose words are Stateward's own, or an identity that names nobody
    "health.changed": {"reason"},
    "app.adopted": {"installation"},
    "adoption.completed": {"installation"},
}
STREAMS = {
    "project": "Project/hooli",
    "target": "Target/hooli",
    "secret": "Secret/hooli/hooli",
    "claims": "Host/hooli#claims",
}
MARKED_SPEC = {
    "target": MARK,
    "image": MARK,
    "command": [MARK],
    "args": [MARK],
    "workdir": f"/{MARK}",
    "env": {MARK: MARK, "PIN": {"secretRef": {"name": MARK, "key": MARK}}},
    "imagePull": {"secretRef": MARK},
    "ports": [{"name": MARK, "port": 80}],
    "health": {
        "startup": {"exec": {"argv": [MARK]}},
        "readiness": {"http": {"path": f"/{MARK}", "port": MARK}},
        "liveness": {"tcp": {"port": MARK}},
    },
    "volumes": [{"name": MARK, "path": f"/{MARK}"}],
    "replicas": 1,
    "running": True,
    "rollout": {"strategy": "stopFirst"},
    "autoscale": {"max": 2},
    "routes": [
        {
            "host": MARK,
            "path": f"/{MARK}",
            "port": MARK,
            "tls": {"mode": "secret", "secret": MARK},
            "contexts": [{"header": MARK, "value": MARK}],
            "headers": {
                "request": [{"name": MARK, "value": MARK}],
                "response": [{"name": MARK, "value": MARK}],
            },
        }
    ],
    "publish": [{"port": MARK, "hostPort": 80}],
}
SPECS = {
    "app": MARKED_SPEC,
    "project": {"description": MARK, "target": MARK},
    "target": {
        "engine": "docker",
        "docker": {"host": f"tcp://{MARK}:1"},
        "k8s": {
            "kubeconfig": f"/{MARK}",
            "context": MARK,
            "namespacePrefix": f"{MARK}-",
        },
        "routing": {
            "domains": [
                {
                    "pattern": f"*.{MARK}",
                    "exclude": [MARK],
                    "verify": f"https://{MARK}/{MARK}",
                    "middlewares": {"soft": [f"{MARK}@{MARK}"], "hard": [f"{MARK}/{MARK}"]},
                }
            ],
            "acme": {"directory": f"https://{MARK}/", "email": f"{MARK}@{MARK}"},
            "entries": {"http": f"{MARK}:80", "https": f"{MARK}:443"},
        },
        "description": MARK,
    },
}


def marked(kind: str) -> bytes:
    """An event in which every text is the mark."""
    known = OURS_TO_SAY.get(kind, set())
    fixed: dict[str, object] = {
        "at": "2030-01-01T12:00:00Z",
        "v": 1,
        "spec": SPECS.get(kind.split(".", maxsplit=1)[0]),
        "paused": {"revision": 1, "reason": MARK, "image": MARK},
        "member": "App/hooli/hooli",
        "owner": "App/hooli/hooli",
        "objects": [
            {"apiVersion": MARK, "kind": MARK, "namespace": MARK, "name": MARK, "uid": MARK}
        ],
        "claims": [f"https://{MARK}/{MARK} {MARK}: {MARK}", MARK],
        **dict.fromkeys(known, "ours"),
    }
    fields = msgspec.structs.fields(REGISTRY[kind])
    event = {f.encode_name: fixed.get(f.encode_name, value_of(str(f.type))) for f in fields}
    return msgspec.json.encode(event)


def value_of(annotation: str) -> object:
    if annotation.startswith("dict"):
        return {MARK: MARK}
    if annotation.startswith("tuple"):
        return [f"{MARK}.1"]
    return MARK if "str" in annotation else "bool" in annotation or 1


@pytest.mark.parametrize("kind", sorted(REGISTRY))
def test_no_text_of_any_event_passes_as_it_is(kind: str) -> None:
    stream = STREAMS.get(kind.split(".", maxsplit=1)[0], "App/hooli/hooli")
    [row] = redacted([StoredEvent(1, stream, 1, kind, marked(kind))])
    assert MARK not in row.stream
    assert MARK.encode() not in row.data
    assert row.data != b"{}"  # it was read


def test_every_field_of_a_spec_is_thought_of() -> None:
    """A new field of an app must be told to `bus.redaction`, and marked here."""
    untold = {"resources", "stopSignal", "stopGrace"}  # numbers, times and names of signals
    schema = TypeAdapter(AppSpec).json_schema(by_alias=True)
    assert set(schema["properties"]) == set(MARKED_SPEC) | untold
