"""What users ask of a control plane over HTTP, and the apps that tests apply there.

Answers are plain JSON, so that a test reads what a client would read.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 60.0  # seconds: of a test that waits for something that must happen


class Asking:
    """The API as the admin of the first start sees it, while there is a server at all."""

    _client: httpx.Client | None = None

    @property
    def http(self) -> httpx.Client:
        assert self._client is not None, "it does not run"
        return self._client

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, name: str, spec: object, **headers: str) -> httpx.Response:
        """Apply an app of the project `default`."""
        body = {"apiVersion": "stateward/v1", "kind": "App", "spec": spec}
        return self.http.put(
            f"/api/v1/projects/default/apps/{name}", json=body, headers=_headers(headers)
        )

    def apply(self, name: str, spec: object, **headers: str) -> Any:
        """As `put`, and it has to be accepted; return the acknowledgement."""
        return _accepted(self.put(name, spec, **headers))

    def act(self, name: str, verb: str, body: object = None, **headers: str) -> Any:
        """An action on an app, which has to be accepted."""
        path = f"/api/v1/projects/default/apps/{name}/actions/{verb}"
        return _accepted(self.http.post(path, json=body or {}, headers=_headers(headers)))

    def delete(self, name: str) -> None:
        """Delete an app, if it is there."""
        answer = self.http.delete(f"/api/v1/projects/default/apps/{name}")
        assert answer.status_code in (200, 404), answer.text

    def app(self, name: str = "web") -> Any:
        return self.get(f"/api/v1/projects/default/apps/{name}")

    def condition(self, kind: str, name: str = "web") -> tuple[str, str]:
        """(status, reason) of one of an app's conditions."""
        for one in self.app(name)["status"]["conditions"]:
            if one["type"] == kind:
                return one["status"], one["reason"]
        return "", ""

    def events(self, kind: str = "", resource: str = "App/default/web") -> list[Any]:
        """The events of a resource of a type (or whose type begins so), oldest first."""
        query = {"resource": resource, "limit": 1000} | ({"type": kind} if kind else {})
        items: list[Any] = self.get("/api/v1/events", **query)["items"]
        return items

    def until(self, holds: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
        """Wait until something holds, and return what it gave.

        Raises:
            AssertionError: it does not in time; says what the server wrote last.
        """
        return until(holds, what, self._explain, within)

    def rolled_out(self, name: str = "web", within: float = PATIENCE) -> Any:
        """Wait until an app's present spec is what runs; return the app."""

        def is_rolled_out() -> Any:
            app = self.app(name)
            status, generation = app["status"], app["metadata"]["generation"]
            true = {one["type"] for one in status["conditions"] if one["status"] == "True"}
            seen = status["observedGeneration"] == generation
            return app if seen and {"Ready", "Synced"} <= true else None

        return self.until(is_rolled_out, f"{name} is rolled out", within)

    def address(self, name: str = "web", slot: int = 0) -> str:
        """Where a ready replica answers."""
        for one in self.app(name)["status"]["replicas"]:
            if one["ready"] and one["slot"] == slot:
                return f"http://{one['addresses']['http']}"
        raise AssertionError(f"slot {slot} of {name} is not ready")

    def _explain(self) -> str:
        """What helps to understand why something did not come about."""
        return ""


def until(
    holds: Callable[[], Any], what: str, explain: Callable[[], str], within: float = PATIENCE
) -> Any:
    deadline = time.monotonic() + within
    pause = 0.02  # seconds; ever longer, as to ask takes processor time from whoever is asked
    while True:
        if found := holds():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}\n{explain()}")
        time.sleep(pause)
        pause = min(pause * 1.2, 0.2)


def web(greeting: str = "hello", **spec: Any) -> dict[str, Any]:
    """The spec of an app that answers `greeting`, for the process engine."""
    program = Path(__file__).with_name("sample_app.py")
    env = {"GREETING": greeting, **spec.pop("env", {})}
    check = {"http": {"path": "/healthz", "port": "http"}, "interval": "200ms", "failures": 50}
    return {
        "command": [sys.executable, "-I", "-S", str(program)],
        "env": env,
        "ports": [{"name": "http", "port": 8080}],
        "health": {"readiness": check},
        "stopGrace": "2s",
        **spec,
    }


def greeting(url: str) -> str:
    """What an app answers, or why it does not."""
    try:
        return httpx.get(url, timeout=5).text
    except httpx.HTTPError as error:
        return repr(error)


def _headers(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in given.items()}


def _accepted(answer: httpx.Response) -> Any:
    assert answer.status_code in (200, 201), answer.text
    return answer.json()
