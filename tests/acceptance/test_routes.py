"""Apps by their names, through a real Caddy: rollouts, contexts, deaths of ours under load."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import Serve
from tests.support import load
from tests.support.asking import web
from tests.support.caddies import free_port
from tests.support.load import Load
from tests.support.serving import ControlPlane

pytestmark = [pytest.mark.needs("caddy", "load"), pytest.mark.timeout(300)]

HOST = "shop.localhost"


class Town:
    """A control plane whose target has entries of its own."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.entry = f"127.0.0.1:{free_port()}"
        secure = f"127.0.0.1:{free_port()}"
        routing = {"entries": {"http": self.entry, "https": secure}}
        manifest = {
            "apiVersion": "stateward/v1",
            "kind": "Target",
            "metadata": {"name": "local"},
            "spec": {"engine": "process", "routing": routing},
        }
        answer = plane.http.put("/api/v1/targets/local", json=manifest)
        assert answer.is_success, answer.text

    def get(self, host: str = HOST, **headers: str) -> httpx.Response:
        return httpx.get(f"http://{self.entry}/", headers={"Host": host, **headers})

    def until_said(self, text: str, **headers: str) -> None:
        self.plane.until(lambda: self._says(text, headers), f"{HOST} says {text}")

    def _says(self, text: str, headers: dict[str, str]) -> bool:
        try:
            answer = self.get(**headers)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200 and answer.text == text

    @contextmanager
    def loaded(self, seconds: float) -> "Iterator[Callable[[], Load]]":
        """Under load from now on; the function waits for its end and tells what came of it."""
        found: list[Load] = []

        def work() -> None:
            found.append(asyncio.run(load.over_http1(self.entry, HOST, seconds)))

        thread = threading.Thread(target=work)
        thread.start()

        def ended() -> Load:
            thread.join()
            return found[0]

        try:
            yield ended
        finally:
            thread.join()


@pytest.fixture
def town(serve: Serve) -> Town:
    return Town(serve("--no-nats"))


def routed(text: str, **spec: Any) -> dict[str, Any]:
    return web(text, routes=[{"host": HOST}], **spec)


def test_an_app_is_reached_by_name_and_rolls_out_without_losing_a_request(town: Town) -> None:
    plane = town.plane
    plane.apply("web", routed("one", replicas=2))
    plane.rolled_out()
    town.until_said("one")
    plane.until(lambda: plane.condition("Routed") == ("True", "Routed"), "it is routed")
    assert town.get("other.localhost").status_code == 404
    with town.loaded(20) as ended:
        for number in range(3):
            plane.apply("web", routed(f"round {number}", replicas=2))
            plane.rolled_out()
        town.until_said("round 2")
        found = ended()
    assert found.lost == 0, found.said
    assert found.requests > 100
    plane.delete("web")
    plane.until(lambda: town.get().status_code == 404, "its route is gone")


def test_traffic_goes_on_while_no_control_plane_does(town: Town) -> None:
    plane = town.plane
    plane.apply("web", routed("one"))
    plane.rolled_out()
    town.until_said("one")
    with town.loaded(8) as ended:
        plane.kill()
        assert town.get().text == "one"
        plane.begin()  # it comes back while requests come
        found = ended()
    assert found.lost == 0, found.said
    assert found.requests > 100
    plane.restart()
    plane.apply("web", routed("two"))
    plane.rolled_out()
    town.until_said("two")


def test_a_header_leads_to_another_app_and_back_when_that_is_gone(town: Town) -> None:
    plane = town.plane
    plane.apply("web", routed("base"))
    context = {"header": "x-context", "value": "feature-1"}
    plane.apply("feature", web("feature", routes=[{"host": HOST, "contexts": [context]}]))
    plane.rolled_out()
    plane.rolled_out("feature")
    carried = {"X-Context": "feature-1"}
    town.until_said("feature", **carried)
    town.until_said("base")
    plane.act("feature", "stop")
    town.until_said("base", **carried)
    plane.delete("feature")
    town.until_said("base", **carried)


def test_an_app_without_a_healthy_replica_answers_503(town: Town) -> None:
    plane = town.plane
    plane.apply("web", routed("one"))
    plane.rolled_out()
    town.until_said("one")
    plane.act("web", "stop")
    plane.until(lambda: town.get().status_code == 503, "nothing serves it")
    assert "no healthy replica" in town.get().text
