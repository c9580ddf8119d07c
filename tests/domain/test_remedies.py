"""A refused field names itself, its value, its rule, and what to do about it."""

import json

import pytest

from bus import manifests
from domain.refusals import BadValue

REMEDIES: dict[str, tuple[dict[str, object], str]] = {
    "too many replicas": ({"replicas": 1001}, "1001 .* equal to 1000; run the rest as a second"),
    "less than none": ({"replicas": -1}, "or equal to 0; write 0 for none"),
    "half a replica": ({"replicas": 1.5}, "valid integer; write a whole number"),
    "no number": ({"replicas": "two"}, "'two' .*; write a whole number, without quotes"),
    "no truth": ({"running": "yes"}, "valid boolean; write true or false, without quotes"),
    "no port": ({"ports": [{"name": "a", "port": 0}]}, "; write a number from 1 to 65535"),
    "no list": ({"command": "ls -l"}, r"; write a list, a word an item: \[sh"),
    "no text": ({"args": [80]}, "80 .* valid string; .* quote"),
    "no map": ({"env": []}, "; write one `NAME: VALUE` line for each"),
    "no image": ({"image": "UP PER"}, "no name of an image; write .HOST/.NAME"),
    "no path": ({"workdir": "here"}, "no absolute path; begin it with /"),
    "no signal": ({"stopSignal": "TERM"}, "no signal; write its whole name"),
    "no variable": ({"env": {"1A": "x"}}, "names no variable; write letters"),
    "no value": ({"env": {"A": "\0"}}, "NUL character, which no variable can; encode it"),
    "a long value": ({"env": {"A": "x" * 40_000}}, "32768 characters; keep long settings in a"),
    "a long name": ({"image": "x" * 600}, "512 characters; shorten it to 512"),
    "many words": ({"command": ["a"] * 300}, "at most 256 items, not 300; leave out all but 256"),
    "no words": (
        {"health": {"liveness": {"exec": {"argv": []}}}},
        "at least 1 item, not 0; give at least 1",
    ),
    "no choice": ({"rollout": {"strategy": "x"}}, "or 'stopFirst'; choose one of these"),
    "a near choice": ({"rollout": {"strategy": "stop-first"}}, "; did you mean 'stopFirst'?"),
    "left out": ({"ports": [{"name": "a"}]}, r"^spec.ports\[0\].port: .* is required; add it"),
    "half a reference": (
        {"env": {"A": {"secretRef": {"name": "db"}}}},
        "^spec.env.A.secretRef.key: None .* required; add it",
    ),
}


@pytest.mark.parametrize(("spec", "said"), REMEDIES.values(), ids=REMEDIES)
def test_a_refusal_says_what_to_do(spec: dict[str, object], said: str) -> None:
    with pytest.raises(BadValue, match=said) as refused:
        manifests.read_spec("App", json.dumps(spec).encode())
    assert "should match pattern" not in str(refused.value)


def test_a_refusal_of_a_daemon_says_how_to_name_one() -> None:
    spec = {"engine": "docker", "docker": {"host": "daemon"}}
    with pytest.raises(BadValue, match="no address of a daemon; write unix://"):
        manifests.read_spec("Target", json.dumps(spec).encode())
