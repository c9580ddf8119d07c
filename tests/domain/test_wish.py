"""A spec read in parts is what it is when read as a whole: accepted, refused and written alike."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bus import manifests
from domain import wish
from domain.app import SPEC_ADAPTER
from domain.refusals import Refusal

CHECK = '{"http":{"port":"http"},"interval":"60s"}'
ODD = ("null", "[]", "{}", "1", "1.0", "-1", "1e3", "true", '""', '"a\\u0000"', "[" * 99 + "]" * 99)
KNOWN = {
    "target": ('"local"', '"lo\\u0063al"', '"Local"', '"a--b"', '"a\\n"'),
    "image": ('"web:1"', '"w\\u0065b:1"', '"web:1\\n"', '"\\ud800"', '"ü"', f'"{"w" * 513}"'),
    "command": ('["run"]', '["\\"env\\":{}", "x"]', '[""]', '["\\u00fc\\t"]'),
    "args": ('["--workers=4"]', '["a", 1]'),
    "workdir": ('"/srv"', '"srv"'),
    "imagePull": ('{"policy":"Always"}', '{"secretRef":"pull"}', '{"policy":"Never","x":1}'),
    "routes": (
        '[{"host":"a.localhost"}]',
        '[{"host":"a.localhost","path":"/replicas/","contexts":[{"header":"X-Ctx","value":"b"}]}]',
        '[{"host":"A.localhost"}]',
        '[{"host":"a.localhost","headers":{"request":[{"name":"replicas","value":"\\"replicas\\":"}]}}]',
    ),
    "publish": (
        '[{"port":"http","hostPort":8080}]',
        '[{"port":"http","hostPort":0}]',
        '[{"port":"http","protocol":"udp","hostPort":53}]',
    ),
    "ports": ('[{"name":"http","port":80}]', '[ {"port":80, "name":"http"} ]', '[{"name":"a"}]'),
    "health": (f'{{"readiness":{CHECK}}}', f'{{"liveness":{CHECK},"liveness":{{}}}}'),
    "resources": ('{"cpu":0.5,"memory":"0.5Gi"}', '{"memory":"256m"}', '{"cpu":"0"}'),
    "volumes": ('[{"name":"data","path":"/data"}]', '[{"name":"data","path":"data"}]'),
    "stopSignal": ('"SIGINT"', '"INT"'),
    "stopGrace": ('"90s"', "90"),
    "replicas": ("2", "-0", "1001", "99999999999999999999"),
    "running": ("false", '"false"'),
    "rollout": ('{"maxSurge":0}', '{"strategy":"stopFirst"}', '{"maxSurge":1001}'),
    "autoscale": ('{"max":4}', '{"min":5,"max":4}', '{"max":4,"memory":50}', '{"max":0}'),
    "replcas": ("1",),
}
texts = st.text(max_size=6) | st.sampled_from(["A", "_b", "LOG_1", "a-b", "ß", "A\n", "x" * 300])
refs = st.sampled_from([{"secretRef": {"name": "db", "key": "k"}}, {"secretRef": {"name": "db"}}])
values = texts | st.integers() | st.floats() | st.booleans() | st.none() | refs
plain = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


@st.composite
def envs(draw: st.DrawFn) -> str:
    """An env as JSON, with names that may be bad or doubled."""
    names = draw(st.sampled_from([plain, texts]))
    given = draw(st.sampled_from([st.text(max_size=6), values]))
    pairs = draw(st.lists(st.tuples(names, given), max_size=5))
    raw = draw(st.booleans())
    return _object([(name, json.dumps(value, ensure_ascii=raw)) for name, value in pairs])


@st.composite
def fields(draw: st.DrawFn) -> tuple[str, str]:
    name = draw(st.sampled_from([*KNOWN, "env", "env", "env"]))
    if name == "env":
        return name, draw(envs())
    return name, draw(st.sampled_from([*KNOWN[name], *KNOWN[name], *ODD]))


def _object(pairs: Sequence[tuple[str, str]], gap: str = "") -> str:
    inside = f",{gap}".join(f"{json.dumps(name)}:{gap}{value}" for name, value in pairs)
    return f"{{{gap}{inside}{gap}}}"


specs = st.builds(_object, st.lists(fields(), max_size=6), st.sampled_from(["", " ", "\n\t"]))


def refusal(data: bytes) -> str | None:
    try:
        manifests.read_spec("App", data)
    except Refusal as refused:
        return str(refused)
    return None


@given(text=specs)
def test_a_spec_read_in_parts_is_the_whole_spec(text: str) -> None:
    data = text.encode()
    try:
        whole = SPEC_ADAPTER.validate_json(data)
    except ValidationError:
        with pytest.raises(ValidationError):
            wish.read(data)
        assert refusal(data)
        return
    read = wish.read(data)
    assert read == wish.of(whole)
    assert wish.read(data) == read  # known by its bytes now
    outside = {"target", "replicas", "running", "rollout", "autoscale", "routes"}
    dumped = SPEC_ADAPTER.dump_json(
        whole,
        by_alias=True,
        exclude=outside if whole.publish else {*outside, "publish"},
        exclude_none=True,
    )
    assert read.template("local") == b'{"target":"local",' + dumped[1:]


@given(
    data=st.binary(max_size=12) | st.sampled_from([b'{"env":{"A":"\xff"}}', b'{"args":["\xff"]}'])
)
def test_what_is_no_json_is_refused_in_parts_too(data: bytes) -> None:
    try:
        SPEC_ADAPTER.validate_json(data)
    except ValidationError:
        with pytest.raises(ValidationError):
            wish.read(data)
    else:
        wish.read(data)


@pytest.mark.parametrize("letter", range(0x20))
def test_an_env_is_written_with_the_escapes_of_the_whole(letter: int) -> None:
    data = json.dumps({"env": {"A": f'\x7f\\"/é\u2028😀{chr(letter)}'}}).encode()
    if letter:
        assert wish.read(data) == wish.of(SPEC_ADAPTER.validate_json(data))
    else:
        assert "env.A" in (refusal(data) or "")


def test_long_values_and_many_variables_are_counted_as_in_the_whole() -> None:
    for env in ({"A": "x" * 32_768}, {"A": "x" * 32_769}, {f"A{n}": "" for n in range(501)}):
        data = json.dumps({"env": env}).encode()
        accepted = refusal(data) is None
        assert accepted == (env == {"A": "x" * 32_768})
