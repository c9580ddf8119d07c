"""Apps by their names, through a real Caddy: rollouts, contexts, deaths of ours under load."""

import re
import time
from datetime import datetime

import pytest

from tests.acceptance.conftest import Serve
from tests.support.asking import web
from tests.support.town import HOST, Town, routed

pytestmark = [pytest.mark.needs("caddy", "load"), pytest.mark.timeout(300)]


@pytest.fixture
def town(serve: Serve) -> Town:
    return Town(serve("--no-nats"))


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


def test_the_end_of_a_certificate_is_shown_and_measured(town: Town) -> None:
    plane = town.plane
    plane.apply("web", web("hello", routes=[{"host": HOST, "tls": {"mode": "internal"}}]))
    plane.until(lambda: plane.condition("Certified") == ("True", "Certified"), "it is certified")
    assert plane.condition("Routed")[1] == "Routed"
    [end] = [row["certificateEnds"] for row in plane.get("/api/v1/routes")["items"] if row["port"]]
    seconds = datetime.fromisoformat(end).timestamp()
    page = plane.http.get("/metrics").text
    name = "stateward_certificate_not_after_seconds"
    [told] = re.findall(rf'{name}{{host="{HOST}",target="local"}} (\S+)', page)
    assert float(told) == seconds > time.time()
