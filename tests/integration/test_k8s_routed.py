"""Stories of apps with URLs on a cluster: a whole worker, and routers that say what they say."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from domain import intents as i
from domain.names import app
from tests.support.certified import certified
from tests.support.cluster_house import NAMESPACE, TOKEN, ClusterHouse, cluster_house
from tests.support.deployment import without
from tests.support.intents import manifest
from tests.support.kubernetes.definitions import HTTP_ROUTE, TRAEFIK
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.schema import Object

WEB = app("shop", "web")
AT = {"kubeconfig": "/config"}
PORTS = [{"name": "http", "port": 8080}]
ROUTE = {"host": "web.example", "tls": {"mode": "off"}}


def spec(*routes: object, **more: object) -> dict[str, object]:
    return {"image": "web:1", "ports": PORTS, "routes": list(routes or [ROUTE]), **more}


def target(router: str | None = None, **cluster: object) -> Any:
    routing: dict[str, object] = {"domains": [{"pattern": "*.example"}]}
    routing |= {"router": router} if router else {}
    routing |= {"cluster": cluster} if cluster else {}
    asked = {"engine": "k8s", "k8s": AT, "routing": routing}
    return manifest("Target", "prod", asked)


@asynccontextmanager
async def routed(
    folder: Path, *, definitions: Iterable[Object] = (HTTP_ROUTE,), **how: Any
) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(folder, **how) as house:
        for one in definitions:
            house.server.inside.create("CustomResourceDefinition", "", one)
        await house.send(target())
        yield house


def routes(house: ClusterHouse, kind: str = "HTTPRoute") -> list[Object]:
    if house.server.kinds.of(API[kind], kind) is None:
        return []
    return house.all(kind)


API = {
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "IngressRoute": "traefik.io/v1alpha1",
    "Middleware": "traefik.io/v1alpha1",
    "TraefikService": "traefik.io/v1alpha1",
}


def said(house: ClusterHouse, name: str = "web") -> str:
    status = house.of(name)
    found = status.condition("Routed") if status is not None else None
    return found.message if found is not None else ""


def answer(house: ClusterHouse, route: Object, accepted: str = "True", **more: object) -> None:
    """The Gateway says what it thinks of a route."""
    told: dict[str, object] = {
        "type": "Accepted",
        "status": accepted,
        "reason": "Accepted",
        "message": "it is taken",
    }
    told |= {"observedGeneration": route["metadata"]["generation"], **more}
    found = {**told, "type": "ResolvedRefs", "status": "True"}
    parent = {"parentRef": route["spec"]["parentRefs"][0], "conditions": [told, found]}
    name = route["metadata"]["name"]
    house.server.inside.patch_status("HTTPRoute", NAMESPACE, name, {"parents": [parent]})


def doors(house: ClusterHouse) -> list[str]:
    """The namespaces from which the app may be reached."""
    policy = house.found("NetworkPolicy")
    assert policy is not None
    return [
        who["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in policy["spec"]["ingress"]
        for who in rule["from"]
        if "namespaceSelector" in who
    ]


async def test_a_route_is_served_when_the_gateway_says_so_and_goes_with_its_url(
    tmp_path: Path,
) -> None:
    async with routed(tmp_path) as house:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        await house.until(lambda: house.reason("Routed") == ("Unknown", "NotConfirmed"))
        assert "listener 'http' has to allow routes of namespace stw-shop" in said(house)
        [route] = routes(house)
        answer(house, route, "False", reason="NotAllowedByListeners", message="not from there")
        await house.until(lambda: house.reason("Routed") == ("False", "RouterRefused"))
        assert "NotAllowedByListeners: not from there" in said(house)
        answer(house, route)
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        assert said(house) == "1 URL leads to 1 replica"
        assert doors(house) == ["stateward-routing"]
        [ref] = route["spec"]["rules"][0]["backendRefs"]
        assert (ref["name"], ref["port"]) == ("web", 8080)
        await house.send(i.Stop(ref=WEB))
        await house.until(lambda: house.reason("Routed") == ("False", "NoEndpoints"))
        await house.send(manifest("App", "web", {"image": "web:1", "ports": PORTS}))
        await house.until(lambda: not routes(house))
        await house.until(lambda: house.reason("Routed") == ("", ""))
        assert doors(house) == []


async def test_what_is_done_to_a_route_by_hand_is_put_back_and_told(tmp_path: Path) -> None:
    async with routed(tmp_path) as house:
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: routes(house))
        await house.ready()
        name = routes(house)[0]["metadata"]["name"]
        house.server.inside.patch(
            "HTTPRoute", NAMESPACE, name, {"spec": {"hostnames": ["evil.example"]}}
        )
        await house.until(lambda: "drift.repaired" in house.types)
        assert routes(house)[0]["spec"]["hostnames"] == ["web.example"]
        house.server.inside.delete("HTTPRoute", NAMESPACE, name)
        await house.until(lambda: routes(house))
        answer(house, routes(house)[0])
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        before = house.written
        await house.rest()
        assert house.written == before


async def test_an_app_runs_without_the_kinds_of_its_router_until_they_come_and_when_they_go(
    tmp_path: Path,
) -> None:
    async with routed(tmp_path, definitions=()) as house:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        await house.until(lambda: house.reason("Routed") == ("False", "RouterMissing"))
        assert "install the definition of httproutes.gateway.networking.k8s.io" in said(house)
        assert house.reason("Degraded") == ("False", "AsExpected")
        assert house.reason("Synced") == ("True", "Converged")
        before = len(house.server.calls)
        await house.tick()
        asked = [one for one in house.server.calls[before:] if one.verb not in {"list", "watch"}]
        assert not asked
        house.server.inside.create("CustomResourceDefinition", "", HTTP_ROUTE)
        await house.until(lambda: routes(house))
        answer(house, routes(house)[0])
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        name = HTTP_ROUTE["metadata"]["name"]
        house.server.inside.delete("CustomResourceDefinition", "", name)
        await house.until(lambda: house.reason("Routed") == ("False", "RouterMissing"))
        assert house.reason("Ready") == ("True", "AllReplicasReady")


async def test_a_target_may_change_its_router_and_an_ingress_says_what_it_cannot(
    tmp_path: Path,
) -> None:
    async with routed(tmp_path, definitions=(HTTP_ROUTE, *TRAEFIK)) as house:
        context = {**ROUTE, "contexts": [{"header": "X-Feature", "value": "blue"}]}
        await house.send(manifest("App", "web", spec()), manifest("App", "blue", spec(context)))
        await house.until(lambda: len(routes(house)) == 2)
        pods = {"namespace": "traefik", "labels": {"app.kubernetes.io/name": "traefik"}}
        await house.send(target("traefik", pods=pods))
        await house.until(lambda: len(routes(house, "IngressRoute")) == 2 and not routes(house))
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        assert doors(house) == ["traefik"]
        [rule] = [one for one in routes(house, "IngressRoute") if "blue" in str(one["spec"])]
        assert "Header(`x-feature`, `blue`)" in rule["spec"]["routes"][0]["match"]
        await house.send(target("ingress"))
        await house.until(lambda: not routes(house, "IngressRoute"))
        await house.until(lambda: len(routes(house, "Ingress")) == 1)
        await house.until(lambda: house.reason("Routed", "blue") == ("False", "RouteUnserved"))
        assert "give the feature a host of its own" in said(house, "blue")
        await house.until(lambda: house.reason("Routed") == ("Unknown", "NotConfirmed"))
        [ingress] = routes(house, "Ingress")
        told = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        house.server.inside.patch_status("Ingress", NAMESPACE, ingress["metadata"]["name"], told)
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        await house.send(target("none"))
        await house.until(lambda: house.reason("Routed") == ("False", "NoRouter"))
        await house.until(lambda: not routes(house, "Ingress"))


async def test_a_certificate_of_a_secret_is_shown_and_replaced(tmp_path: Path) -> None:
    def certificate(host: str) -> Any:
        values = {key: text.reveal() for key, text in certified(host).items()}
        return manifest("Secret", "own", {"data": values})

    async with routed(tmp_path, definitions=TRAEFIK) as house:

        def shown() -> str:
            found = [one["spec"].get("tls", {}) for one in routes(house, "IngressRoute")]
            return next((one["secretName"] for one in found if "secretName" in one), "")

        def kept() -> set[str]:
            return {one["metadata"]["name"] for one in house.all("Secret")}

        secure = {"host": "web.example", "tls": {"mode": "secret", "secret": "own"}}
        await house.send(target("traefik"), certificate("web.example"))
        await house.send(manifest("App", "web", spec(secure)))
        await house.until(lambda: bool(shown()))
        await house.until(lambda: house.reason("Routed") == ("True", "Routed"))
        first = shown()
        assert first in kept()
        await house.send(certificate("web.example"))
        await house.until(lambda: shown() not in ("", first) and first not in kept())
        assert shown() in kept()


async def test_a_context_follows_the_paths_that_other_apps_have_on_its_host(
    tmp_path: Path,
) -> None:
    def paths() -> list[str]:
        found = [one for one in routes(house) if "blue" in one["metadata"]["name"]]
        matches = [rule["matches"][0] for one in found for rule in one["spec"]["rules"]]
        return [match["path"]["value"] for match in matches]

    async with routed(tmp_path) as house:
        context = {**ROUTE, "contexts": [{"header": "X-Feature", "value": "blue"}]}
        await house.send(manifest("App", "web", spec()), manifest("App", "blue", spec(context)))
        await house.until(lambda: paths() == ["/"])
        await house.send(manifest("App", "web", spec(ROUTE, {**ROUTE, "path": "/api"})))
        await house.until(lambda: paths() == ["/", "/api"])


async def test_an_app_that_moves_is_routed_to_in_both_places_until_it_is_ready(
    tmp_path: Path,
) -> None:
    async with routed(tmp_path) as house:
        local = {"host": "web.localhost", "tls": {"mode": "off"}}
        await house.send(manifest("Target", "prod", {"engine": "k8s", "k8s": AT}))
        await house.send(manifest("App", "web", spec(local, target="local")))
        await house.until(lambda: house.router.table.rows and any(house.router.endpoints.values()))
        house.server.workloads.let("web:1", Fate.WAITS)
        await house.send(manifest("App", "web", spec(local, target="prod")))
        await house.until(lambda: routes(house))
        await house.rest()
        assert house.router.table.rows
        house.server.workloads.let("web:1", Fate.RUNS)
        await house.until(lambda: not house.router.table.rows and not house.running())
        assert routes(house)
        await house.send(manifest("App", "web", spec(local, target="local")))
        await house.until(lambda: not routes(house) and house.router.table.rows)


async def test_what_the_cluster_refuses_of_a_route_keeps_no_app_from_running(
    tmp_path: Path,
) -> None:
    async with routed(tmp_path) as house:
        house.server.access.users[TOKEN] = without("patch", "httproutes")
        await house.send(manifest("App", "web", spec()))
        await house.until(lambda: house.reason("Ready") == ("True", "AllReplicasReady"))
        await house.until(lambda: house.reason("Routed") == ("False", "Forbidden"))
        assert "may not patch httproutes.gateway.networking.k8s.io" in said(house)
        assert house.reason("Degraded") == ("False", "AsExpected")
        await house.send(manifest("App", "web", spec(image="web:2")))
        await house.until(lambda: (status := house.of()) and status.serving == 2)


@pytest.mark.parametrize("verb", ["list"])
async def test_a_kind_that_may_not_be_listed_is_one_that_is_not_there(
    tmp_path: Path, verb: str
) -> None:
    async with routed(tmp_path) as house:
        house.server.access.users[TOKEN] = without(verb, "httproutes")
        await house.send(target("gateway", gateway={"name": "public"}))
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        await house.until(lambda: house.reason("Routed") == ("False", "Forbidden"))
        assert f"may not {verb} httproutes.gateway.networking.k8s.io" in said(house)
