"""Manifests as people get them wrong: every refusal names the place, the value and what to do."""

import json

import pytest

from bus import manifests
from domain import app, shape, wish
from domain.intents import Apply
from domain.refusals import BadValue, Refusal, UnknownField
from domain.wish import AppWish


def read(spec: object, kind: str = "App", **metadata: object) -> object:
    named = {"name": "web", "project": "shop"} | metadata
    raw = {"apiVersion": "stateward/v1", "kind": kind, "metadata": named, "spec": spec}
    return manifests.read(json.dumps(raw).encode())


@pytest.mark.parametrize(
    ("spec", "path", "nearest"),
    [
        ({"replcas": 3}, "spec.replcas", "replicas"),
        ({"instances": 3}, "spec.instances", "replicas"),
        ({"environment": {}}, "spec.environment", "env"),
        (
            {"health": {"liveness": {"periodSeconds": 3}}},
            "spec.health.liveness.periodSeconds",
            "interval",
        ),
        (
            {"ports": [{"name": "a", "port": 1, "protcol": "tcp"}]},
            "spec.ports[0].protcol",
            "protocol",
        ),
        ({"env": {"A": {"secretRef": {"nme": "x"}}}}, "spec.env.A.secretRef.nme", "name"),
    ],
)
def test_an_unknown_field_is_refused_with_its_path_and_the_nearest_name(
    spec: object, path: str, nearest: str
) -> None:
    with pytest.raises(UnknownField) as refusal:
        read(spec)
    assert refusal.value.details == {"path": path, "nearest": nearest}


@pytest.mark.parametrize(
    ("spec", "path", "says"),
    [
        ({"env": {"A": True}}, "spec.env.A", 'quote it: "true"'),
        ({"replicas": "3"}, "spec.replicas", "integer"),
        ({"replicas": 5000}, "spec.replicas", "less than or equal to 1000"),
        ({"resources": {"memory": "256m"}}, "spec.resources.memory", "mean 256Mi?"),
        ({"stopGrace": 10}, "spec.stopGrace", "write it as text: 10s"),
        ({"ports": [{"name": "a"}]}, "spec.ports[0].port", "required"),
        ({"command": "ls"}, "spec.command", "array"),
        ({"stopSignal": "TERM"}, "spec.stopSignal", "whole name"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path_and_the_rule(
    spec: object, path: str, says: str
) -> None:
    with pytest.raises(BadValue, match=says) as refusal:
        read(spec)
    assert refusal.value.details["path"] == path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"kind": "App"}, "apiVersion"),
        ({"apiVersion": "stateward/v1", "kind": "App", "metadata": {}}, "metadata.name"),
        ({"apiVersion": "stateward/v9", "kind": "App", "metadata": {"name": "a"}}, "apiVersion"),
        ({"apiVersion": "stateward/v1", "kind": "Ap", "metadata": {"name": "a"}}, "kind"),
        (
            {"apiVersion": "stateward/v1", "kind": "App", "metadata": {"name": "a"}},
            "metadata.project",
        ),
        (
            {"apiVersion": "stateward/v1", "kind": "Target", "metadata": {"name": "A"}},
            "metadata.name",
        ),
    ],
)
def test_what_is_around_the_spec_is_refused_by_its_field(raw: dict[str, object], path: str) -> None:
    with pytest.raises(BadValue) as refusal:
        manifests.read(json.dumps(raw).encode())
    assert refusal.value.details["path"] == path


def test_depth_and_size_are_bounded() -> None:
    deep = b'{"apiVersion":"stateward/v1","kind":"App","metadata":{"name":"a"},"spec":'
    for data in (deep + b'{"a":' * 5000 + b"1" + b"}" * 5001, b"[" * 100_000, b" " * (2 << 20)):
        with pytest.raises(Refusal):
            manifests.read(data)


@pytest.mark.parametrize("value", [1, True, None, "nul\x00", "x" * 70_000])
def test_a_secrets_value_is_never_shown_in_its_refusal(value: object) -> None:
    with pytest.raises(BadValue) as refusal:
        read({"data": {"key": value}}, kind="Secret")
    assert "'***'" in str(refusal.value)


def test_what_is_written_can_be_read_again() -> None:
    asked = read({"image": "web:1", "env": {"PORTS": 3}}, labels={"tier": "front"})
    assert isinstance(asked, Apply)
    assert isinstance(asked.spec, AppWish)
    stored = shape.stored(
        asked.spec.template("local"),
        shape.Shape("local", 2, running=True, rollout=asked.spec.frame.rollout),
    )
    written = manifests.write(asked.ref, stored, asked.labels, 7)
    again = manifests.read(json.dumps(written).encode())
    spec = wish.of(app.decode(stored))
    assert again == Apply(ref=asked.ref, spec=spec, labels=asked.labels, generation=7)
