"""What other installations run is shown to who may see it, and adopted by who may."""

import httpx

from domain.events import ForeignObject
from reconcilers.object_adopting import InTheWay
from reconcilers.ports import ReplicaState
from tests.support.gateway import FORMER, INSTALLATION, House, app_manifest, problem, stranger

WEB = "/api/v1/projects/shop/apps/web"
FOREIGN = "/api/v1/targets/local/foreign"
ADOPT = f"{WEB}/actions/adopt"


async def test_replicas_are_told_by_installation_and_app(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest(volumes=[{"name": "data", "path": "/data"}]))
    house.foreign = [stranger(slot=1, state=ReplicaState.EXITED), stranger(), stranger("api")]
    body = (await client.get(FOREIGN)).json()
    assert body["target"] == "local"
    api, web = body["items"]
    assert (api["app"], api["applied"], api["running"]) == ("api", False, 1)
    assert web == {
        "installation": FORMER,
        "project": "shop",
        "app": "web",
        "revisions": [3],
        "running": 1,
        "replicas": [
            {"name": "3f2a1c.shop.web.r3.0.1", "state": "running"},
            {"name": "3f2a1c.shop.web.r3.1.1", "state": "exited"},
        ],
        "applied": True,
        "volumes": ["data"],
        "adopting": False,
    }


async def test_an_adoption_that_was_asked_for_shows(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    house.foreign = [stranger(), stranger(installation="7" * 8 + FORMER[8:])]
    answer = (await client.post(ADOPT, json={"installation": FORMER})).json()
    assert answer["changes"][0]["events"] == ["app.adopted"]
    items = (await client.get(FOREIGN)).json()["items"]
    assert [one["adopting"] for one in items] == [True, False]


async def test_what_is_of_other_projects_is_not_shown(house: House) -> None:
    house.foreign = [stranger(), stranger(project="blog")]
    token = house.token("bob", "viewer", "blog")
    async with house.client(token) as bob:
        [one] = (await bob.get(FOREIGN)).json()["items"]
    assert one["project"] == "blog"


async def test_a_target_that_is_unknown_or_away_is_a_problem(
    house: House, client: httpx.AsyncClient
) -> None:
    problem(await client.get("/api/v1/targets/none/foreign"), 404, "NotFound")
    house.foreign = None
    problem(await client.get(FOREIGN), 502, "EngineUnavailable")


async def test_adopting_needs_an_admin_and_another_installation(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    async with house.client(house.token("eve", "editor")) as eve:
        problem(await eve.post(ADOPT, json={"installation": FORMER}), 403, "Forbidden")
    problem(await client.post(ADOPT, json={"installation": INSTALLATION}), 422, "BadValue")
    problem(await client.post(ADOPT, json={"installation": "another"}), 422, "BadValue")
    problem(await client.post(ADOPT, json={}), 422, "BadValue")
    problem(
        await client.post(ADOPT.replace("web", "none"), json={"installation": FORMER}),
        404,
        "NotFound",
    )


async def test_a_dry_run_adopts_nothing(house: House, client: httpx.AsyncClient) -> None:
    await client.put(WEB, json=app_manifest())
    before = len(house.log.events)
    body = {"installation": FORMER}
    answer = (await client.post(ADOPT, json=body, params={"dryRun": "All"})).json()
    assert answer["changes"][0]["events"] == ["app.adopted"]
    assert len(house.log.events) == before


async def test_what_is_in_the_way_of_an_app_is_told_by_its_uid(
    house: House, client: httpx.AsyncClient
) -> None:
    await client.put(WEB, json=app_manifest())
    named = ForeignObject(
        api_version="v1", kind="Service", namespace="stw-shop", name="web", uid="u"
    )
    house.in_the_way = [
        InTheWay(object=named, installation=FORMER, managers=("helm",), outcome="taken over")
    ]
    answer = await client.get(f"{WEB}/foreign")
    assert answer.json() == {
        "resource": "App/shop/web",
        "items": [
            {
                "object": {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "namespace": "stw-shop",
                    "name": "web",
                    "uid": "u",
                },
                "installation": FORMER,
                "managers": ["helm"],
                "outcome": "taken over",
                "fields": [],
                "data": False,
            }
        ],
    }
    assert (await client.get("/api/v1/projects/shop/apps/none/foreign")).status_code == 404
