"""What changes something: acknowledged once, on disk, under conditions, all or nothing."""

import json
from typing import Any

import httpx
import msgspec
import pytest

from bus.log import LogFull, LogRewound, LogUnavailable
from reconcilers.object_preview import ObjectChange
from reconcilers.status import Condition
from tests.support.gateway import CANARY, House, app_manifest, problem

WEB = "/api/v1/projects/shop/apps/web"
SMALL = {"spec": {"command": ["/bin/serve"]}}  # the path says the rest


async def test_a_manifest_becomes_an_app_that_can_be_read_at_once(
    client: httpx.AsyncClient,
) -> None:
    made = await client.put(WEB, json=app_manifest(replicas=2))

    assert made.status_code == 201
    body = made.json()
    assert body["changes"] == [
        {
            "resource": "App/shop/web",
            "result": "created",
            "generation": body["position"] - 2,
            "events": ["app.defined"],
        }
    ]
    read = (await client.get(WEB)).json()
    assert read["spec"]["replicas"] == 2
    assert read["metadata"]["generation"] == body["generation"] == read["metadata"]["uid"]


async def test_what_was_read_can_be_sent_back_and_changes_nothing(
    client: httpx.AsyncClient,
) -> None:
    await client.put(WEB, json=app_manifest())
    read = await client.get(WEB)

    again = await client.put(WEB, content=read.content)

    assert again.status_code == 200
    assert again.json()["changes"][0]["result"] == "unchanged"


async def test_the_path_says_what_the_manifest_leaves_out(client: httpx.AsyncClient) -> None:
    made = await client.put(WEB, json={"spec": {"command": ["/bin/serve"]}})
    assert made.status_code == 201


async def test_a_manifest_that_contradicts_the_path_is_refused(client: httpx.AsyncClient) -> None:
    body = problem(await client.put(WEB, json=app_manifest("other")), 422, "BadValue")
    assert body["path"] == "metadata.name"


async def test_yaml_is_read_wherever_json_is(client: httpx.AsyncClient) -> None:
    text = "spec:\n  command: [/bin/serve]\n  env: {COUNTRY: no, AT: 12:30, PYTHON: 3.10}\n"
    made = await client.put(WEB, content=text, headers={"Content-Type": "application/yaml"})
    assert made.status_code == 201, made.text
    assert (await client.get(WEB)).json()["spec"]["env"] == {
        "AT": "12:30",
        "COUNTRY": "no",
        "PYTHON": "3.10",
    }


async def test_the_same_key_gives_the_same_answer_once(
    house: House, client: httpx.AsyncClient
) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await client.put(WEB, json=app_manifest(), headers=headers)
    events = len(house.log.events)
    second = await client.put(WEB, json=app_manifest(), headers=headers)

    assert second.json() == {**first.json(), "repeated": True}
    assert second.status_code == first.status_code
    assert second.headers["Idempotency-Key"] == "once"
    assert len(house.log.events) == events


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", WEB, app_manifest(replicas=3)),
        ("PUT", f"{WEB}x", SMALL),
        ("POST", f"{WEB}/actions/restart", None),
    ],
    ids=["another body", "another path", "another method"],
)
async def test_a_key_that_was_used_for_something_else_is_refused(
    client: httpx.AsyncClient, method: str, path: str, body: object
) -> None:
    headers = {"Idempotency-Key": "once"}
    await client.put(WEB, json=SMALL, headers=headers)
    problem(await client.request(method, path, json=body, headers=headers), 422, "KeyReused")


async def test_a_key_is_made_when_none_is_given_and_told(client: httpx.AsyncClient) -> None:
    made = await client.put(WEB, json=app_manifest())
    assert made.headers["Idempotency-Key"].startswith("key-")


async def test_a_refusal_is_repeated_with_its_code(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "gone"}
    problem(await client.delete(WEB, headers=headers), 404, "NotFound")
    await client.put(WEB, json=app_manifest())
    problem(await client.delete(WEB, headers=headers), 404, "NotFound")


async def test_if_match_with_an_old_generation_is_a_failed_precondition(
    client: httpx.AsyncClient,
) -> None:
    made = (await client.put(WEB, json=app_manifest())).json()["generation"]
    await client.post(f"{WEB}/actions/scale", json={"replicas": 3})

    stale = {"If-Match": f'"{made}"'}
    body = problem(await client.put(WEB, json=app_manifest(), headers=stale), 412, "Stale")

    assert body["asked"] == made < body["actual"]
    problem(await client.delete(WEB, headers=stale), 412, "Stale")
    restart = await client.post(f"{WEB}/actions/restart", headers=stale)
    problem(restart, 412, "Stale")


async def test_the_entity_tag_of_a_read_is_a_condition_that_holds(
    client: httpx.AsyncClient,
) -> None:
    await client.put(WEB, json=app_manifest())
    tag = (await client.get(WEB)).headers["ETag"]
    done = await client.put(WEB, json=app_manifest(replicas=2), headers={"If-Match": tag})
    assert done.status_code == 200


async def test_an_old_generation_in_the_manifest_is_a_conflict_that_shows_both(
    client: httpx.AsyncClient,
) -> None:
    await client.put(WEB, json=app_manifest())
    manifest = app_manifest(replicas=2)
    manifest["metadata"]["generation"] = 1
    body = problem(await client.put(WEB, json=manifest), 409, "Stale")
    assert (body["asked"], body["actual"]) == (1, 3)


async def test_a_resource_can_be_made_only_if_it_is_new_or_changed_only_if_it_is_there(
    client: httpx.AsyncClient,
) -> None:
    there, new = {"If-Match": "*"}, {"If-None-Match": "*"}
    problem(await client.put(WEB, json=app_manifest(), headers=there), 412, "Stale")
    assert (await client.put(WEB, json=app_manifest(), headers=new)).status_code == 201
    problem(await client.put(WEB, json=app_manifest(replicas=2), headers=new), 412, "Stale")
    assert (await client.put(WEB, json=app_manifest(), headers=there)).status_code == 200


async def test_actions_do_what_they_say(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    for verb, parameters, event in (
        ("scale", {"replicas": 4}, "app.scaled"),
        ("stop", None, "app.stopped"),
        ("start", {}, "app.started"),
        ("restart", None, "app.restarted"),
        ("pause", {"reason": "a look"}, "app.paused"),
        ("resume", None, "app.resumed"),
    ):
        done = await client.post(f"{WEB}/actions/{verb}", json=parameters)
        assert done.json()["changes"][0]["events"] == [event], done.text


@pytest.mark.parametrize(
    ("verb", "body", "path"),
    [
        ("scale", {"replicas": "three"}, "replicas"),
        ("scale", {}, "replicas"),
        ("scale", {"replicsa": 3}, "replicsa"),
        ("explode", {}, "verb"),
    ],
)
async def test_an_action_with_bad_parameters_is_refused_by_path(
    client: httpx.AsyncClient, verb: str, body: object, path: str
) -> None:
    await client.put(WEB, json=app_manifest())
    refused = await client.post(f"{WEB}/actions/{verb}", json=body)
    assert refused.status_code == 422
    assert refused.json()["path"] == path


async def test_a_dry_run_of_a_set_shows_objects_on_clusters_when_asked(
    house: House, client: httpx.AsyncClient
) -> None:
    change = ObjectChange(object="Service stw-shop/web", because="missing", after={"spec": {}})
    house.changes = [change]
    body = [app_manifest() | {"metadata": {"name": "web", "project": "shop"}}]
    plain = await client.post("/api/v1/apply", json=body, params={"dryRun": "All"})
    assert "objects" not in plain.json()["changes"][0]
    asked: dict[str, str | bool] = {"dryRun": "All", "objects": True}
    shown = (await client.post("/api/v1/apply", json=body, params=asked)).json()
    assert shown["changes"][0]["objects"] == [json.loads(msgspec.json.encode(change))]
    house.changes = None
    shown = (await client.post("/api/v1/apply", json=body, params=asked)).json()
    assert shown["warnings"] == [
        "objects of App/shop/web are not compared: the engine does not answer"
    ]


async def test_a_dry_run_of_a_project_shows_what_its_apps_share_on_each_of_its_clusters(
    house: House, client: httpx.AsyncClient
) -> None:
    cluster = {"spec": {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}}
    for name in ("prod", "west"):
        assert (await client.put(f"/api/v1/targets/{name}", json=cluster)).status_code == 201
    at_prod = app_manifest(target="prod", image="web:1", command=[])
    assert (await client.put(WEB, json=at_prod)).status_code == 201
    house.changes = [ObjectChange(object="Namespace stw-shop", because="missing")]
    about = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "shop"}}
    body = [about | {"spec": {"target": "west"}}]
    asked: dict[str, str | bool] = {"dryRun": "All", "objects": True}
    shown = (await client.post("/api/v1/apply", json=body, params=asked)).json()
    told = [(one["object"], one["target"]) for one in shown["changes"][0]["objects"]]
    assert told == [("Namespace stw-shop", "prod"), ("Namespace stw-shop", "west")]
    house.changes = None
    shown = (await client.post("/api/v1/apply", json=body, params=asked)).json()
    assert shown["warnings"] == [
        f"objects of Project/shop on {name} are not compared: target {name} does not answer"
        for name in ("prod", "west")
    ]


async def test_a_dry_run_says_what_would_change_and_changes_nothing(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    events = len(house.log.events)

    dry = await client.put(WEB, json=app_manifest(replicas=3), params={"dryRun": "All"})

    change = dry.json()["changes"][0]
    assert dry.json()["dryRun"] is True
    assert change["result"] == "configured"
    assert change["before"]["spec"]["replicas"] == 1
    assert change["after"]["spec"]["replicas"] == 3
    assert len(house.log.events) == events


async def test_a_dry_run_says_what_a_cluster_makes_anew(client: httpx.AsyncClient) -> None:
    cluster = {"spec": {"engine": "k8s", "k8s": {"kubeconfig": "/config"}}}
    assert (await client.put("/api/v1/targets/prod", json=cluster)).status_code == 201

    def asked(size: str, **more: Any) -> dict[str, Any]:
        volumes = [{"name": "data", "path": "/data", "size": size}]
        return app_manifest(target="prod", image="web:1", command=[], volumes=volumes, **more)

    assert (await client.put(WEB, json=asked("1Gi"))).status_code == 201
    same = await client.put(WEB, json=asked("1Gi", replicas=2), params={"dryRun": "All"})
    larger = await client.put(WEB, json=asked("2Gi"), params={"dryRun": "All"})

    assert "anew" not in "".join(same.json()["warnings"])
    assert "App/shop/web: its StatefulSet is made anew" in "".join(larger.json()["warnings"])


async def test_a_misspelt_dry_run_is_refused_instead_of_done(
    house: House, client: httpx.AsyncClient
) -> None:
    refused = await client.put(WEB, json=app_manifest(), params={"dryrun": "All"})
    body = problem(refused, 422, "UnknownField")
    assert (body["path"], body["nearest"]) == ("query.dryrun", "dryRun")
    assert len(house.log.events) == 2


async def test_a_set_is_applied_whole_or_not_at_all(
    house: House, client: httpx.AsyncClient
) -> None:
    bad = [app_manifest("one"), app_manifest("two", replicas=-1)]
    body = problem(await client.post("/api/v1/apply", json=bad), 422, "BadValue")
    assert body["document"] == 2
    assert body["path"] == "spec.replicas"
    assert len(house.log.events) == 2

    done = await client.post("/api/v1/apply", json=[app_manifest("one"), app_manifest("two")])
    assert [c["result"] for c in done.json()["changes"]] == ["created", "created"]
    assert done.json()["generation"] is None


async def test_a_list_that_was_read_can_be_applied(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    listed = await client.get("/api/v1/apps")
    done = await client.post("/api/v1/apply", content=listed.content)
    assert [c["result"] for c in done.json()["changes"]] == ["unchanged"]


async def test_yaml_documents_are_refused_by_line_and_column(client: httpx.AsyncClient) -> None:
    text = """\
kind: App
apiVersion: stateward/v1
metadata: {name: one}
spec: {command: [/bin/serve]}
---
kind: App
apiVersion: stateward/v1
metadata: {name: two}
spec:
  command: [/bin/serve]
  instances: 3
"""
    headers = {"Content-Type": "application/yaml"}
    refused = await client.post(
        "/api/v1/apply", params={"project": "shop"}, content=text, headers=headers
    )
    body = problem(refused, 422, "UnknownField")
    assert (body["document"], body["line"], body["column"]) == (2, 11, 3)
    assert (body["path"], body["nearest"]) == ("spec.instances", "replicas")


async def test_what_left_the_set_is_pruned_and_nothing_else(client: httpx.AsyncClient) -> None:
    def labelled(name: str, project: str = "shop", **labels: str) -> dict[str, Any]:
        made = app_manifest(name)
        made["metadata"] |= {"project": project, "labels": labels}
        return made

    other = {"apiVersion": "stateward/v1", "kind": "Project", "metadata": {"name": "other"}}
    secret = {
        "apiVersion": "stateward/v1",
        "kind": "Secret",
        "metadata": {"name": "old", "project": "shop", "labels": {"set": "x"}},
        "spec": {"data": {"key": "value"}},
    }
    uses = labelled("uses", set="x")
    uses["spec"]["env"] = {"A": {"secretRef": {"name": "old", "key": "key"}}}
    first = [
        other,
        secret,
        uses,
        labelled("stays", set="x"),
        labelled("goes", set="x"),
        labelled("unlabelled"),
        labelled("elsewhere", "other", set="x"),
    ]
    assert (await client.post("/api/v1/apply", json=first)).status_code == 200

    done = await client.post(
        "/api/v1/apply", json=[labelled("stays", set="x")], params={"prune": "set=x"}
    )

    gone = [c["resource"] for c in done.json()["changes"] if c["result"] == "deleted"]
    assert gone == ["App/shop/goes", "App/shop/uses", "Secret/shop/old"]


async def test_pruning_without_labels_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.post("/api/v1/apply", json=[app_manifest()], params={"prune": ""})
    assert problem(refused, 422, "BadValue")["path"] == "query.prune"


async def test_a_deleted_app_is_shown_until_its_engine_confirms(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    await house.catch_up(0)
    house.publish()
    assert (await client.delete(WEB)).json()["changes"][0]["result"] == "deleted"

    going = (await client.get(WEB)).json()
    assert going["metadata"]["deleting"] is True
    assert going["status"]["conditions"][0]["type"] == "Deleting"
    seen = house.status.get("App/shop/web")
    assert seen is not None
    held = Condition(type="Deleting", status="True", reason="RemovalPending", message="held by x")
    house.status.put("App/shop/web", msgspec.structs.replace(seen, conditions=(held,)))
    [condition] = (await client.get(WEB)).json()["status"]["conditions"]
    assert condition["message"].endswith("is being removed: held by x")
    listed = (await client.get("/api/v1/apps")).json()["items"]
    assert [item["metadata"]["deleting"] for item in listed] == [True]


async def test_a_project_with_apps_goes_only_with_them(client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    body = problem(await client.delete("/api/v1/projects/shop"), 409, "InUse")
    assert body["users"] == ["App/shop/web"]
    done = await client.delete("/api/v1/projects/shop", params={"cascade": "1"})
    assert done.status_code == 200


async def test_all_that_goes_with_a_project_is_named_by_the_answer_and_the_dry_run(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/api/v1/projects/shop/secrets/db", json={"spec": {"data": {"a": "b"}}})
    await client.put(WEB, json=app_manifest())
    gone = ["Project/shop", "App/shop/web", "Secret/shop/db"]

    for query in ({"cascade": "1", "dryRun": "All"}, {"cascade": "1", "volumes": "1"}):
        told = (await client.delete("/api/v1/projects/shop", params=query)).json()["changes"]
        assert [(c["resource"], c["result"]) for c in told] == [(ref, "deleted") for ref in gone]


async def test_a_new_value_names_the_apps_that_it_changes(client: httpx.AsyncClient) -> None:
    secret = "/api/v1/projects/shop/secrets/db"
    await client.put(secret, json={"spec": {"data": {"a": "b"}}})
    await client.put(WEB, json=app_manifest(env={"A": {"secretRef": {"name": "db", "key": "a"}}}))

    told = (await client.put(secret, json={"spec": {"data": {"a": "c"}}})).json()

    assert [c["resource"] for c in told["changes"]] == ["Secret/shop/db", "App/shop/web"]
    assert told["generation"] == told["changes"][0]["generation"]
    assert told["changes"][1]["events"] == ["app.secret-rotated"]


async def test_no_answer_ever_holds_a_secrets_value(
    house: House, client: httpx.AsyncClient
) -> None:
    secret = "/api/v1/projects/shop/secrets/db"
    bad = json.dumps({"spec": {"data": {"a": CANARY, "b": 1}}})
    uses = app_manifest(env={"A": {"secretRef": {"name": "db", "key": "password"}}})
    answers = [
        await client.put(secret, json={"spec": {"data": {"password": CANARY}}}),
        await client.put(
            secret, json={"spec": {"data": {"password": f"{CANARY}2"}}}, params={"dryRun": "All"}
        ),
        await client.put(secret, content=bad),
        await client.put(secret, content=bad[:-2]),
        await client.put(secret, json={"spec": {"data": CANARY}}),
        await client.put(secret, json={"spec": {"values": {"a": CANARY}}}),
        await client.put(secret, json={"spec": CANARY}),
        await client.put(WEB, json=uses),
    ]
    asked = [f"{WEB}/revisions", f"{WEB}/history", f"{WEB}/why", "/api/v1/events"]
    answers += [await client.get(path) for path in (secret, "/api/v1/secrets", WEB, *asked)]

    assert answers[0].status_code == 201
    assert (await client.get(secret)).json()["spec"] == {"keys": ["password"], "version": 1}
    assert not [answer.url for answer in answers if CANARY in answer.text]
    assert CANARY not in repr(house.log.events)


async def test_a_literal_that_looks_secret_is_accepted_with_a_warning(
    client: httpx.AsyncClient,
) -> None:
    made = await client.put(WEB, json=app_manifest(env={"DB_PASSWORD": CANARY, "MODE": "a"}))
    assert made.status_code == 201
    [warning] = made.json()["warnings"]
    assert "stateward secret set" in warning
    assert CANARY not in warning


async def test_a_size_of_a_volume_is_accepted_with_a_warning(client: httpx.AsyncClient) -> None:
    volumes = [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b", "size": "1Gi"}]
    made = await client.put(WEB, json=app_manifest(volumes=volumes))
    assert made.status_code == 201
    [warning] = made.json()["warnings"]
    assert "volumes[1].size is kept, but limits nothing" in warning


async def test_a_size_of_a_volume_on_a_cluster_is_one_and_a_count_beside_autoscale_is_not(
    house: House, client: httpx.AsyncClient
) -> None:
    """Whether the target is there already, or comes with the app."""
    prod = ("kind: Target", "metadata: {name: prod}", "spec: {engine: k8s, k8s: {}}")
    web = (
        "kind: App",
        "metadata: {name: web, project: shop}",
        "spec:",
        "  target: prod",
        "  image: web:1",
        "  replicas: 3",
        "  autoscale: {min: 2, max: 5, cpu: 80}",
        "  volumes: [{name: a, path: /a, size: 1Gi}]",
    )
    head = "apiVersion: stateward/v1"
    for written in ((head, *prod, "---", head, *web), (head, *web)):
        await house.catch_up(0)
        text, kind = "\n".join(written), {"Content-Type": "application/yaml"}
        made = await client.post("/api/v1/apply", content=text, headers=kind)
        assert made.status_code == 200, made.text
        [warning] = made.json()["warnings"]
        assert "replicas is kept, but its cluster decides how many run, from 2 to 5" in warning


BAD: dict[str, tuple[object, str, str, str | None]] = {
    "unknown field": (
        {"ports": [{"nmae": "a", "port": 1}]},
        "UnknownField",
        "spec.ports[0].nmae",
        "name",
    ),
    "another system's field": ({"environment": {}}, "UnknownField", "spec.environment", "env"),
    "wrong type": ({"replicas": "two"}, "BadValue", "spec.replicas", None),
    "limit exceeded": ({"replicas": 1001}, "BadValue", "spec.replicas", None),
    "duplicate port": (
        {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]},
        "BadValue",
        "spec.ports[1]",
        None,
    ),
    "memory of millibytes": (
        {"resources": {"memory": "256m"}},
        "BadValue",
        "spec.resources.memory",
        None,
    ),
    "a boolean in env": ({"env": {"A": True}}, "BadValue", "spec.env.A", None),
}


@pytest.mark.parametrize(("spec", "code", "path", "nearest"), BAD.values(), ids=BAD)
async def test_bad_input_is_refused_by_path(
    client: httpx.AsyncClient, spec: dict[str, Any], code: str, path: str, nearest: str | None
) -> None:
    body = problem(await client.put(WEB, json=app_manifest(**spec)), 422, code)
    assert body["path"] == path
    assert body.get("nearest") == nearest


async def test_an_unknown_kind_is_refused_with_the_nearest(client: httpx.AsyncClient) -> None:
    manifest = {**app_manifest(), "kind": "Apps"}
    body = problem(await client.post("/api/v1/apply", json=manifest), 422, "BadValue")
    assert body["path"] == "kind"
    assert "'App'" in body["detail"]


async def test_what_the_intent_relies_on_is_no_missing_page(client: httpx.AsyncClient) -> None:
    elsewhere = await client.put(
        "/api/v1/projects/none/apps/web", json={"spec": {"command": ["/bin/serve"]}}
    )
    assert problem(elsewhere, 422, "NotFound")["resource"] == "Project/none"
    unknown = await client.put(WEB, json=app_manifest(target="moon"))
    assert problem(unknown, 422, "NotFound")["resource"] == "Target/moon"
    problem(await client.delete(WEB), 404, "NotFound")
    problem(await client.post(f"{WEB}/actions/stop"), 404, "NotFound")


async def test_malformed_json_is_refused_by_line_and_column(client: httpx.AsyncClient) -> None:
    for path, method in ((WEB, "PUT"), ("/api/v1/apply", "POST"), ("/api/v1/tokens", "POST")):
        refused = await client.request(
            method,
            path,
            content='{\n  "spec": {,}\n}',
            headers={"Content-Type": "application/json"},
        )
        body = problem(refused, 400, "Malformed")
        assert (body["line"], body["column"]) == (2, 12), path


async def test_malformed_yaml_is_refused_by_line_and_column(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/yaml"}
    for text, line in (("a: [1\nb: 2", 2), ("a: 1\na: 2\n", 2), ("a: !!python/x 1", 1)):
        refused = await client.post("/api/v1/apply", content=text, headers=headers)
        assert problem(refused, 400, "Malformed")["line"] == line


async def test_a_bomb_of_aliases_is_refused(client: httpx.AsyncClient) -> None:
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True):
        text += f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n"
    refused = await client.post(
        "/api/v1/apply", content=text, headers={"Content-Type": "application/yaml"}
    )
    assert "aliases" in problem(refused, 400, "Malformed")["detail"]


async def test_deep_nesting_is_refused(client: httpx.AsyncClient) -> None:
    for deep in (f'{{"spec": {"[" * 5000}{"]" * 5000}}}', f'{{"spec": {"[" * 90}{"]" * 90}}}'):
        refused = await client.put(WEB, content=deep, headers={"Content-Type": "application/json"})
        assert refused.status_code == 422, refused.text
    deep_yaml = await client.put(
        WEB, content="[" * 9000, headers={"Content-Type": "application/yaml"}
    )
    problem(deep_yaml, 400, "Malformed")


async def test_a_body_that_is_too_large_is_refused_unread(client: httpx.AsyncClient) -> None:
    big = b"x" * (1 << 20)
    body = problem(await client.put(WEB, content=big + b"x"), 413, "TooLarge")
    assert body["limit"] == 1 << 20
    problem(await client.post("/api/v1/apply", content=big * 10 + b"x"), 413, "TooLarge")

    async def unannounced() -> Any:
        for _ in range(20):
            yield big[:100_000]

    problem(await client.put(WEB, content=unannounced()), 413, "TooLarge")


async def test_one_manifest_of_a_set_has_a_limit_of_its_own(client: httpx.AsyncClient) -> None:
    big = app_manifest(env={f"A{n}": "x" * 30_000 for n in range(40)})
    body = problem(await client.post("/api/v1/apply", json=[app_manifest(), big]), 422, "BadValue")
    assert body["document"] == 2


async def test_another_media_type_is_refused(client: httpx.AsyncClient) -> None:
    refused = await client.put(WEB, content="a=b", headers={"Content-Type": "text/plain"})
    problem(refused, 415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (LogUnavailable("the disk is slow"), "LogUnavailable", True),
        (LogFull("the disk is full"), "LogFull", True),
        (LogRewound(head=1, seen=2, witness="a label"), "LogRewound", False),
    ],
    ids=["unavailable", "full", "rewound"],
)
async def test_a_log_that_cannot_append_is_a_503_under_a_key_to_retry(
    house: House,
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: str,
    *,
    retry: bool,
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(house.log, "append", refuse)
    refused = await client.put(WEB, json=app_manifest())
    problem(refused, 503, code)
    assert ("Retry-After" in refused.headers) is retry
    assert refused.headers["Idempotency-Key"]


async def test_what_a_person_sends_is_never_logged(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    await client.put(
        "/api/v1/projects/shop/secrets/db", json={"spec": {"data": {"password": CANARY}}}
    )
    await client.put(WEB, content=json.dumps({"spec": CANARY}), params={"labelSelector": CANARY})
    shown = capsys.readouterr()
    assert "PUT" in shown.out + shown.err
    assert CANARY not in shown.out + shown.err
