"""What others made under the names of an app becomes its own, because somebody said so."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domain import events as e
from domain import intents as i
from domain.names import app, project
from reconcilers.object_adopting import InTheWay
from reconcilers.object_labels import ADOPTED, INSTALLATION
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import NAMESPACE, ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.schema import Object

WEB = app("shop", "web")
THEIRS = {"app": "theirs"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    """Somebody has a namespace of that name there, and a `web` that serves in it."""
    async with cluster_house(tmp_path) as built:
        built.server.inside.create("Namespace", "", {"metadata": {"name": NAMESPACE}})
        make(built, "Service", {"selector": THEIRS, "ports": [{"name": "old", "port": 81}]})
        container = {"name": "theirs", "image": "theirs:1"}
        pod = {"metadata": {"labels": THEIRS}, "spec": {"containers": [container]}}
        make(
            built,
            "Deployment",
            {"replicas": 2, "selector": {"matchLabels": THEIRS}, "template": pod},
        )
        await built.until(lambda: len(images(built)) == 2)
        yield built


def make(house: ClusterHouse, kind: str, spec: dict[str, Any]) -> None:
    body = {"metadata": {"name": "web", "annotations": {"note": "ours"}}, "spec": spec}
    house.server.inside.create(kind, NAMESPACE, body)


def images(house: ClusterHouse) -> list[str]:
    """Those of the pods that serve."""
    return sorted(
        pod["spec"]["containers"][0]["image"]
        for pod in house.all("Pod")
        if "deletionTimestamp" not in pod["metadata"]
    )


def is_ours(house: ClusterHouse, body: Object | None) -> bool:
    assert body is not None
    return bool((body["metadata"].get("labels") or {}).get(INSTALLATION) == house.installation)


async def in_the_way(house: ClusterHouse) -> Sequence[InTheWay]:
    view = house.parts.targets.get("prod")
    assert view is not None
    await house.until(lambda: view.opened)
    return await house.parts.passing.in_the_way(WEB.stream)


async def apply(house: ClusterHouse) -> Sequence[InTheWay]:
    """Ask for the app, which waits; what is in its way."""
    await house.send(manifest("App", "web", spec()))
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    return await in_the_way(house)


async def take(house: ClusterHouse, found: Sequence[InTheWay]) -> None:
    await house.send(i.Adopt(ref=WEB, objects=tuple(one.object for one in found)))


async def test_without_the_intent_nothing_is_touched_and_it_is_said_what_to_do(
    house: ClusterHouse,
) -> None:
    before = [house.found(kind) for kind in ("Deployment", "Service")]
    await apply(house)
    await house.rest()
    status = house.of()
    assert status is not None
    told = status.condition("Synced")
    assert told is not None
    assert f"Namespace {NAMESPACE} belongs to somebody else" in told.message
    assert "`stateward adopt app/web -n shop --objects`" in told.message
    assert [house.found(kind) for kind in ("Deployment", "Service")] == before
    assert not is_ours(house, house.server.inside.get("Namespace", "", NAMESPACE))


async def test_it_is_shown_what_would_become_of_each(house: ClusterHouse) -> None:
    found = {f"{one.object.kind} {one.object.name}": one for one in await apply(house)}
    [sets] = house.all("ReplicaSet")
    name = f"ReplicaSet {sets['metadata']['name']}"
    assert {told: one.outcome for told, one in found.items()} == {
        f"Namespace {NAMESPACE}": "taken over",
        "Deployment web": "made anew",
        name: "ended",
        "Service web": "taken over",
    }
    assert all(field.startswith("spec.selector") for field in found["Deployment web"].fields)
    assert found[name].object.uid == sets["metadata"]["uid"]


async def test_what_is_named_becomes_ours_without_a_moment_that_nobody_serves(
    house: ClusterHouse,
) -> None:
    service = house.found("Service")
    assert service is not None
    house.server.workloads.let("web:1", Fate.WAITS)
    await take(house, await apply(house))
    await house.until(lambda: house.reason("Synced") == ("False", "Adopting"))
    await house.until(lambda: "web:1" in images(house))
    assert images(house).count("theirs:1") == 2
    led = house.found("Service")
    assert led is not None
    assert led["spec"]["selector"] == THEIRS, "requests go where they went"
    house.server.workloads.let("web:1", Fate.RUNS)
    await house.ready()
    await house.until(lambda: images(house) == ["web:1", "web:1"])
    await house.until(lambda: "adoption.completed" in house.types)
    taken = house.found("Service")
    assert taken is not None
    assert taken["metadata"]["uid"] == service["metadata"]["uid"]
    assert taken["metadata"]["annotations"]["note"] == "ours"
    assert taken["metadata"]["labels"][ADOPTED] == "true"
    assert is_ours(house, house.found("Deployment"))
    assert [one["port"] for one in taken["spec"]["ports"]] == [81, 8080], "theirs is left alone"
    await house.rest()
    assert house.reason("Synced")[0] == "True"


async def test_what_was_made_anew_since_it_was_seen_is_not_taken(house: ClusterHouse) -> None:
    found = await apply(house)
    house.server.inside.delete("Service", NAMESPACE, "web")
    make(house, "Service", {"selector": THEIRS, "ports": [{"port": 82}]})
    await take(house, found)
    await house.until(lambda: images(house).count("web:1") == 2)
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    await house.rest()
    assert not is_ours(house, house.found("Service"))
    assert images(house).count("theirs:1") == 2, "it leads to them still"
    await take(house, await in_the_way(house))
    await house.until(lambda: house.types.count("adoption.completed") == 2)
    assert is_ours(house, house.found("Service"))
    await house.until(lambda: images(house) == ["web:1", "web:1"])


async def test_a_namespace_that_was_there_stays_with_all_that_is_not_ours(
    house: ClusterHouse,
) -> None:
    note = {"metadata": {"name": "theirs"}, "data": {"a": "b"}}
    house.server.inside.create("ConfigMap", NAMESPACE, note)
    await take(house, await apply(house))
    await house.ready()
    await house.send(i.Delete(ref=project("shop"), cascade=True))
    await house.until(lambda: house.found("Deployment") is None and not house.all("NetworkPolicy"))
    await house.rest()
    namespace = house.server.inside.get("Namespace", "", NAMESPACE)
    assert namespace is not None
    assert "deletionTimestamp" not in namespace["metadata"]
    assert house.found("ConfigMap", "theirs")


async def test_data_is_taken_over_only_by_its_name(house: ClusterHouse) -> None:
    volume = {"name": "data", "path": "/data", "scope": "app", "size": "1Gi"}
    claim = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    body = {"metadata": {"name": "data--shared-web"}, "spec": claim}
    house.server.inside.create("PersistentVolumeClaim", NAMESPACE, body)
    asked = spec(volumes=[volume], replicas=1)
    await house.send(manifest("App", "web", asked))
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    found = await in_the_way(house)
    [data] = [one for one in found if one.is_data]
    assert data.object.kind == "PersistentVolumeClaim"
    await take(house, [one for one in found if not one.is_data])
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    await house.rest()
    assert not is_ours(house, house.found("PersistentVolumeClaim", data.object.name))
    await house.send(i.Adopt(ref=WEB, objects=(data.object,), volumes=True))
    await house.ready()
    taken = house.found("PersistentVolumeClaim", data.object.name)
    assert is_ours(house, taken)
    assert taken is not None
    assert taken["metadata"]["uid"] == data.object.uid


async def test_what_a_former_life_left_to_nobody_can_be_taken_up_again(
    house: ClusterHouse,
) -> None:
    await take(house, await apply(house))
    await house.ready()
    await house.send(i.Delete(ref=WEB, orphan=True))
    await house.send(manifest("App", "web", spec("web:2")))
    await house.until(lambda: house.reason("Synced") == ("False", "NameTaken"))
    found = await in_the_way(house)
    assert ("Deployment", "taken over") in [(one.object.kind, one.outcome) for one in found]
    deployment = house.found("Deployment")
    assert deployment is not None
    await take(house, found)
    await house.ready()
    await house.until(lambda: images(house) == ["web:2", "web:2"])
    again = house.found("Deployment")
    assert again is not None
    assert again["metadata"]["uid"] == deployment["metadata"]["uid"]
    events = [one.type for one in house.log.events if one.type == e.AdoptionCompleted.type]
    await house.until(lambda: house.types.count("adoption.completed") == 2)
    assert events


async def test_a_namespace_of_ours_stays_while_somebody_else_has_something_in_it(
    tmp_path: Path,
) -> None:
    async with cluster_house(tmp_path) as house:
        await house.send(manifest("App", "web", spec()))
        await house.ready()
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        body = {"metadata": {"name": "theirs"}, "spec": claim}
        house.server.inside.create("PersistentVolumeClaim", NAMESPACE, body)
        await house.send(i.Delete(ref=project("shop"), cascade=True))
        await house.until(lambda: not house.found("Deployment") and not house.all("ResourceQuota"))
        await house.rest()
        assert house.found("PersistentVolumeClaim", "theirs")
        house.server.inside.delete("PersistentVolumeClaim", NAMESPACE, "theirs")
        await house.until(lambda: not house.server.inside.get("Namespace", "", NAMESPACE))


async def test_an_app_that_leaves_the_cluster_has_nothing_more_to_take_there(
    house: ClusterHouse,
) -> None:
    house.server.workloads.let("web:1", Fate.WAITS)
    await take(house, await apply(house))
    await house.until(lambda: house.reason("Synced") == ("False", "Adopting"))
    await house.send(manifest("App", "web", spec(target="local")))
    await house.until(lambda: "adoption.completed" in house.types)
    assert not is_ours(house, house.found("Service"))
