"""What an apply would change on a cluster, as the cluster itself says, before anything is asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bus.intents import Asked
from domain import intents as i
from domain.names import Ref
from gateway.previews import projects, proposal, with_objects
from reconcilers.inside import Here
from reconcilers.object_preview import ObjectChange
from reconcilers.ports import EngineUnavailable
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import NAMESPACE, ClusterHouse, cluster_house
from tests.support.intents import ALICE, manifest
from tests.support.kubernetes.faults import Fault

PASSWORD = "correct-horse"
DEPLOYMENT = f"Deployment {NAMESPACE}/web"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        yield built


async def preview(house: ClusterHouse, asked: Asked) -> dict[str, ObjectChange]:
    """The changes that a dry run of an intent on `web` foresees, by object; nothing is written."""
    view = house.parts.targets.get("prod")
    assert view is not None
    await house.until(lambda: view.opened)
    stored, events = house.server.store.version, len(house.log.events)
    _, plan = await house.intents.foresee([asked], actor=ALICE)
    proposed = proposal("App/shop/web", plan, events + 1)
    assert proposed is not None
    found = await Here(house.parts.passing, house.desired).preview(proposed)
    assert (house.server.store.version, len(house.log.events)) == (stored, events)
    return {one.object: one for one in found}


def image(body: Mapping[str, Any] | None) -> str:
    assert body is not None
    return str(body["spec"]["template"]["spec"]["containers"][0]["image"])


async def test_of_a_new_project_all_is_shown_as_it_is_rendered(house: ClusterHouse) -> None:
    found = await preview(house, manifest("App", "web", spec()))
    assert {one.because for one in found.values()} == {"missing"}
    assert {f"Namespace {NAMESPACE}", DEPLOYMENT, f"Service {NAMESPACE}/web"} <= found.keys()
    assert image(found[DEPLOYMENT].after) == "web:1"
    assert not house.server.inside.all("Deployment")


async def test_a_changed_image_is_shown_with_what_the_cluster_adds(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    before = house.found("Deployment")
    found = await preview(house, manifest("App", "web", spec("web:2")))
    assert list(found) == [DEPLOYMENT]
    change = found[DEPLOYMENT]
    assert (image(change.before), image(change.after)) == ("web:1", "web:2")
    assert change.before is not None
    assert change.after is not None
    assert change.before.keys() == change.after.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert change.after["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert house.found("Deployment") == before


async def test_values_of_secrets_are_in_no_preview(house: ClusterHouse) -> None:
    await house.send(manifest("Secret", "db", {"data": {"password": PASSWORD}}))
    await house.send(manifest("App", "other", spec()))
    await house.ready("other")
    taken = {"PASSWORD": {"secretRef": {"name": "db", "key": "password"}}}
    found = await preview(house, manifest("App", "web", spec(env=taken)))
    secrets = [one.after for name, one in found.items() if name.startswith("Secret ")]
    assert [one["data"] for one in secrets if one is not None] == [{"PASSWORD": "***"}]
    assert PASSWORD not in str(found)


async def test_a_workload_of_another_kind_comes_before_the_first_goes(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    volumes = [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}]
    found = await preview(house, manifest("App", "web", spec(volumes=volumes)))
    assert found[f"StatefulSet {NAMESPACE}/web"].because == "missing"
    assert DEPLOYMENT not in found  # it goes when its successor is ready


async def test_what_can_never_be_changed_is_said_to_be_made_anew(house: ClusterHouse) -> None:
    volumes = [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}]
    await house.send(manifest("App", "web", spec(volumes=volumes)))
    await house.ready()
    volumes = [{"name": "data", "path": "/data", "scope": "replica", "size": "2Gi"}]
    found = await preview(house, manifest("App", "web", spec(volumes=volumes)))
    change = found[f"StatefulSet {NAMESPACE}/web"]
    assert change.because == "immutable"
    assert change.fields == ("spec.volumeClaimTemplates",)


async def test_what_the_cluster_would_refuse_is_told_with_its_words(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    said = "failed to create typed patch object: .spec.colour: field not declared"
    house.server.faults.add(Fault(code=500, verb="patch", message=said, reason=""))
    found = await preview(house, manifest("App", "web", spec("web:2")))
    assert ".spec.colour: field not declared" in found[DEPLOYMENT].refused
    assert image(found[DEPLOYMENT].after) == "web:2"


async def test_an_intent_that_changes_no_spec_has_no_preview(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    _, plan = await house.intents.foresee([i.Delete(ref=Ref("App", "shop", "web"))], actor=ALICE)
    assert proposal("App/shop/web", plan, 99) is None


async def test_of_a_cluster_that_is_down_nothing_is_guessed(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    await house.server.kill()
    await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
    with pytest.raises(EngineUnavailable, match="Cannot connect"):
        await preview(house, manifest("App", "web", spec("web:2")))


async def test_elsewhere_than_on_clusters_there_is_nothing_to_show(house: ClusterHouse) -> None:
    assert await preview(house, manifest("App", "web", spec(target="local"))) == {}


async def test_what_the_apps_of_a_project_share_is_shown_on_each_of_its_clusters(
    house: ClusterHouse,
) -> None:
    west = {"engine": "k8s", "k8s": {"kubeconfig": "/config", "namespacePrefix": "west-"}}
    await house.send(manifest("Target", "west", west))
    await house.send(manifest("App", "web", spec()))
    await house.ready()
    view = house.parts.targets.get("west")
    assert view is not None
    await house.until(lambda: view.opened)
    no = Fault(code=403, times=1_000_000, verb="patch", plural="resourcequotas")
    house.server.faults.add(no)
    quota = ("ResourceQuota", NAMESPACE, "stateward--project")
    house.server.inside.patch(*quota, {"spec": {"hard": {"pods": "1"}}})
    moved = manifest("Project", "shop", {"target": "west"})
    _, plan = await house.intents.foresee([moved], actor=ALICE)
    here, events = Here(house.parts.passing, house.desired), len(house.log.events)
    asked = projects("Project/shop", plan, events + 1, house.desired)
    assert [one.target for one in asked] == ["prod", "west"]

    async def changed() -> Sequence[ObjectChange]:
        return await here.preview_project(asked[0])

    async with asyncio.timeout(60):
        while not (found := await changed()):  # until the copy has seen the edit
            await asyncio.sleep(0.05)
    [change] = found
    assert (change.because, change.fields) == ("edited", ("spec.hard.pods",))
    assert change.before is not None
    assert change.before["spec"]["hard"]["pods"] == "1"
    assert "403" in change.refused
    there = {one.object: one for one in await here.preview_project(asked[1])}
    assert {one.because for one in there.values()} == {"missing"}
    kinds = {name.partition(" ")[0] for name in there}
    assert {"Namespace", "ResourceQuota", "LimitRange", "NetworkPolicy"} <= kinds
    assert house.server.inside.get("Namespace", "", "west-shop") is None
    assert len(house.log.events) == events


async def test_of_a_project_whose_cluster_is_down_it_is_said_which(house: ClusterHouse) -> None:
    _, plan = await house.intents.foresee(
        [manifest("Project", "shop", {"description": "more", "target": "prod"})], actor=ALICE
    )
    view = house.parts.targets.get("prod")
    assert view is not None
    await house.until(lambda: view.opened)
    asked = projects("Project/shop", plan, 99, house.desired)

    async def ask(_one: object) -> Sequence[ObjectChange]:
        raise EngineUnavailable("it does not answer")

    change: dict[str, Any] = {"resource": "Project/shop"}
    assert await with_objects(change, asked, ask) == [
        "objects of Project/shop on prod are not compared: it does not answer"
    ]
    assert "objects" not in change
