"""Routes as objects of a cluster: what each kind of router gets, and what it is not asked for."""

import json
from typing import Any

import msgspec
import pytest

from adapters.k8s.render.manifests import stored
from domain.routing import ClusterRouter
from domain.secret import SecretText
from projections.route_table import Backend, Header, Mirror, Row, Share, Tls
from reconcilers.object_ports import Json, Manifest, SecretValues, Stage
from tests.support import k8s_grammar
from tests.support.certified import certified
from tests.support.k8s_routes import CERTIFICATES, OWN, SETTINGS, WAYS, rendered
from tests.support.route_tables import (
    API,
    EVERYTHING,
    FEATURE,
    WEB,
    asked_by_domain,
    row,
    shares,
    table,
)

CONTEXT = Header("x-context", "feature")
GONE = Backend("App/shop/gone", 0, "")


def specs(manifests: tuple[Manifest, ...], kind: str) -> list[Json]:
    return [one.body["spec"] for one in manifests if one.key.kind == kind]


def paths(spec: Json) -> list[str]:
    return [match["path"]["value"] for rule in spec["rules"] for match in rule["matches"]]


@pytest.mark.parametrize("way", WAYS)
def test_a_server_has_nothing_against_any_object(way: str) -> None:
    manifests = rendered(way).manifests
    assert manifests
    for manifest in manifests:
        assert not k8s_grammar.complaints(manifest), manifest.key
        assert manifest.stage is Stage.ROUTE
        assert stored(manifest.body) == manifest.body
        assert json.loads(msgspec.json.encode(manifest.body)) == manifest.body
    assert len({manifest.key for manifest in manifests}) == len(manifests)


@pytest.mark.parametrize("way", WAYS)
def test_a_row_is_rendered_or_the_reason_is_said(way: str) -> None:
    routes = rendered(way)
    told = {*routes.unserved, *routes.notes}
    for one in EVERYTHING.rows:
        alone = rendered(way, one)
        assert alone.manifests or one.id in told
        assert bool(alone.manifests) != (one.id in alone.unserved) or one.redirect


def test_a_context_asks_for_the_longer_paths_that_it_comes_before() -> None:
    context = row("a.example", "/", shares(FEATURE), "c", context=CONTEXT)
    base = row("a.example", "/", shares(WEB), "base")
    deep = row("a.example", "/deep/path", shares(WEB), "deep")
    other = row("b.example", "/else", shares(WEB), "other")
    whole = table(context, base, deep, other)
    [spec] = specs(rendered("gateway", context, table=whole).manifests, "HTTPRoute")
    assert paths(spec) == ["/", "/deep/path"]
    for rule in spec["rules"]:
        [match] = rule["matches"]
        assert match["headers"] == [{"type": "Exact", "name": "x-context", "value": "feature"}]
    [spec] = specs(rendered("gateway", base, table=whole).manifests, "HTTPRoute")
    assert paths(spec) == ["/"]


def test_a_context_strips_its_own_prefix_of_a_longer_path_also() -> None:
    context = row("a.example", "/api", shares(FEATURE), "c", context=CONTEXT, strip_prefix=True)
    whole = table(context, row("a.example", "/api/v1", shares(WEB)))
    [spec] = specs(rendered("gateway", context, table=whole).manifests, "HTTPRoute")
    rewrites = [rule["filters"][-1]["urlRewrite"]["path"] for rule in spec["rules"]]
    assert [one["replacePrefixMatch"] for one in rewrites] == ["/", "/v1"]


def test_more_longer_paths_than_a_route_has_rules_are_more_routes() -> None:
    context = row("a.example", "/", shares(FEATURE), "c", context=CONTEXT)
    below = [row("a.example", f"/p{number}", shares(WEB)) for number in range(20)]
    manifests = rendered("gateway", context, table=table(context, *below)).manifests
    found = specs(manifests, "HTTPRoute")
    assert [len(spec["rules"]) for spec in found] == [16, 5]
    assert len({path for spec in found for path in paths(spec)}) == 21


def test_weights_are_those_of_the_shares() -> None:
    split = row("a.example", "/", (Share(WEB, 9), Share(FEATURE, 1)), "split")
    [route] = specs(rendered("gateway", split).manifests, "HTTPRoute")
    assert [one["weight"] for one in route["rules"][0]["backendRefs"]] == [9, 1]
    manifests = rendered("traefik", split).manifests
    [service] = specs(manifests, "TraefikService")
    assert [one["weight"] for one in service["weighted"]["services"]] == [9, 1]
    assert "a part of the requests" in rendered("ingress", split).unserved["split"]


def test_traefik_gets_priorities_in_the_order_of_the_table() -> None:
    routes = specs(rendered("traefik").manifests, "IngressRoute")
    order = [route["routes"][0]["priority"] for route in routes]
    assert order == sorted(order, reverse=True)
    assert min(order) > 0


def test_a_domain_is_asked_for_at_its_own_address_or_by_the_middlewares_of_the_operator() -> None:
    nobody = ClusterRouter()
    asked = asked_by_domain("infra/login", "limits/most")
    routes = rendered("traefik", table=asked, settings=nobody)
    assert set(routes.unserved) == {"usual"}
    assert "spec.routing.domains[].verify" in routes.unserved["usual"]
    asks = specs(routes.manifests, "Middleware")
    addresses = [one["forwardAuth"]["address"] for one in asks if "forwardAuth" in one]
    assert sorted(addresses) == [
        "http://other.example:4181?auth=hard",
        "https://login.example.org/verify?auth=hard",
        "https://login.example.org/verify?auth=soft",
    ]
    [given] = [one for one in asked.rows if one.id == "given"]
    alone = rendered("traefik", given, settings=nobody).manifests
    [spec] = specs(alone, "IngressRoute")
    identity, *chain, strip = spec["routes"][0]["middlewares"]
    assert chain == [
        {"name": "login", "namespace": "infra"},
        {"name": "most", "namespace": "limits"},
    ]
    given_route, shut = spec["routes"]
    assert shut == {
        "kind": "Rule",
        "match": given_route["match"],
        "priority": given_route["priority"] - 1,
        "services": [{"kind": "TraefikService", "name": "noop@internal"}],
    }
    made = {one.key.name: one.body["spec"] for one in alone if one.key.kind == "Middleware"}
    assert list(made) == [identity["name"], strip["name"]]
    assert "X_Forwarded_User" in made[identity["name"]]["headers"]["customRequestHeaders"]


@pytest.mark.parametrize("way", ["gateway", "traefik"])
def test_what_a_client_says_about_its_user_is_taken_away(way: str) -> None:
    plain = row("a.example", "/", shares(WEB), "plain")
    text = msgspec.json.encode([one.body for one in rendered(way, plain).manifests])
    for spelling in (b"X-Forwarded-User", b"X_Forwarded_User", b"X-Forwarded_User"):
        assert spelling in text


@pytest.mark.parametrize(
    ("way", "limited", "said"),
    [
        ("gateway", row("a.example", "/", shares(WEB), auth="soft"), "use auth off, or the router"),
        ("gateway", row("a.example", "/", shares(WEB), h2c=True), "the router traefik"),
        ("gateway", row("a.example", "/a%2Fb", shares(WEB)), "does not take"),
        ("ingress", row("a.example", "/", shares(WEB), context=CONTEXT), "a host of its own"),
        ("ingress", row("a.example", "/a", shares(WEB), strip_prefix=True), "stripping a prefix"),
    ],
)
def test_what_a_router_cannot_do_is_said_with_what_to_do(way: str, limited: Row, said: str) -> None:
    (reason,) = rendered(way, limited, table=table(limited)).unserved.values()
    assert said in reason


@pytest.mark.parametrize("way", WAYS)
def test_a_row_does_not_lead_out_of_its_namespace(way: str) -> None:
    foreign = row("a.example", "/", shares(Backend("App/blog/web", 9, "http")))
    (reason,) = rendered(way, foreign).unserved.values()
    assert "of another project" in reason


def test_an_ingress_without_issuer_has_no_automatic_certificate() -> None:
    auto = row("a.example", "/", shares(WEB), scheme="https", tls=Tls(mode="auto"))
    (reason,) = rendered("ingress", auto, settings=type(SETTINGS)()).unserved.values()
    assert "no issuer" in reason
    [spec] = specs(rendered("ingress", auto).manifests, "Ingress")
    assert spec["tls"][0]["secretName"].endswith("--tls")


@pytest.mark.parametrize("way", ["gateway", "traefik"])
def test_a_context_that_falls_back_is_told_that_it_does_not_by_health(way: str) -> None:
    context = row("a.example", "/", shares(FEATURE), "c", context=CONTEXT, fallback=shares(WEB))
    assert "answers 503" in rendered(way, context, table=table(context)).notes["c"]


COPIED = row("a.example", "/", shares(WEB), "copied", mirror=Mirror(API, 8080, 10))


def copies(way: str, one: Row, settings: ClusterRouter = SETTINGS) -> list[Json]:
    """Where an app's objects have copies sent to."""
    manifests = rendered(way, one, table=table(one), settings=settings).manifests
    if way == "traefik":
        services = specs(manifests, "TraefikService")
        return [one for spec in services for one in spec["mirroring"]["mirrors"]]
    filters = [
        one
        for spec in specs(manifests, "HTTPRoute")
        for rule in spec["rules"]
        for one in rule["filters"]
    ]
    return [one["requestMirror"] for one in filters if one["type"] == "RequestMirror"]


def test_copies_go_to_the_service_of_another_app() -> None:
    service = {"kind": "Service", "name": "api", "port": 8080}
    assert copies("gateway", COPIED) == [{"backendRef": {"group": "", **service}, "percent": 10}]
    assert copies("traefik", COPIED) == [{**service, "percent": 10}]
    every = msgspec.structs.replace(COPIED, mirror=Mirror(API, 8080, 100))
    assert "percent" not in copies("gateway", every, ClusterRouter())[0]


@pytest.mark.parametrize(
    ("way", "one", "settings", "said"),
    [
        ("gateway", COPIED, ClusterRouter(), "set spec.routing.cluster.gateway.mirrorPercent"),
        ("ingress", COPIED, SETTINGS, "use the router gateway or traefik"),
        *(
            (way, msgspec.structs.replace(COPIED, mirror=Mirror(GONE, 0, 10)), SETTINGS, "apply it")
            for way in ("gateway", "traefik")
        ),
    ],
)
def test_without_copies_a_route_is_served_and_says_why(
    way: str, one: Row, settings: ClusterRouter, said: str
) -> None:
    routes = rendered(way, one, table=table(one), settings=settings)
    assert not routes.unserved
    assert routes.manifests
    assert said in routes.notes["copied"]
    if way != "ingress":
        assert not copies(way, one, settings)


SHOWN = row(
    "own.example", "/", shares(WEB), "o", scheme="https", tls=Tls(mode="secret", secret=OWN)
)


@pytest.mark.parametrize(("way", "kind"), [("traefik", "IngressRoute"), ("ingress", "Ingress")])
def test_an_own_certificate_is_an_object_that_the_route_names(way: str, kind: str) -> None:
    names = set()
    for token in ("t1", "t2"):
        held = {OWN: SecretValues(token, CERTIFICATES[OWN].values)}
        manifests = rendered(way, SHOWN, table=table(SHOWN), certificates=held).manifests
        [secret] = [one for one in manifests if one.key.kind == "Secret"]
        assert secret.body["type"] == "kubernetes.io/tls"
        assert secret.confidential == held[OWN].values
        assert b"PRIVATE" not in msgspec.json.encode([one.body for one in manifests])
        [spec] = specs(manifests, kind)
        [tls] = spec["tls"] if way == "ingress" else [spec["tls"]]
        assert tls["secretName"] == secret.key.name
        names.add(secret.key.name)
    assert len(names) == 2  # other values are another object


@pytest.mark.parametrize("way", ["traefik", "ingress"])
@pytest.mark.parametrize(
    "values",
    [
        None,
        {"tls.crt": SecretText("x")},
        {"tls.crt": SecretText("x"), "tls.key": SecretText("y")},
        {**certified("a.example"), "tls.key": certified("a.example")["tls.key"]},
    ],
    ids=["gone", "half", "nonsense", "of two"],
)
def test_what_is_no_certificate_is_said_and_not_shown(way: str, values: Any) -> None:
    held = {OWN: SecretValues("t1", values)} if values is not None else {}
    routes = rendered(way, SHOWN, table=table(SHOWN), certificates=held)
    assert not routes.manifests
    assert f"{OWN} has no certificate" in routes.unserved["o"]
