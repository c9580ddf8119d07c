"""What cannot be taken is refused with what is the case, and nothing of it is kept."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from bus.nats.credentials import PRODUCER
from tests.acceptance.producing import ask, producer
from tests.support.asking import web
from tests.support.serving import ControlPlane


@pytest.fixture
def name(shared: ControlPlane) -> str:
    """A name that no other story has; what it names stays, stopped."""
    return f"a{uuid4().hex[:8]}"


def resting(**spec: Any) -> dict[str, Any]:
    """An app of which nothing runs."""
    return web(replicas=0, **spec)


def test_of_two_producers_who_saw_the_same_one_is_told_that_it_was_late(
    shared: ControlPlane, name: str
) -> None:
    seen = shared.apply(name, resting())["generation"]
    specs = [resting(env={"WHO": str(number)}) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda s: shared.put(name, s, If_Match=f'"{seen}"'), specs))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [412] * 7
    late = next(answer.json() for answer in answers if answer.status_code == 412)
    assert (late["code"], late["asked"]) == ("Stale", seen)
    won = next(answer.json() for answer in answers if answer.status_code == 200)
    assert late["actual"] == won["generation"]
    assert shared.app(name)["metadata"]["revision"] == 2


def test_a_manifest_with_an_old_generation_is_told_both_numbers(
    shared: ControlPlane, name: str
) -> None:
    first = shared.apply(name, resting())["generation"]
    second = shared.act(name, "restart")["generation"]
    body = {
        "apiVersion": "stateward/v1",
        "kind": "App",
        "metadata": {"generation": first},
        "spec": resting(env={"LATE": "1"}),
    }
    answer = shared.http.put(f"/api/v1/projects/default/apps/{name}", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["asked"], problem["actual"]) == (409, first, second)
    assert str(first) in problem["detail"]
    assert str(second) in problem["detail"]


def test_an_idempotency_key_has_one_effect_and_one_answer(shared: ControlPlane, name: str) -> None:
    shared.apply(name, resting())
    key = uuid4().hex
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: shared.act(name, "restart", Idempotency_Key=key), range(8))
        )
    assert len({answer["position"] for answer in answers}) == 1
    assert sum(not answer["repeated"] for answer in answers) == 1
    assert len(shared.events("app.restarted", f"App/default/{name}")) == 1
    other = shared.http.post(
        f"/api/v1/projects/default/apps/{name}/actions/stop", headers={"Idempotency-Key": key}
    )
    assert (other.status_code, other.json()["code"]) == (422, "KeyReused")


async def test_a_key_sent_again_over_nats_gets_the_answer_that_it_got_first(
    shared: ControlPlane, name: str
) -> None:
    shared.apply(name, resting())
    stream, key = f"App/default/{name}", uuid4().hex
    async with producer(shared) as asking:
        first = await ask(asking, "scale", name, {"replicas": 0}, key=f"{key}-nothing")
        assert first["changes"][0]["result"] == "unchanged"
        first = await ask(asking, "restart", name, key=key)
        again = await ask(asking, "restart", name, key=key)
        assert again == first | {"repeated": True}
        other = await ask(asking, "stop", name, key=key)
        assert other["code"] == "KeyReused"
    (restarted,) = shared.events("app.restarted", stream)
    assert restarted["position"] == first["position"]
    assert restarted["actor"] == f"program:{PRODUCER}"
    assert restarted["cause"] == key
    # The same words of another actor are another's: keys of two actors never meet.
    assert shared.act(name, "restart", Idempotency_Key=key)["repeated"] is False


@pytest.mark.parametrize(
    ("spec", "status", "words"),
    [
        ({"target": "moon"}, 422, ["Target/moon"]),
        ({"image": "nginx"}, 422, ["spec.image", "process"]),
        ({"instances": 3}, 422, ["instances", "replicas"]),
        ({"replicas": 5000}, 422, ["replicas", "1000"]),
        ({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}, 422, ["ports[1]"]),
        ({"env": {"DEBUG": True}}, 422, ["quote it"]),
        ({"resources": {"memory": "256m"}}, 422, ["256Mi"]),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_its_path_and_leaves_no_event(
    shared: ControlPlane, name: str, spec: dict[str, object], status: int, words: list[str]
) -> None:
    answer = shared.put(name, web() | {"health": {}} | spec)
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.text
    assert shared.events("", f"App/default/{name}") == []


def test_ten_megabytes_and_deep_nesting_are_turned_away(shared: ControlPlane, name: str) -> None:
    path = f"/api/v1/projects/default/apps/{name}"
    large = shared.http.put(path, json={"spec": {"env": {"A": "x" * 10_000_000}}})
    assert (large.status_code, large.json()["code"]) == (413, "TooLarge")
    deep = "[" * 50_000 + "]" * 50_000
    yaml = {"Content-Type": "application/yaml"}
    for headers in ({"Content-Type": "application/json"}, yaml):
        answer = shared.http.put(path, content=deep.encode(), headers=headers)
        assert answer.status_code in (400, 413, 422), answer.text
    torn = shared.http.put(path, content=b"kind: App\n  spec: {", headers=yaml)
    assert (torn.status_code, torn.json()["line"]) == (400, 2)


def test_a_set_is_taken_whole_or_not_at_all(shared: ControlPlane, name: str) -> None:
    def manifest(called: str, **spec: Any) -> dict[str, Any]:
        metadata = {"name": called, "project": "default"}
        about = {"apiVersion": "stateward/v1", "kind": "App", "metadata": metadata}
        return {**about, "spec": resting(**spec)}

    bad = [manifest(name), manifest(f"{name}-b", target="moon")]
    assert shared.http.post("/api/v1/apply", json=bad).status_code == 422
    assert shared.http.get(f"/api/v1/projects/default/apps/{name}").status_code == 404
    good = [manifest(name), manifest(f"{name}-b")]
    assert shared.http.post("/api/v1/apply", json=good).status_code == 200
    assert shared.app(name)["metadata"]["generation"] < shared.app(f"{name}-b")["metadata"]["uid"]
