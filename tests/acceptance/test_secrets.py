"""The value of a Secret is where it is used and, encrypted, in its store; nowhere else at all."""

import asyncio
import json
import os
import signal
from base64 import b64encode
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.sqlite.secrets import SqliteSecrets
from domain.names import Ref
from domain.secret import SecretText
from tests.acceptance.conftest import Serve
from tests.acceptance.producing import ask, producer
from tests.support.asking import PATIENCE, greeting, web
from tests.support.serving import ControlPlane

pytestmark = pytest.mark.needs("nats")


def set_secret(plane: ControlPlane, value: str) -> None:
    body = {"apiVersion": "stateward/v1", "kind": "Secret", "spec": {"data": {"password": value}}}
    answer = plane.http.put("/api/v1/projects/default/secrets/db", json=body)
    assert answer.status_code in (200, 201), answer.text
    assert value not in answer.text


def everything_said(plane: ControlPlane) -> str:
    """What the API tells of it all, its errors included."""
    of_web = "/api/v1/projects/default/apps/web"
    paths = [of_web, "/api/v1/apps", "/api/v1/secrets", "/api/v1/projects/default/secrets/db"]
    paths += [f"{of_web}/{part}" for part in ("revisions", "events", "history", "plan", "why")]
    paths += ["/api/v1/events?all=1&limit=1000", "/metrics", "/readyz?verbose"]
    return "\n".join(plane.http.get(path).text for path in paths)


def files_with(root: Path, canaries: list[bytes]) -> list[str]:
    """The files below a directory that hold one of the texts."""
    found = []
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            found += [str(path.relative_to(root)) for canary in canaries if canary in content]
    return found


async def heard(plane: ControlPlane) -> list[bytes]:
    """Everything on the bus while one more change is made and rolled out."""
    messages: list[bytes] = []
    async with producer(plane) as listener:
        subscription = await listener.subscribe("stateward.v1.event.>")
        answer = await ask(listener, "restart", "web", key=uuid4().hex)
        messages.append(json.dumps(answer).encode())
        await asyncio.to_thread(plane.rolled_out)
        while not any(b"rollout.completed" in one for one in messages):
            message = await subscription.next_msg(timeout=20)
            messages += [message.subject.encode(), message.data]
    return messages


async def test_a_secret_is_found_nowhere_but_in_the_app_that_uses_it(serve: Serve) -> None:
    first, second = (f"canary-{uuid4().hex}" for _ in range(2))
    plane = serve("--log-level=debug")
    reference = {"secretRef": {"name": "db", "key": "password"}}
    set_secret(plane, first)
    plane.apply("web", web(env={"GREETING": reference}, replicas=2))
    plane.rolled_out()
    assert greeting(plane.address()) == first
    set_secret(plane, second)
    plane.rolled_out()
    assert greeting(plane.address()) == second
    os.kill(min(plane.pids()), signal.SIGKILL)
    plane.apply("web", web(env={"GREETING": reference}, replicas=2, command=["/no/such/program"]))
    plane.until(lambda: plane.condition("Degraded")[0] == "True", "it is degraded")
    plane.act("web", "undo")
    plane.rolled_out()
    said = everything_said(plane).encode()
    told = b"\n".join(await heard(plane))
    assert greeting(plane.address()) == second
    plane.restart()
    plane.rolled_out()
    backup = plane.home / "backup"
    made = plane.run(str(backup), f"--data={plane.data}", verb="backup")
    assert made.returncode == 0, made.stderr
    plane.terminate()
    canaries = [one.encode() for one in (first, second)]
    canaries += [b64encode(one) for one in canaries]
    for canary in canaries:
        assert canary not in said
        assert canary not in told
    assert files_with(plane.home, canaries) == []
    assert {"data/log.db", "backup/log.db"} <= set(files_with(plane.home, [b"App/default/web"]))


def test_a_secret_that_is_refused_is_not_repeated_in_the_answer(shared: ControlPlane) -> None:
    canary = f"canary-{uuid4().hex}"
    path = "/api/v1/projects/default/secrets/db"
    bodies: list[object] = [
        {"spec": {"data": {"password": [canary]}}},
        {"spec": {"data": canary}},
        {"spec": {"data": {"password": canary}, "more": canary}},
        {"kind": canary, "spec": {"data": {"password": canary}}},
        {"spec": {"data": {"password": f"{canary}\x00"}}},  # no environment can hold it
    ]
    for body in bodies:
        answer = shared.http.put(path, json=body)
        assert answer.status_code == 422, answer.text
        if body is not bodies[3]:  # what stands where a kind belongs is no secret
            assert canary not in answer.text
    torn = f'{{"spec": {{"data": {{"password": "{canary}"'
    for kind in ("application/json", "application/yaml"):
        answer = shared.http.put(path, content=torn.encode(), headers={"Content-Type": kind})
        assert answer.status_code == 400, answer.text
        assert canary not in answer.text
    assert canary not in shared.said


async def test_values_that_a_crash_left_are_erased_at_the_next_start(serve: Serve) -> None:
    plane = serve()
    set_secret(plane, "kept")
    plane.kill()
    left = Ref("Secret", "default", "left")
    store = await SqliteSecrets.open(plane.data, now=lambda: 0.0)
    try:
        await store.put(left, {"password": SecretText("its event was never written")})
        plane.start()
        async with asyncio.timeout(PATIENCE):
            while left in await store.held():
                await asyncio.sleep(0.2)
        assert Ref("Secret", "default", "db") in await store.held()
    finally:
        await store.close()
