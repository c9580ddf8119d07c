"""Targets whose router is HAProxy, or a Traefik of their operator: their specs say so."""

from contextlib import suppress
from functools import partial
from typing import Any

import psutil
import pytest

from tests.acceptance.conftest import Serve
from tests.support.asking import web
from tests.support.serving import ControlPlane
from tests.support.town import HOST, Town, routed
from tests.support.traefik import faults_of, servers_of

pytestmark = pytest.mark.timeout(300)

CONTEXT = {"header": "x-context", "value": "feature-1"}


@pytest.mark.needs("haproxy", "load")
def test_haproxy_serves_apps_by_name_and_by_context_through_rollouts(serve: Serve) -> None:
    town = Town(serve("--no-nats"), "haproxy")
    plane = town.plane
    plane.apply("web", routed("one", replicas=2))
    plane.apply("feature", web("feature", routes=[{"host": HOST, "contexts": [CONTEXT]}]))
    plane.rolled_out()
    plane.rolled_out("feature")
    town.until_said("one")
    town.until_said("feature", **{"X-Context": "feature-1"})
    plane.until(lambda: plane.condition("Routed") == ("True", "Routed"), "it is routed")
    assert town.get("other.localhost").status_code == 404
    with town.loaded(12) as ended:
        plane.apply("web", routed("two", replicas=2))
        plane.rolled_out()
        town.until_said("two")
        found = ended()
    assert found.lost == 0, found.said
    assert found.requests > 100
    plane.kill()
    assert town.get().text == "two"
    plane.restart()
    plane.delete("feature")
    town.until_said("two", **{"X-Context": "feature-1"})
    plane.delete("web")
    plane.until(lambda: town.get().status_code == 404, "its route is gone")


@pytest.mark.needs("haproxy", "caddy")
def test_another_router_takes_over_the_entries_of_the_one_before(serve: Serve) -> None:
    town = Town(serve("--no-nats"), "caddy")
    town.plane.apply("web", routed("one"))
    for router in ("caddy", "haproxy", "caddy"):
        town.give(router)
        town.plane.until(partial(_runs_alone, town.plane, router), f"{router} alone runs")
        town.until_said("one")
    town.give("traefik")
    town.plane.until(partial(_runs_alone, town.plane), "the entries are free for Traefik")
    for router in ("caddy", "none"):
        town.give(router)
        town.plane.until(partial(_is_left, town.plane, router), f"of {router} all runs, or nothing")
    assert town.plane.condition("Routed") == ("False", "NoRouter")
    town.give("caddy")
    town.until_said("one")
    town.plane.delete("web")
    answer = town.plane.http.delete("/api/v1/targets/local")
    assert answer.is_success, answer.text
    town.plane.until(partial(_is_left, town.plane, "none"), "its router ends with the target")


def _is_left(plane: ControlPlane, router: str) -> bool:
    """Whether Caddy and its two resolvers run, or none of them."""
    found = 0
    for process in plane.routers():
        with suppress(psutil.NoSuchProcess):
            found += process.name() == "caddy" or "resolver" in " ".join(process.cmdline())
    return found == (0 if router == "none" else 3)


def _runs_alone(plane: ControlPlane, *routers: str) -> bool:
    found = set()
    for process in plane.routers():
        with suppress(psutil.NoSuchProcess):
            found.add(process.name())
    return found & {"caddy", "haproxy"} == set(routers)


def test_a_traefik_reads_routes_and_endpoints_of_its_target(serve: Serve) -> None:
    plane = Town(serve("--no-nats"), "traefik").plane
    path = "/api/v1/targets/local/traefik"

    def read(replicas: int) -> Any:
        """What is to be read of the app, once it has so many servers; reading is noted."""
        answer = plane.http.get(path)
        if answer.status_code != 200:
            return None
        http = answer.json()["http"]
        routers = [one for one in http["routers"].values() if HOST in one["rule"]]
        servers = [url for one in routers for url in servers_of(http, one["service"])]
        return answer.json() if len(servers) == replicas else None

    plane.apply("web", routed("one"))
    document = plane.until(lambda: read(1), "Traefik reads the app's route, and its replica")
    assert faults_of(document) == []
    plane.act("web", "scale", {"replicas": 3})
    document = plane.until(lambda: read(3), "Traefik reads all replicas")
    plane.until(lambda: read(3) and plane.condition("Routed") == ("True", "Routed"), "it is routed")
    told = {
        url for name in document["http"]["services"] for url in servers_of(document["http"], name)
    }
    assert told == {plane.address(slot=slot) for slot in range(3)}
    plane.restart()
    plane.until(lambda: read(3), "the same is read after a crash")
