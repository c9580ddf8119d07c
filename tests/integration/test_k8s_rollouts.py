"""Rollouts on a cluster that fail: what goes on serving, what goes back by itself, what is held."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bus import codec
from domain import events as e
from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.schema import Object

VOLUMES = [{"name": "data", "path": "/data", "scope": "replica", "size": "1Gi"}]


def spec(image: str, *, how: str = "undo", in_place: bool = False, slots: bool = False) -> Object:
    rollout = {"onFailure": how, "progressDeadline": "2s"}
    return {
        "image": image,
        "ports": [{"name": "http", "port": 8080}],
        "replicas": 2,
        "rollout": rollout | ({"strategy": "stopFirst"} if in_place else {}),
        "volumes": VOLUMES if slots else [],
    }


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        built.server.workloads.let("web:2", Fate.CRASHES)
        yield built


def image_of(workload: Object | None) -> str:
    assert workload is not None
    image: str = workload["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def undone(house: ClusterHouse) -> list[tuple[str, int]]:
    decoded = [codec.decode(one.type, one.data) for one in house.log.events]
    return [(one.actor, one.to) for one in decoded if isinstance(one, e.AppUndone)]


async def _healthy(house: ClusterHouse, **more: Any) -> None:
    await house.send(manifest("App", "web", spec("web:1", **more)))
    await house.ready()


async def test_what_the_cluster_gives_up_goes_back_to_the_last_healthy_revision(
    house: ClusterHouse,
) -> None:
    await _healthy(house)
    await house.send(manifest("App", "web", spec("web:2")))
    await house.until(lambda: house.reason("Degraded") == ("True", "CrashLoop"))
    assert not undone(house)
    house.server.workloads.pass_deadline("stw-shop", "web")
    await house.until(lambda: undone(house))
    await house.ready()
    assert undone(house) == [("system:rollouts", 1)]
    assert image_of(house.found("Deployment")) == "web:1"
    await house.rest()
    assert len(undone(house)) == 1
    assert house.types.count("rollout.stalled") == 1


async def test_it_is_held_when_nobody_asked_for_more(house: ClusterHouse) -> None:
    await _healthy(house, how="hold")
    await house.send(manifest("App", "web", spec("web:2", how="hold")))
    await house.until(lambda: house.reason("Degraded") == ("True", "CrashLoop"))
    house.server.workloads.pass_deadline("stw-shop", "web")
    await house.until(lambda: "rollout.stalled" in house.types)
    await house.rest()
    assert not undone(house)
    assert image_of(house.found("Deployment")) == "web:2"
    status = house.of()
    assert status is not None
    assert (status.serving, status.ready) == (1, 2)


async def test_an_undo_that_fails_too_is_held(house: ClusterHouse) -> None:
    await _healthy(house)
    await house.send(manifest("App", "web", spec("web:2")))
    await house.until(lambda: house.reason("Degraded") == ("True", "CrashLoop"))
    house.server.workloads.let("web:1", Fate.CRASHES)
    house.server.workloads.pass_deadline("stw-shop", "web")
    await house.until(lambda: undone(house))
    await house.until(lambda: image_of(house.found("Deployment")) == "web:1")
    house.server.workloads.pass_deadline("stw-shop", "web")
    await house.until(lambda: house.types.count("rollout.stalled") == 2)
    await house.rest()
    assert len(undone(house)) == 1


@pytest.mark.parametrize("kind", ["StatefulSet", "Deployment"])
async def test_what_is_replaced_in_place_goes_back_too(house: ClusterHouse, kind: str) -> None:
    """The cluster has no deadline for a StatefulSet: it is counted here."""
    slots = kind == "StatefulSet"
    await _healthy(house, in_place=True, slots=slots)
    await house.send(manifest("App", "web", spec("web:2", in_place=True, slots=slots)))
    await house.until(lambda: house.reason("Degraded") == ("True", "CrashLoop"))
    if kind == "Deployment":
        house.server.workloads.pass_deadline("stw-shop", "web")
    else:
        status = house.of()
        assert status is not None
        assert status.ready == 1, "slot by slot: the other one serves"
    await house.until(lambda: undone(house))
    await house.ready()
    assert image_of(house.found(kind)) == "web:1"
    assert house.reason("Ready") == ("True", "AllReplicasReady")


async def test_a_stateful_set_is_held_past_its_deadline(house: ClusterHouse) -> None:
    await _healthy(house, how="hold", slots=True)
    await house.send(manifest("App", "web", spec("web:2", how="hold", slots=True)))
    await house.until(lambda: "rollout.stalled" in house.types)
    await house.until(lambda: house.reason("Progressing") == ("False", "DeadlineExceeded"))
    await house.rest()
    assert not undone(house)
    status = house.of()
    assert status is not None
    assert (status.serving, status.ready) == (1, 1)
