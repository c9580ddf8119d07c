"""get routes, why route: by which URLs apps are reached, and which of them a request hits."""

import pytest

from tests.support.command_line import CommandLine

APPS = """
apiVersion: stateward/v1
kind: App
metadata: {name: web, project: shop}
spec:
  command: [/bin/serve]
  ports: [{name: http, port: 80}]
  routes: [{host: a.localhost, mirror: {app: feature, percent: 10}}]
---
apiVersion: stateward/v1
kind: App
metadata: {name: feature, project: shop}
spec:
  command: [/bin/serve]
  ports: [{name: http, port: 80}]
  routes:
    - {host: a.localhost, path: /api, contexts: [{header: X-Feature, value: blue}]}
"""
LISTED = """\
URL                      CONTEXT           APP                PORT   TLS   CERTIFICATE   STATUS
http://a.localhost/api   x-feature: blue   App/shop/feature   http   off   -             NotObserved
http://a.localhost/      -                 App/shop/web       http   off   -             NotObserved
"""
HIT = """\
http://a.localhost/api, for x-feature is blue: precedence 1000400000
  App/shop/feature, port http; while it has no replica that is ready: App/shop/web
  NotObserved
not http://a.localhost/ /api with x-feature: blue (precedence 1000400000) goes before it
"""


@pytest.fixture
def cli(cli: CommandLine) -> CommandLine:
    """A command line where an app and a feature of it are reached by URLs."""
    cli.ok("apply", "-f", cli.write("apps.yaml", APPS))
    cli.do(cli.house.catch_up(0))
    return cli


def test_routes_are_listed(cli: CommandLine) -> None:
    assert cli.ok("get", "routes", "-n", "shop") == LISTED
    assert cli.ok("get", "routes", "-A", "-o", "name").splitlines() == [
        "http://a.localhost/api",
        "http://a.localhost/",
    ]
    wide = cli.ok("get", "routes", "-A", "-o", "wide")
    assert "1000400000" in wide
    assert "10 % to App/shop/feature" in wide
    assert len(cli.json("get", "routes", "-A")["items"]) == 2


def test_why_tells_which_row_a_request_hits_and_why_not_the_others(cli: CommandLine) -> None:
    assert cli.ok("why", "route", "a.localhost/api/x", "-H", "X-Feature: blue") == HIT
    told = cli.ok("why", "route", "http://a.localhost/api")
    assert "App/shop/web, port http" in told
    assert "copies of requests: 10 % to App/shop/feature" in told
    assert "not http://a.localhost/api x-feature: blue the request has no header x-feature" in told
    assert cli.ok("why", "route", "b.localhost") == "404: no app has a route on b.localhost\n"


def test_a_route_to_a_port_that_there_is_not_says_which_there_are(cli: CommandLine) -> None:
    other = APPS.replace("{host: a.localhost", "{host: a.localhost, port: web", 1)
    told = cli.fails("apply", "-f", cli.write("other.yaml", other))
    assert "spec.routes[0].port" in told
    assert "'web'" in told
    assert "name a tcp port of this app (has http)" in told
    assert cli.ok("get", "routes", "-n", "shop") == LISTED


def test_what_makes_no_sense_is_refused(cli: CommandLine) -> None:
    for words, code, why in (
        (("get", "routes", "web"), 2, "lists all of a project"),
        (("why", "route"), 2, "name one URL"),
        (("why", "web", "-H", "a: b"), 2, "-H is for `why route URL`"),
        (("why", "route", "a.localhost", "-H", "a"), 1, "`name: value`"),
    ):
        assert why in cli.fails(*words, code=code)
