"""Watching over a real connection: resumed, filtered, ended by the server or by a revoke."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from gateway import streams
from gateway.server import AddressInUse, AddressUnusable, Serving, serve
from tests.support.gateway import House, app_manifest

WEB = "/api/v1/projects/shop/apps/web"
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
async def serving(house: House) -> AsyncIterator[Serving]:
    async with serve(house.app, "127.0.0.1", 0, closing=house.services.closing) as running:
        yield running


@pytest.fixture
async def caller(house: House, serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {house.admin}"}
    async with httpx.AsyncClient(base_url=serving.url, headers=headers, timeout=20) as asking:
        yield asking


@asynccontextmanager
async def watch(
    caller: httpx.AsyncClient, path: str, **headers: str
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of a stream: `id`, `event` and `data` of each."""
    given = {**SSE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with caller.stream("GET", path, headers=given) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")

        async def events() -> AsyncIterator[dict[str, Any]]:
            event: dict[str, Any] = {}
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if line and name in ("id", "event", "data"):
                    event[name] = json.loads(value) if name == "data" else value
                elif not line and "data" in event:
                    yield event
                    event = {}

        yield events()


async def test_what_happens_is_sent_and_a_reader_resumes_where_it_was(
    caller: httpx.AsyncClient,
) -> None:
    async with watch(caller, "/api/v1/events?after=0") as events:
        assert [(await anext(events))["event"] for _ in range(2)] == [
            "target.defined",
            "project.defined",
        ]
        await caller.put(WEB, json=app_manifest())
        made = await anext(events)
        assert made["event"] == "app.defined"
        assert made["id"] == str(made["data"]["position"])
    await caller.post(f"{WEB}/actions/scale", json={"replicas": 2})
    async with watch(caller, "/api/v1/events", Last_Event_ID=made["id"]) as events:
        assert (await anext(events))["data"]["sentence"] == "scaled to 2 replicas"


async def test_a_stream_without_a_start_sends_only_what_is_new(caller: httpx.AsyncClient) -> None:
    await caller.put(WEB, json=app_manifest())
    async with (
        watch(caller, f"{WEB}/events") as events,
        watch(caller, f"{WEB}/events?last=1") as late,
    ):
        assert (await anext(late))["event"] == "app.defined"
        await caller.put(WEB.replace("web", "other"), json=app_manifest("other"))
        await caller.post(f"{WEB}/actions/stop")
        assert (await anext(events))["event"] == "app.stopped"
        assert (await anext(late))["event"] == "app.stopped"


async def test_apps_are_watched_as_they_change(house: House, caller: httpx.AsyncClient) -> None:
    await caller.put(WEB, json=app_manifest())
    async with watch(caller, "/api/v1/apps?watch=1&labelSelector=!hidden") as events:
        assert (await anext(events))["data"]["metadata"]["name"] == "web"
        assert (await anext(events))["event"] == "synced"
        house.publish()
        shown = await anext(events)
        assert shown["data"]["status"]["conditions"][0]["status"] == "True"
        await caller.delete(WEB)
        await house.catch_up(0)
        assert (await anext(events))["data"]["metadata"]["deleting"] is True
        body = b'{"actor":"a","cause":"1","at":"2030-01-01T12:00:00Z","uid":%d}'
        uid = shown["data"]["metadata"]["uid"]
        row = (99, f"{shown['data']['kind']}/shop/web#status", 1, "removal.completed", body % uid)
        house.desired.fold([row])
        assert await anext(events) == {"event": "gone", "data": {"resource": "App/shop/web"}}


async def test_a_stream_ends_when_the_server_does(house: House) -> None:
    async with serve(house.app, "127.0.0.1", 0, closing=house.services.closing) as running:
        asking = httpx.AsyncClient(
            base_url=running.url, headers={"Authorization": f"Bearer {house.admin}"}
        )
        async with asking, watch(asking, "/api/v1/events") as events:
            house.services.closing.set()
            assert [event async for event in events] == []


async def test_a_revoked_token_ends_its_streams(
    house: House, serving: Serving, caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    headers = {"Authorization": f"Bearer {house.token('vi', 'viewer')}"}
    viewer = httpx.AsyncClient(base_url=serving.url, headers=headers)
    async with viewer, watch(viewer, "/api/v1/events") as events:
        await caller.delete("/api/v1/tokens/vi")
        async with asyncio.timeout(60):
            assert [event async for event in events] == []


async def test_a_project_editors_stream_tells_of_its_projects_only(
    house: House, serving: Serving, caller: httpx.AsyncClient
) -> None:
    other = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "other"}}
    headers = {"Authorization": f"Bearer {house.token('ed', 'editor', 'shop')}"}
    editor = httpx.AsyncClient(base_url=serving.url, headers=headers)
    async with editor, watch(editor, "/api/v1/events") as events:
        await caller.post("/api/v1/apply", json=other)
        await caller.put(WEB, json=app_manifest())
        assert (await anext(events))["data"]["resource"] == "App/shop/web"


async def test_a_port_in_use_is_a_named_error_that_says_by_whom(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"{port}.*another port") as refused:
            async with serve(house.app, "127.0.0.1", port, closing=asyncio.Event()):
                pass
    assert "process" in refused.value.owner


async def test_an_address_of_another_host_is_unusable(house: House) -> None:
    with pytest.raises(AddressUnusable):
        async with serve(house.app, "192.0.2.1", 0, closing=asyncio.Event()):
            pass


async def test_the_server_serves_on_ipv6_too(house: House) -> None:
    try:
        async with (
            serve(house.app, "::1", 0, closing=asyncio.Event()) as running,
            httpx.AsyncClient() as asking,
        ):
            assert (await asking.get(f"{running.url}/livez")).status_code == 200
    except AddressUnusable:
        pytest.skip("this machine has no IPv6 loopback")
