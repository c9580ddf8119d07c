"""Who may come in: tokens, hosts, health, and what the edge adds to every answer."""

import json
import stat
from pathlib import Path

import httpx
import pytest

from domain.refusals import InUse
from gateway.ports import Check
from gateway.tokens import Tokens
from tests.support.gateway import House, app_manifest, problem

WEB = "/api/v1/projects/shop/apps/web"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer wrong", "Basic token-0", "token-0", "Bearer token-0 x"],
)
@pytest.mark.parametrize("path", ["/api/v1/apps", "/api/openapi.json", "/api/v1/none", "/"])
async def test_nothing_is_open_without_a_token(house: House, header: str, path: str) -> None:
    async with house.client(Authorization=header) as stranger:
        refused = await stranger.get(path)
    body = problem(refused, 401, "Unauthenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert "token" in body["detail"]


async def test_more_than_health_is_open_only_while_bound_to_loopback(house: House) -> None:
    for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics"):
        async with house.client(Authorization="") as stranger:
            assert (await stranger.get(path)).status_code == 200
    object.__setattr__(house.services, "loopback", False)
    for path in ("/livez", "/readyz"):
        async with house.client(Authorization="") as stranger:
            assert (await stranger.get(path)).text == "ok\n"
    for path in ("/livez?verbose", "/readyz?verbose", "/metrics"):
        async with house.client(Authorization="") as stranger:
            problem(await stranger.get(path), 401, "Unauthenticated")
        async with house.client() as known:
            assert (await known.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:7440", True),
        ("localhost", True),
        ("[::1]:7440", True),
        ("127.8.8.8", True),
        ("evil.example:7440", False),
        ("localhost.evil.example", False),
        ("10.0.0.1", False),
        ("127.0.0.1@evil.example", False),
    ],
)
async def test_a_rebound_name_does_not_reach_a_loopback_server(
    house: House, host: str, *, allowed: bool
) -> None:
    async with house.client(Host=host) as asking:
        answer = await asking.get("/livez")
    if allowed:
        assert answer.status_code == 200
    else:
        problem(answer, 421, "WrongHost")


async def test_every_answer_says_how_browsers_must_treat_it(client: httpx.AsyncClient) -> None:
    for path in ("/api/v1/apps", "/api/v1/none", "/livez"):
        headers = (await client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


async def test_a_fault_of_ours_is_a_problem_that_tells_no_secret(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("an inner detail")

    monkeypatch.setattr(house.log, "head", broken)
    body = problem(await client.get("/api/v1/version"), 500, "Internal")
    assert "inner detail" not in str(body)


async def test_the_checks_decide_health(house: House, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).text == "ok\n"
    house.checks[0] = Check("log", passed=False, message="the disk is full")
    ready = await client.get("/readyz?verbose")
    assert ready.status_code == 503
    assert ready.json()["checks"][0] == {"name": "log", "ok": False, "message": "the disk is full"}
    assert (await client.get("/readyz")).text == "failed: log\n"
    assert (await client.get("/livez")).status_code == 200
    house.checks[1] = Check("loop", passed=False, vital=True)
    assert (await client.get("/livez")).status_code == 503
    assert (await client.get("/metrics")).text == "stateward_up 1\n"


async def test_a_token_is_made_shown_once_used_and_revoked(
    house: House, client: httpx.AsyncClient
) -> None:
    asked = {"name": "ci", "role": "editor", "projects": ["shop"], "expiresIn": "1h"}
    made = await client.post("/api/v1/tokens", json=asked)
    assert made.status_code == 201
    text = made.json()["token"]
    listed = await client.get("/api/v1/tokens")
    assert [item["name"] for item in listed.json()["items"]] == ["admin", "ci"]
    assert text not in listed.text

    async with house.client(text) as ci:
        assert (await ci.get("/api/v1/whoami")).json() == {
            "actor": "user:ci",
            "role": "editor",
            "projects": ["shop"],
        }
        assert (await client.delete("/api/v1/tokens/ci")).status_code == 204
        problem(await ci.get("/api/v1/whoami"), 401, "Unauthenticated")
    problem(await client.delete("/api/v1/tokens/ci"), 404, "NotFound")


async def test_a_token_is_refused_after_its_time(house: House, client: httpx.AsyncClient) -> None:
    asked = {"name": "brief", "role": "viewer", "expiresIn": "10s"}
    text = (await client.post("/api/v1/tokens", json=asked)).json()["token"]
    async with house.client(text) as brief:
        assert (await brief.get("/api/v1/apps")).status_code == 200
        house.time += 10
        problem(await brief.get("/api/v1/apps"), 401, "Unauthenticated")


@pytest.mark.parametrize(
    ("asked", "code", "path"),
    [
        ({"name": "admin", "role": "viewer"}, "InUse", None),
        ({"name": "Bad Name", "role": "viewer"}, "BadValue", "body.name"),
        ({"name": "a", "role": "root"}, "BadValue", "body.role"),
        ({"name": "a", "role": "viewer", "expiresIn": "soon"}, "BadValue", "body.expiresIn"),
        ({"name": "a", "role": "viewer", "projects": ["A"]}, "BadValue", "body.projects"),
        ({"name": "a", "role": "viewer", "project": "x"}, "UnknownField", "body.project"),
        ({"role": "viewer"}, "BadValue", "body.name"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(
    client: httpx.AsyncClient, asked: dict[str, object], code: str, path: str | None
) -> None:
    refused = await client.post("/api/v1/tokens", json=asked)
    body = problem(refused, 409 if code == "InUse" else 422, code)
    assert body.get("path") == path


async def test_the_last_admin_is_not_locked_out(client: httpx.AsyncClient) -> None:
    problem(await client.delete("/api/v1/tokens/admin"), 409, "InUse")


def test_tokens_are_kept_hashed_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    file, place = tmp_path / "tokens.json", tmp_path / "token"
    made = Tokens(file, now=lambda: 1.0, new_text=lambda: "very-secret")
    text = made.first(place)
    assert text == "very-secret"
    assert place.read_text() == "very-secret\n"
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "very-secret" not in file.read_text()
    json.loads(file.read_text())

    again = Tokens(file, now=lambda: 1.0, new_text=lambda: "another")
    assert again.first(place) is None
    actor = again.who("very-secret")
    assert actor is not None
    assert (actor.name, actor.role) == ("user:admin", "admin")
    with pytest.raises(InUse):
        again.revoke("admin")


def test_a_crash_before_the_first_token_counts_keeps_what_was_written(tmp_path: Path) -> None:
    place = tmp_path / "token"
    place.write_text("from-before\n")
    made = Tokens(tmp_path / "tokens.json", now=lambda: 1.0, new_text=lambda: "another")
    assert made.first(place) == "from-before"
    assert made.who("from-before") is not None


async def test_the_actor_of_a_change_is_who_the_token_belongs_to(
    house: House, client: httpx.AsyncClient
) -> None:
    async with house.client(house.token("carol", "editor")) as carol:
        await carol.put(WEB, json=app_manifest())
    told = (await client.get("/api/v1/events", params={"last": 1})).json()["items"][0]
    assert told["actor"] == "user:carol"
