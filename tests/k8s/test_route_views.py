"""What routers of clusters say of routes, as it is read; and whom an app lets in for them."""

from typing import Any

import msgspec
import pytest

from adapters.k8s.render.renderer import KubernetesRenderer
from domain.routing import ClusterRouter, Gateway, RouterPods, Routing
from domain.target import K8sSettings
from projections.route_table import Backend, Header, Reach
from reconcilers.object_ports import AppOrder, Json, RouteView
from tests.support import k8s_orders as orders
from tests.support.k8s_routes import reached
from tests.support.route_tables import row, shares

OWN = Backend("App/shop/web", 17, "http")
GATEWAY = Gateway(name="public", namespace="infra")


def renderer(router: Any = None, **cluster: Any) -> KubernetesRenderer:
    routing = Routing(router=router, cluster=ClusterRouter(gateway=GATEWAY, **cluster))
    return KubernetesRenderer(orders.INSTALLATION, "prod", K8sSettings(), routing)


def told(order: AppOrder, status: object, router: Any = None) -> RouteView:
    """What is seen when all objects are there, and of routes this is said."""
    live: list[Json] = [
        {**one.body, "metadata": {**one.body["metadata"], "generation": 2}, "status": status}
        for one in renderer(router).app(order)
    ]
    return renderer(router).routed(order, live)


def parent(accepted: str, seen: int = 2, **more: Any) -> dict[str, object]:
    """Our Gateway's word, as of a generation; `more` is another reference, or about backends."""
    reference = {"name": "public", "namespace": "infra", "sectionName": "http"}
    said = {"type": "Accepted", "status": accepted, "observedGeneration": seen, "reason": "R"}
    found = {**said, "type": "ResolvedRefs", "status": more.pop("resolved", "True")}
    return {"parentRef": {**reference, **more}, "conditions": [said, found]}


@pytest.mark.parametrize(
    ("parents", "refused", "silent"),
    [
        ([parent("True")], "", ""),
        ([], "", "has not said that it takes HTTPRoute"),
        ([parent("True", seen=1)], "", "has not said"),
        ([parent("False")], "Gateway infra/public refuses", ""),
        ([parent("True", resolved="False")], "Gateway infra/public refuses", ""),
        ([parent("False", name="other"), parent("True")], "", ""),
        ([parent("True", sectionName="https")], "", "has not said"),
    ],
)
def test_a_gateway_is_believed_when_it_speaks_of_what_is_there_now(
    parents: list[object], refused: str, silent: str
) -> None:
    view = told(reached(orders.order(orders.WEB)), {"parents": parents})
    assert refused in view.refused
    assert bool(view.refused) == bool(refused)
    assert silent in view.silent
    assert bool(view.silent) == bool(silent)


def test_an_ingress_has_an_address_and_kinds_of_traefik_have_no_status() -> None:
    order = reached(orders.order(orders.WEB))
    assert "has told an address" in told(order, {}, "ingress").silent
    served = {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}
    assert told(order, served, "ingress") == RouteView(urls=1)
    assert told(order, {}, "traefik") == RouteView(urls=1)


def test_a_row_that_cannot_be_served_is_told_beside_one_that_can() -> None:
    plain = row("a.example", "/", shares(OWN), "plain")
    context = row("a.example", "/", shares(OWN), "c", context=Header("x-context", "blue"))
    order = reached(orders.order(orders.WEB), context, plain)
    view = told(order, {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, "ingress")
    assert view.urls == 1
    assert "a host of its own" in view.unserved


def lets_in(order: AppOrder, router: Any = None, **cluster: Any) -> list[Json]:
    made = renderer(router, **cluster).app(order)
    [policy] = [one.body for one in made if one.key.kind == "NetworkPolicy"]
    return [rule for rule in policy["spec"]["ingress"] if "namespaceSelector" in rule["from"][0]]


def test_the_router_alone_is_let_in_and_only_to_the_ports_it_leads_to() -> None:
    order = reached(orders.order(orders.WEB))
    [rule] = lets_in(order)
    assert rule["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "infra"}}}
    ]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    pods = RouterPods(namespace="edge", labels={"app": "proxy"})
    [rule] = lets_in(order, "traefik", pods=pods)
    assert rule["from"][0]["podSelector"] == {"matchLabels": {"app": "proxy"}}
    assert "edge" in str(rule["from"][0]["namespaceSelector"])


def test_a_router_is_let_in_to_a_port_that_it_sends_copies_to() -> None:
    order = orders.order(orders.WEB)
    copied = msgspec.structs.replace(order, reach=Reach(copied=frozenset({"http"})))
    [rule] = lets_in(copied)
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert not lets_in(copied, "ingress")
    assert not lets_in(copied, "none")


def test_nobody_is_let_in_for_what_is_not_served() -> None:
    refused = reached(orders.order(orders.WEB), row("a.example", "/", shares(OWN), h2c=True))
    assert not lets_in(refused)
    assert not lets_in(orders.order(orders.WEB))
    assert not lets_in(reached(orders.order(orders.WEB)), "none")
