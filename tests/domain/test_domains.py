"""Domains of a target: which of them decides over a host, and what may be said of its users."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from domain import target as spec_of
from domain.domains import Domain, domain_of
from domain.names import target
from domain.refusals import BadValue, Refusal
from tests.support.intents import Desk, manifest

WIDE = Domain(pattern="*.example.org")
DEEP = Domain(pattern="*.shop.example.org", exclude=("old.shop.example.org",))
HOST = Domain(pattern="pay.shop.example.org")
AGAIN = Domain(pattern="*.example.org", auth=True)


@pytest.mark.parametrize(
    ("host", "decides"),
    [
        ("a.example.org", WIDE),
        ("shop.example.org", WIDE),
        ("a.shop.example.org", DEEP),
        ("old.shop.example.org", WIDE),
        ("pay.shop.example.org", HOST),
        ("example.com", None),
    ],
)
def test_the_most_specific_domain_decides_wherever_it_stands(
    host: str, decides: Domain | None
) -> None:
    assert domain_of([WIDE, DEEP, HOST, AGAIN], host) is decides
    assert domain_of([HOST, DEEP, WIDE, AGAIN], host) is decides


async def test_whether_there_is_auth_is_said_by_the_most_specific_domain() -> None:
    found = Desk()
    domains = [{"pattern": "*.example.org", "auth": True}, {"pattern": "open.example.org"}]
    spec = {"engine": "simulated", "routing": {"domains": domains}}
    await found.send(manifest("Target", "local", spec), manifest("Project", "shop", {}))
    ports = [{"name": "http", "port": 80}]

    async def ask(host: str) -> None:
        routes = [{"host": host, "auth": "hard"}]
        app = {"image": "a:1", "ports": ports, "routes": routes}
        await found.send(manifest("App", "web", app))

    await ask("inner.example.org")
    with pytest.raises(BadValue, match=r"offers no auth on open\.example\.org"):
        await ask("open.example.org")


def named(**settings: object) -> dict[str, Any]:
    domain = {"pattern": "*.example.org", "auth": True} | settings
    return {"router": "traefik", "domains": [domain]}


FILE, INSIDE = "auth@file", "infra/auth"
CADDY = {"router": "caddy"}


@pytest.mark.parametrize(
    ("engine", "routing", "field", "rule"),
    [
        ("docker", named(verify="login.example.org/verify"), "verify", "pattern"),
        ("docker", named(verify="https://login.example.org/?a=b"), "verify", "pattern"),
        ("docker", named(verify="https://me:secret@login.example.org/"), "verify", "pattern"),
        ("docker", named(verify="https://login.example.org/{env.HOME}"), "verify", "pattern"),
        ("docker", named(verify="http://a:65536/"), "verify", "[Pp]ort"),
        ("docker", named(verify="http://:80/"), "verify", "it names a host"),
        ("docker", named(verify="http://169.254.169.254/"), "verify", "never asked"),
        ("docker", named(verify="http://a/", auth=False), "auth", "want auth: true"),
        ("docker", named(middlewares={"hard": [FILE]}, auth=False), "auth", "want auth: true"),
        ("docker", named(middlewares={"hard": ["auth"]}), r"middlewares\.hard", "pattern"),
        ("docker", named(middlewares={"hard": [INSIDE]}), r"middlewares\.hard", "name@provider"),
        ("k8s", named(middlewares={"soft": [FILE]}), r"middlewares\.soft", "namespace/name"),
        (
            "docker",
            named(verify="http://a/") | {"router": "haproxy"},
            "verify",
            "haproxy, asks nob",
        ),
        ("k8s", named(verify="http://a/") | {"router": "ingress"}, "verify", "be caddy or traefik"),
        ("docker", named(middlewares={"hard": [FILE]}) | CADDY, "middlewares", "is caddy"),
        ("k8s", named(middlewares={}) | {"router": None}, "middlewares", "is gateway"),
    ],
)
async def test_what_no_router_could_do_is_refused_by_field_and_rule(
    engine: str, routing: Mapping[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(Refusal, match=rf"(?s)domains\[0\]\.{field}.*{rule}"):
        await Desk().send(manifest("Target", "local", {"engine": engine, "routing": routing}))


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        ("docker", {"verify": "https://[::1]:8443/verify"}),
        ("docker", {"middlewares": {"soft": ["who@docker"], "hard": [FILE, "in.side@plugin-x"]}}),
        ("k8s", {"middlewares": {"hard": [INSIDE]}, "verify": "http://login.infra"}),
    ],
)
async def test_what_is_said_of_users_is_kept_as_it_is_written(
    engine: str, settings: Mapping[str, Any]
) -> None:
    found = Desk()
    await found.send(manifest("Target", "local", {"engine": engine, "routing": named(**settings)}))
    [stored] = found.log.events
    assert stored.stream == target("local").stream
    routing = spec_of.decode(stored_spec(stored.data)).routing
    assert routing is not None
    assert routing.domains[0].auth
    for field in settings:
        assert getattr(routing.domains[0], field) is not None


def test_a_target_from_before_has_the_same_bytes() -> None:
    """Else the same manifest would be another definition."""
    domains = b'"domains":[{"pattern":"a.org","exclude":[],"auth":true}]'
    before = b'{"engine":"process","routing":{' + domains + b"}}"
    assert domains in spec_of.encode(spec_of.decode(before))


def stored_spec(data: bytes) -> bytes:
    return bytes(msgspec.json.decode(data, type=dict[str, msgspec.Raw])["spec"])
