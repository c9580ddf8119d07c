"""What Traefik polls: whole, in order, never empty, and without what must not be told."""

import re

import msgspec
import pytest

from adapters.traefik.limits import limits_met
from adapters.traefik.render import JSON, NOTHING, render
from adapters.traefik.rules import compared, rule
from adapters.traefik.settings import TraefikSettings
from projections.route_table import Backend, Endpoint, Header, Mirror, RouteTable, Row, Share, Tls
from tests.support.golden_routes import CERTIFICATE, ENDPOINTS, TRAEFIK
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
from tests.support.traefik import faults_of

PLAIN = TraefikSettings()
LACKING = {"Secret/shop/tls": "nobody may see its key"}


def rendered(*rows: Row, settings: TraefikSettings = PLAIN) -> JSON:
    wanted = table(*rows)
    document = render(wanted, ENDPOINTS, settings, limits_met(wanted.rows, settings, LACKING))
    assert faults_of(document) == []
    http: JSON = document["http"]
    return http


def test_everything_that_can_be_said_is_what_traefik_takes() -> None:
    unserved = limits_met(EVERYTHING.rows, TRAEFIK, {})
    document = render(EVERYTHING, ENDPOINTS, TRAEFIK, unserved, [CERTIFICATE])
    assert faults_of(document) == []
    [shown] = document["tls"]["certificates"]
    assert shown == {"certFile": CERTIFICATE.chain, "keyFile": CERTIFICATE.key.reveal()}
    assert document["http"]["routers"]["own"]["tls"] == {}


def test_the_schema_finds_what_traefik_would_not_take() -> None:
    document = render(EVERYTHING, ENDPOINTS, TRAEFIK, {})
    document["http"]["routers"]["web"]["priority"] = 0
    document["http"]["services"]["a@b"] = {"loadBalancer": {"servers": [{"url": "10.0.0.1:80"}]}}
    document["http"]["routers"]["api"]["service"] = "gone"
    document["http"]["services"]["copied-mirrored"]["mirroring"]["mirrors"][0]["name"] = "gone"
    document["http"]["services"]["split-weighted"] = {"mirroring": {"service": NOTHING}}
    assert len(faults_of(document)) == 7


def test_no_table_is_rendered_as_nothing_at_all() -> None:
    http = rendered()
    assert set(http["routers"]) == {NOTHING, f"{NOTHING}-https"}
    assert http["middlewares"][NOTHING]["ipAllowList"]["rejectStatusCode"] == 404


def test_priorities_are_in_the_order_of_the_table_and_above_the_last() -> None:
    http = rendered(*EVERYTHING.rows, settings=TRAEFIK)
    order = [http["routers"][one.id]["priority"] for one in EVERYTHING.rows]
    assert order == sorted(order, reverse=True)
    assert min(order) > http["routers"][NOTHING]["priority"] > 0


def test_a_precedence_of_zero_is_no_priority_of_zero() -> None:
    """Zero would be the length of the rule."""
    lowest = msgspec.structs.replace(row("a.example", "/", shares(WEB), "low"), precedence=0)
    assert rendered(lowest)["routers"]["low"]["priority"] > 1


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (row("a.example", "/", shares(WEB)), "Host(`a.example`)"),
        (
            row("a.example", "/api", shares(WEB)),
            "Host(`a.example`) && (Path(`/api`) || PathPrefix(`/api/`))",
        ),
        (
            row("a.example", "/", shares(WEB), context=Header("x-a", "b` c")),
            'Host(`a.example`) && Header(`x-a`, "b` c")',
        ),
    ],
)
def test_a_rule_says_host_path_and_context(one: Row, said: str) -> None:
    assert rule(one) == said


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/a%20b", "/a b"),
        ("/a%2fb", "/a%2Fb"),
        ("/%61%25%41", "/a%25A"),
        ("/%C3%BC", "/ü"),
        ("/a%3f%23", "/a%3F%23"),
        ("/%2D%2e%7E", "/-.~"),
    ],
)
def test_paths_are_compared_as_traefik_compares_them(path: str, same: str) -> None:
    assert compared(path) == same


def test_shares_are_weighted_services_and_those_without_endpoint_are_left_out() -> None:
    split = row("a.example", "/", (Share(WEB, 9), Share(FEATURE, 1)), "split")
    weighted = rendered(split)["services"]["split-weighted"]["weighted"]["services"]
    assert [one["weight"] for one in weighted] == [9, 1]
    wanted = table(split)
    http = render(wanted, {WEB: ENDPOINTS[WEB], FEATURE: ()}, PLAIN, {})["http"]
    assert http["routers"]["split"]["service"] == "shop-web-11-http"


def test_a_context_falls_back_and_a_row_without_anybody_has_no_server() -> None:
    context = row(
        "a.example", "/", shares(FEATURE), "c", context=Header("x", "1"), fallback=shares(WEB)
    )
    wanted = table(context)
    http = render(wanted, {WEB: (Endpoint("10.0.0.9", 80),)}, PLAIN, {})["http"]
    assert http["routers"]["c"]["service"] == "shop-web-11-http"
    http = render(wanted, {}, PLAIN, {})["http"]
    assert http["services"][http["routers"]["c"]["service"]]["loadBalancer"]["servers"] == []


def test_copies_go_to_whoever_is_healthy_beside_what_answers() -> None:
    copied = row("a.example", "/", shares(WEB), "c", mirror=Mirror(API, 8080, 25))
    http = rendered(copied)
    assert http["services"][http["routers"]["c"]["service"]]["mirroring"] == {
        "service": "shop-web-11-http",
        "mirrors": [{"name": "shop-api-12-http", "percent": 25}],
        "maxBodySize": 1048576,
    }
    assert http["services"]["shop-api-12-http"]["loadBalancer"]["servers"]
    for mirror in (copied.mirror, Mirror(Backend("App/shop/gone", 0, ""), 0, 25)):
        alone = msgspec.structs.replace(copied, mirror=mirror)
        http = render(table(alone), {WEB: ENDPOINTS[WEB]}, PLAIN, {})["http"]
        assert http["routers"]["c"]["service"] == "shop-web-11-http"


def test_what_a_client_says_about_its_user_is_always_taken_away_first() -> None:
    for auth in ("off", "soft", "hard"):
        inner = row("a.example", "/", shares(WEB), "a", auth=auth)
        http = rendered(inner, settings=TRAEFIK)
        first, *others = http["routers"]["a"]["middlewares"]
        gone = http["middlewares"][first]["headers"]["customRequestHeaders"]
        assert gone == dict.fromkeys(
            ["X-Forwarded-User", "X-Forwarded_User", "X_Forwarded-User", "X_Forwarded_User"], ""
        )
        assert others == ([] if auth == "off" else [f"auth-{auth}"])


def test_a_domain_is_asked_for_at_its_own_address_or_by_the_middlewares_of_the_operator() -> None:
    http = rendered(*asked_by_domain("login@file", "limit@docker").rows)
    addresses = {
        name: [
            http["middlewares"][one]["forwardAuth"]["address"]
            for one in router["middlewares"]
            if "forwardAuth" in http["middlewares"].get(one, {})
        ]
        for name, router in http["routers"].items()
    }
    assert addresses["own-hard"] == ["https://login.example.org/verify?auth=hard"]
    assert addresses["own-soft"] == ["https://login.example.org/verify?auth=soft"]
    assert addresses["other"] == ["http://other.example:4181?auth=hard"]
    assert http["routers"]["usual"]["middlewares"] == ["unserved"]
    first, *chain = http["routers"]["given"]["middlewares"]
    assert "X_Forwarded_User" in http["middlewares"][first]["headers"]["customRequestHeaders"]
    assert chain == ["login@file", "limit@docker", "given-strip"]


def test_where_traefik_does_not_know_a_middleware_nobody_gets_in_by_a_wider_route() -> None:
    open_to_all = row("given.example", "/", shares(WEB), "wider")
    routers = rendered(*asked_by_domain("gone@file").rows, open_to_all)["routers"]
    given, shut, wider = (routers[name] for name in ("given", "given-shut", "wider"))
    assert (shut["rule"], shut["entryPoints"]) == (given["rule"], given["entryPoints"])
    assert given["priority"] > shut["priority"] > wider["priority"]
    assert (shut["middlewares"], shut["service"]) == (["unserved"], NOTHING)
    assert [name for name in routers if name.endswith("-shut")] == ["given-shut"]


def test_who_is_named_for_a_domain_is_enough_where_the_server_knows_no_users() -> None:
    rows = asked_by_domain("login@file").rows
    assert set(limits_met(rows, PLAIN, {})) == {"usual"}
    assert set(limits_met(asked_by_domain().rows, TRAEFIK, {})) == set()


@pytest.mark.parametrize(
    ("limited", "said"),
    [
        (row("a.example", "/", shares(WEB), auth="soft"), "nobody is named"),
        (
            row("a.example", "/", shares(WEB), scheme="https", tls=Tls(mode="auto")),
            "no certificate resolver",
        ),
        (
            row(
                "a.example",
                "/",
                shares(WEB),
                scheme="https",
                tls=Tls(mode="secret", secret="Secret/shop/tls"),
            ),
            "nobody may see its key",
        ),
    ],
)
def test_what_traefik_is_not_told_is_said_and_not_served(limited: Row, said: str) -> None:
    fine = row("b.example", "/", shares(API), "fine")
    (reason,) = limits_met([limited, fine], PLAIN, LACKING).values()
    assert said in reason
    http = rendered(limited, fine)
    assert http["routers"][limited.id]["service"] == NOTHING
    assert http["routers"][limited.id]["middlewares"] == ["unserved"]
    assert re.fullmatch(r"shop-api-12-http", http["routers"]["fine"]["service"])


def test_an_empty_table_is_an_empty_table() -> None:
    assert render(RouteTable(), {}, PLAIN, {}) == {"http": rendered()}
