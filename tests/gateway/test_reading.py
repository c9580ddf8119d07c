"""What is shown, to whom, and as of when."""

import json

import httpx
import pytest

from bus import manifests
from bus.log import NewEvent
from domain.access import Role
from reconcilers.status import TargetStatus
from tests.support.gateway import House, app_manifest, problem

WEB = "/api/v1/projects/shop/apps/web"


async def names(client: httpx.AsyncClient, path: str, **params: str) -> list[str]:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return [item["metadata"]["name"] for item in answer.json()["items"]]


async def test_an_app_is_shown_with_what_was_observed_and_how_old_that_is(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    before = (await client.get(WEB)).json()["status"]
    house.publish()
    status = (await client.get(WEB)).json()["status"]

    assert (before["observedGeneration"], before["observedAt"]) == (0, None)
    assert before["conditions"][0]["reason"] == "NotObserved"
    assert status["ageSeconds"] == 2.0
    assert status["observedAt"] == "2030-01-01T11:59:58Z"
    assert status["conditions"][0] == {
        "type": "Ready",
        "status": "True",
        "reason": "AllReady",
        "message": "all of it serves",
        "lastTransitionTime": "2030-01-01T11:59:55Z",
    }
    assert status["replicas"][0]["addresses"] == {"http": "127.0.0.1:31337"}


async def test_what_came_in_another_way_is_shown_as_soon_as_it_is_acknowledged(
    house: House, client: httpx.AsyncClient
) -> None:
    await house.desk.send(manifests.read(json.dumps(app_manifest()).encode()))
    assert house.desired.position < house.desk.service.acknowledged
    assert (await client.get(WEB)).status_code == 200


async def test_the_status_of_an_earlier_app_of_the_same_name_is_not_shown(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    await client.get(WEB)
    house.publish()
    await client.delete(WEB)
    await client.put(WEB, json=app_manifest())
    assert (await client.get(WEB)).json()["status"]["conditions"][0]["reason"] == "NotObserved"


async def test_a_stream_that_cannot_be_read_is_shown_as_frozen(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    await house.log.append([NewEvent("App/shop/web", "app.unheard-of", b"{}")], expect={})
    await house.log.append([NewEvent("App/shop/new", "app.unheard-of", b"{}")], expect={})
    await house.catch_up(0)

    shown = (await client.get(WEB)).json()
    assert shown["status"]["conditions"][0]["reason"] == "Frozen"
    assert shown["spec"]["command"] == ["/bin/serve"]
    assert await names(client, "/api/v1/apps") == ["new", "web"]
    problem(await client.put(WEB, json=app_manifest(replicas=2)), 409, "Frozen")


async def test_lists_select_by_label_and_project(client: httpx.AsyncClient) -> None:
    other = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "other"}}
    manifests = [other]
    for name, project, tier in (("a", "shop", "web"), ("b", "shop", "db"), ("c", "other", "web")):
        made = app_manifest(name)
        made["metadata"] |= {"project": project, "labels": {"tier": tier}}
        manifests.append(made)
    await client.post("/api/v1/apply", json=manifests)

    apps = "/api/v1/apps"
    assert await names(client, apps) == ["c", "a", "b"]
    assert await names(client, apps, project="shop") == ["a", "b"]
    assert await names(client, "/api/v1/projects/shop/apps") == ["a", "b"]
    assert await names(client, apps, labelSelector="tier=web,tier!=x") == ["c", "a"]
    assert await names(client, apps, labelSelector="tier in (db, x)") == ["b"]
    assert await names(client, apps, labelSelector="!tier") == []
    refused = await client.get(apps, params={"labelSelector": "tier=(web"})
    assert problem(refused, 422, "BadValue")["path"] == "labelSelector"


async def test_a_long_list_comes_in_pages(client: httpx.AsyncClient) -> None:
    await client.post("/api/v1/apply", json=[app_manifest(name) for name in "abcde"])
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        params = {"limit": "2", "after": after}
        page = (await client.get("/api/v1/apps", params=params)).json()
        found += [item["metadata"]["name"] for item in page["items"]]
        after = page["next"]
    assert found == ["a", "b", "c", "d", "e"]


async def test_a_target_that_never_answered_has_no_age(
    house: House, client: httpx.AsyncClient
) -> None:
    never = TargetStatus(answers=False, message="no way", observed_at=0.0, replicas=0)
    house.status.put_target("local", never)
    status = (await client.get("/api/v1/targets/local")).json()["status"]
    assert (status["message"], status["answers"]) == ("no way", False)
    assert (status["observedAt"], status["ageSeconds"]) == (None, None)


async def test_the_other_kinds_are_shown_with_what_is_known_about_them(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    await client.get(WEB)
    seen = TargetStatus(answers=True, message="", observed_at=house.time, replicas=3)
    house.status.put_target("local", seen)

    target = (await client.get("/api/v1/targets/local")).json()
    assert target["spec"]["engine"] == "simulated"
    assert (target["status"]["answers"], target["status"]["replicas"]) == (True, 3)
    project = (await client.get("/api/v1/projects/shop")).json()
    assert project["status"] == {"apps": 1, "secrets": 0}
    assert await names(client, "/api/v1/projects") == ["shop"]
    assert await names(client, "/api/v1/targets") == ["local"]


async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient) -> None:
    for path in (WEB, f"{WEB}/events", f"{WEB}/why", f"{WEB}/logs", f"{WEB}/plan"):
        problem(await client.get(path), 404, "NotFound")
    problem(await client.get("/api/v1/projects/none/apps"), 404, "NotFound")
    problem(await client.get("/api/v1/projects/Shop/apps/web"), 422, "BadValue")
    problem(await client.get("/api/v2/apps"), 404, "NoSuchPath")
    wrong = await client.post("/api/v1/apps")
    problem(wrong, 405, "MethodNotAllowed")
    assert wrong.headers["Allow"] == "GET"


async def test_the_past_is_shown_as_it_was(house: House, client: httpx.AsyncClient) -> None:
    made = (await client.put(WEB, json=app_manifest(replicas=1))).json()["position"]
    await client.post(f"{WEB}/actions/scale", json={"replicas": 5})
    await client.delete(WEB)

    async def replicas(as_of: str) -> int:
        shown = (await client.get(WEB, params={"asOf": as_of})).json()
        assert shown["status"] is None
        count: int = shown["spec"]["replicas"]
        return count

    assert await replicas(str(made)) == 1
    assert await replicas(str(made + 1)) == 5
    problem(await client.get(WEB, params={"asOf": "2"}), 404, "NotFound")
    assert await names(client, "/api/v1/apps", asOf=str(made)) == ["web"]
    assert await names(client, "/api/v1/apps", asOf="2030-01-01T11:00:00Z") == []
    house.time += 600
    assert await names(client, "/api/v1/apps", asOf="20m") == []


@pytest.mark.parametrize(
    "moment", ["99999", "9" * 40, "2031-01-01T00:00:00Z", "then", "2030-01-01"]
)
async def test_a_moment_that_is_none_or_has_not_come_is_refused(
    client: httpx.AsyncClient, moment: str
) -> None:
    refused = await client.get("/api/v1/apps", params={"asOf": moment})
    assert problem(refused, 422, "BadValue")["path"] == "query.asOf"


async def test_revisions_history_and_reasons_tell_the_story(
    house: House, client: httpx.AsyncClient
) -> None:
    made = (await client.put(WEB, json=app_manifest())).json()["generation"]
    await client.put(WEB, json=app_manifest(args=["-v"]))
    await client.post(f"{WEB}/actions/scale", json={"replicas": 2})
    at = b'"actor":"system:replicas","cause":"%d","at":"2030-01-01T12:00:00Z"' % made
    body = b'{%b,"uid":%d,"revision":1,"seconds":1.5}' % (at, made)
    status = NewEvent("App/shop/web#status", "rollout.completed", body)
    await house.log.append([status], expect={})
    await house.catch_up(0)
    house.publish(ready=False)

    revisions = (await client.get(f"{WEB}/revisions")).json()["items"]
    assert [(r["revision"], r["current"], r["stable"]) for r in revisions] == [
        (1, False, True),
        (2, True, False),
    ]
    history = (await client.get(f"{WEB}/history")).json()["items"]
    assert [told["sentence"] for told in history] == [
        "created as revision 1",
        "configured as revision 2, which replaces 1",
        "scaled to 2 replicas",
    ]
    events = (await client.get(f"{WEB}/events")).json()["items"]
    assert [told["transition"] for told in events] == [False, False, False, True]
    why = (await client.get(f"{WEB}/why")).json()
    assert why["summary"] == "Ready False (CrashLoop): it ends with 1"
    assert why["items"][0]["because"]["sentence"] == "created as revision 1"
    assert why["items"][0]["because"]["actor"] == "user:admin"


async def test_events_and_revisions_are_told_as_they_were_known(
    house: House, client: httpx.AsyncClient
) -> None:
    made = (await client.put(WEB, json=app_manifest())).json()["position"]
    await client.put(WEB, json=app_manifest(args=["-v"]))
    then = {"asOf": str(made)}

    revisions = (await client.get(f"{WEB}/revisions", params=then)).json()["items"]
    assert [(r["revision"], r["current"]) for r in revisions] == [(1, True)]
    for path in ("/api/v1/events", f"{WEB}/events", f"{WEB}/history"):
        for how in ({}, {"last": "1"}):
            page = (await client.get(path, params=how | then)).json()
            assert page["items"][-1]["sentence"] == "created as revision 1", path
            assert (page["next"], page["head"]) == (None, made)
    stream = await client.get(
        "/api/v1/events", params=then, headers={"Accept": "text/event-stream"}
    )
    assert problem(stream, 422, "BadValue")["path"] == "query.asOf"
    house.time += 600
    long_ago = await client.get("/api/v1/events", params={"asOf": "20m"})
    assert long_ago.json()["items"] == []


async def test_events_come_in_pages_by_position(client: httpx.AsyncClient) -> None:
    await client.post("/api/v1/apply", json=[app_manifest(name) for name in "abc"])
    await client.delete("/api/v1/projects/shop/apps/b")
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        params = {"after": after, "limit": 2}
        page = (await client.get("/api/v1/events", params=params)).json()
        seen += [told["position"] for told in page["items"]]
        after = page["next"]
    assert seen == sorted(seen)
    assert len(seen) == 6

    async def types(**params: str) -> list[str]:
        items = (await client.get("/api/v1/events", params=params)).json()["items"]
        return [told["type"] for told in items]

    assert await types(last="2") == ["app.defined", "app.deleted"]
    assert await types(resource="App/shop/b") == ["app.defined", "app.deleted"]
    assert await types(type="project.") == ["project.defined"]
    assert "members.joined" in await types(all="1")
    both = await client.get("/api/v1/events", params={"last": 1, "after": 1})
    problem(both, 422, "BadValue")


async def test_a_project_editor_sees_and_changes_only_its_projects(
    house: House, client: httpx.AsyncClient
) -> None:
    other = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "other"}}
    hidden = app_manifest("hidden")
    hidden["metadata"]["project"] = "other"
    await client.post("/api/v1/apply", json=[other, hidden, app_manifest()])

    async with house.client(house.token("ed", "editor", "shop")) as editor:
        assert await names(editor, "/api/v1/apps") == ["web"]
        assert await names(editor, "/api/v1/projects") == ["shop"]
        assert await names(editor, "/api/v1/targets") == ["local"]
        items = (await editor.get("/api/v1/events", params={"limit": 1000})).json()["items"]
        assert not [told for told in items if "other" in told["resource"]]
        assert [told for told in items if told["resource"] == "App/shop/web"]
        theirs = "/api/v1/projects/other/apps/hidden"
        for path in (theirs, f"{theirs}/events", f"{theirs}/logs", "/api/v1/projects/other/apps"):
            problem(await editor.get(path), 403, "Forbidden")
        await_events = await editor.get("/api/v1/events", params={"resource": "App/other/hidden"})
        problem(await_events, 403, "Forbidden")
        problem(await editor.delete(theirs), 403, "Forbidden")
        done = await editor.put(WEB, json=app_manifest(replicas=2))
        assert done.status_code == 200


CHANGES = (
    ("PUT", WEB, app_manifest(replicas=9)),
    ("DELETE", WEB, None),
    ("POST", f"{WEB}/actions/restart", None),
    ("POST", "/api/v1/apply", [app_manifest(replicas=9)]),
    ("POST", f"{WEB}/exec", {"argv": ["true"]}),
    ("POST", "/api/v1/tokens", {"name": "more", "role": "admin"}),
    ("GET", "/api/v1/tokens", None),
    ("DELETE", "/api/v1/tokens/admin", None),
)


@pytest.mark.parametrize(
    ("method", "path", "body"), CHANGES, ids=[f"{c[0]} {c[1]}" for c in CHANGES]
)
async def test_a_viewer_changes_nothing(
    house: House, client: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    await client.put(WEB, json=app_manifest())
    async with house.client(house.token("vi", "viewer")) as viewer:
        problem(await viewer.request(method, path, json=body), 403, "Forbidden")
        assert (await viewer.get(WEB)).json()["spec"]["replicas"] == 1


@pytest.mark.parametrize(("role", "project"), [("editor", ""), ("admin", "shop")])
async def test_only_admins_of_all_projects_see_tokens(
    house: House, role: Role, project: str
) -> None:
    projects = [project] if project else []
    async with house.client(house.token("someone", role, *projects)) as asking:
        problem(await asking.get("/api/v1/tokens"), 403, "Forbidden")


async def test_logs_of_all_replicas_come_in_order(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    answer = await client.get(f"{WEB}/logs")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [line.partition('"text":')[2] for line in answer.text.splitlines()]
    assert lines == ['"line 0 of 0"}', '"line 0 of 1"}', '"line 1 of 0"}', '"line 1 of 1"}']
    for params, count in (({"replica": "1"}, 2), ({"tail": "1"}, 2), ({"follow": "1"}, 4)):
        answer = await client.get(f"{WEB}/logs", params=params)
        assert len(answer.text.splitlines()) == count, params
    unknown = await client.get(f"{WEB}/logs", params={"replica": "7"})
    assert problem(unknown, 422, "BadValue")["path"] == "replica"


async def test_a_command_runs_beside_a_replica(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    done = (await client.post(f"{WEB}/exec", json={"argv": ["true"]})).json()
    assert (done["exitCode"], done["stdout"]) == (0, "fine\n")
    problem(await client.post(f"{WEB}/exec", json={"argv": ["hang"]}), 504, "TimedOut")
    problem(await client.post(f"{WEB}/exec", json={"argv": ["no"]}), 409, "NotPossible")
    refused = await client.post(f"{WEB}/exec", json={"argv": []})
    assert problem(refused, 422, "BadValue")["path"] == "body.argv"
    refused = await client.post(f"{WEB}/exec", json={"argv": ["a"], "timeout": 3})
    assert problem(refused, 422, "UnknownField")["nearest"] == "timeoutSeconds"


async def test_an_engine_that_does_not_answer_is_a_bad_gateway(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    house.replicas = None
    problem(await client.get(f"{WEB}/logs"), 502, "EngineUnavailable")


async def test_the_plan_is_told_as_sentences(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    plan = (await client.get(f"{WEB}/plan")).json()
    assert plan["actions"] == ["start slot 0 of revision 1"]


async def test_every_kind_is_explained_without_references(client: httpx.AsyncClient) -> None:
    for kind in ("app", "Projects", "SECRET", "targets"):
        explained = await client.get(f"/api/v1/explain/{kind}")
        assert explained.json()["schema"]["properties"], kind
        assert "$ref" not in explained.text
    assert "App" in problem(await client.get("/api/v1/explain/ap"), 404, "NotFound")["detail"]


async def test_a_projection_that_is_stuck_is_said_instead_of_old_news(
    house: House, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(_position: int) -> None:
        raise TimeoutError

    await client.put(WEB, json=app_manifest())
    object.__setattr__(house.services, "catch_up", stuck)
    problem(await client.get(WEB), 503, "NotReady")
