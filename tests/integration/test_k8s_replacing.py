"""What a cluster never changes is made anew: shown before, and without losing pods or claims."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.faults import Fault
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Change


def spec(size: str | None = None, image: str = "web:1", **more: object) -> dict[str, object]:
    volumes = [{"name": "data", "path": "/data", "scope": "replica", "size": size}]
    return {
        "image": image,
        "ports": [{"name": "http", "port": 8080}],
        "replicas": 2,
        "volumes": volumes if size else [],
    } | more


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        yield built


async def _ready(house: ClusterHouse, asked: dict[str, object]) -> None:
    await house.send(manifest("App", "web", asked))
    await house.ready()


def uids(house: ClusterHouse, kind: str) -> set[str]:
    return {one["metadata"]["uid"] for one in house.all(kind)}


class Least:
    """The fewest ready pods that there ever were, from now on."""

    def __init__(self, house: ClusterHouse) -> None:
        self._house, self._changes = house, list[Change]()
        house.server.store.followers.append(self)  # type: ignore[arg-type]
        self.count = len(self._ready())

    def append(self, _change: Change) -> None:
        self.count = min(self.count, len(self._ready()))

    def _ready(self) -> list[Object]:
        return [pod for pod in self._house.all("Pod") if _is_ready(pod)]


def _is_ready(pod: Object) -> bool:
    told: list[dict[str, Any]] = pod.get("status", {}).get("conditions") or []
    is_well = any((one["type"], one["status"]) == ("Ready", "True") for one in told)
    return is_well and "deletionTimestamp" not in pod["metadata"]


async def test_a_stateful_set_whose_claims_change_keeps_its_pods_and_its_claims(
    house: ClusterHouse,
) -> None:
    await _ready(house, spec("1Gi"))
    sets, claims = uids(house, "StatefulSet"), uids(house, "PersistentVolumeClaim")
    least = Least(house)
    no = Fault(code=403, times=1_000_000, verb="delete", plural="statefulsets")
    house.server.faults.add(no)
    await house.send(manifest("App", "web", spec("2Gi")))
    await house.until(lambda: house.reason("Synced") == ("False", "Replacing"))
    [first, *_] = await house.parts.passing.explain("App/shop/web")
    assert first.startswith("make StatefulSet stw-shop/web anew, its pods stay")
    assert uids(house, "StatefulSet") == sets
    assert least.count == 2
    no.times = 0
    await house.until(lambda: house.found("StatefulSet") and uids(house, "StatefulSet") != sets)
    await house.ready()
    assert uids(house, "PersistentVolumeClaim") == claims
    assert least.count >= 1, "slot by slot: the other one serves"
    assert len(house.all("Pod")) == 2
    found = house.found("StatefulSet")
    assert found is not None
    [template] = found["spec"]["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "2Gi"


async def test_a_deployment_becomes_a_stateful_set_and_one_again(house: ClusterHouse) -> None:
    await _ready(house, spec())
    least = Least(house)
    await _ready(house, spec("1Gi"))
    await house.until(lambda: house.found("Deployment") is None and len(house.all("Pod")) == 2)
    assert not house.all("ReplicaSet")
    claims = uids(house, "PersistentVolumeClaim")
    assert len(claims) == 2
    await _ready(house, spec())
    await house.until(lambda: house.found("StatefulSet") is None and len(house.all("Pod")) == 2)
    assert least.count == 2
    assert uids(house, "PersistentVolumeClaim") == claims
    await house.rest()
    assert house.reason("Synced") == ("True", "Converged")


async def test_the_old_kind_stays_while_the_new_one_is_not_well(house: ClusterHouse) -> None:
    await _ready(house, spec())
    house.server.workloads.let("web:2", Fate.CRASHES)
    await house.send(manifest("App", "web", spec("1Gi", image="web:2")))
    await house.until(lambda: house.found("StatefulSet"))
    await house.rest()
    assert house.found("Deployment")
    status = house.of()
    assert status is not None
    assert (status.serving, status.ready) == (1, 2)


async def test_a_selector_that_is_not_ours_is_made_anew_and_nobody_is_left_behind(
    house: ClusterHouse,
) -> None:
    """Somebody made our Deployment anew, with another selector and pods of another name."""
    await _ready(house, spec())
    mine = house.found("Deployment")
    assert mine is not None
    house.server.workloads.paused = True
    house.server.inside.delete("Deployment", "stw-shop", "web")
    metadata = {name: mine["metadata"][name] for name in ("name", "labels")}
    theirs = {**mine["spec"], "selector": {"matchLabels": {"app": "theirs"}}}
    template = theirs["template"]
    theirs["template"] = {
        **template,
        "metadata": {
            **template["metadata"],
            "labels": {**template["metadata"]["labels"], "app": "theirs"},
        },
    }
    body = {"metadata": metadata, "spec": theirs}
    house.server.inside.create("Deployment", "stw-shop", body)
    house.server.workloads.paused = False

    def is_ours() -> bool:
        found = house.found("Deployment")
        return found is not None and found["spec"]["selector"] == mine["spec"]["selector"]

    await house.until(is_ours)
    await house.until(lambda: house.reason("Synced") == ("True", "Converged"))
    await house.until(lambda: len(house.all("Pod")) == 2)


async def test_configuration_that_was_altered_is_made_anew(house: ClusterHouse) -> None:
    await _ready(house, spec(env={"LOG": "info"}))
    [config] = [one for one in house.all("ConfigMap") if one.get("immutable")]
    name = config["metadata"]["name"]
    house.server.inside.delete("ConfigMap", "stw-shop", name)
    metadata = {"name": name, "labels": config["metadata"]["labels"]}
    altered = {"metadata": metadata, "immutable": True, "data": {"LOG": "debug"}}
    house.server.inside.create("ConfigMap", "stw-shop", altered)

    def is_back() -> bool:
        found = house.found("ConfigMap", name)
        return found is not None and found["data"]["LOG"] == "info"

    await house.until(is_back)
    await house.until(lambda: house.reason("Synced") == ("True", "Converged"))


async def test_a_service_that_has_an_address_is_made_anew_without_one(house: ClusterHouse) -> None:
    await _ready(house, spec("1Gi"))
    before = house.found("Service", "web--slots")
    assert before is not None
    house.server.inside.delete("Service", "stw-shop", "web--slots")
    metadata = {name: before["metadata"][name] for name in ("name", "labels")}
    addressed = {name: value for name, value in before["spec"].items() if name != "clusterIP"}
    addressed.pop("clusterIPs", None)
    body = {"metadata": metadata, "spec": {**addressed, "clusterIP": "10.0.0.7"}}
    house.server.inside.create("Service", "stw-shop", body)

    def is_headless() -> bool:
        found = house.found("Service", "web--slots")
        return found is not None and found["spec"].get("clusterIP") == "None"

    await house.until(is_headless)
    await house.until(lambda: house.reason("Synced") == ("True", "Converged"))
