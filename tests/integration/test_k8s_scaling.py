"""Who decides how many pods there are: we, an autoscaler, and the way from one to the other."""

from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.store import Change


def spec(**more: object) -> dict[str, object]:
    return {"image": "web:1", "ports": [{"name": "http", "port": 8080}]} | more


BOUNDS = {"min": 2, "max": 10, "cpu": 70}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    async with cluster_house(tmp_path) as built:
        yield built


class Counts:
    """Every number of replicas that the Deployment asked for, from now on."""

    def __init__(self, house: ClusterHouse) -> None:
        self._changes: deque[Change] = deque()
        house.server.store.followers.append(self._changes)

    @property
    def all(self) -> set[int]:
        return {
            one.after.object["spec"]["replicas"]
            for one in self._changes
            if one.after is not None and one.place.plural == "deployments"
        }


async def test_an_autoscaler_begins_with_as_many_as_there_are_and_is_left_alone(
    house: ClusterHouse,
) -> None:
    await house.send(manifest("App", "web", spec(replicas=3)))
    await house.ready()
    counts = Counts(house)
    await house.send(manifest("App", "web", spec(autoscale=BOUNDS)))
    await house.until(lambda: house.found("HorizontalPodAutoscaler"))
    await house.rest()
    assert counts.all == {3}, "it fell to the default in between"
    house.server.inside.patch("Deployment", "stw-shop", "web", {"spec": {"replicas": 7}})
    await house.until(lambda: (status := house.of()) and status.ready == 7)
    await house.rest()
    assert counts.all == {3, 7}
    assert "drift.repaired" not in house.types
    assert house.reason("Ready") == ("True", "AllReplicasReady")


async def test_who_takes_the_scaling_back_goes_on_from_there(house: ClusterHouse) -> None:
    await house.send(manifest("App", "web", spec(replicas=3, autoscale=BOUNDS)))
    await house.ready()
    house.server.inside.patch("Deployment", "stw-shop", "web", {"spec": {"replicas": 7}})
    await house.until(lambda: (status := house.of()) and status.ready == 7)
    counts = Counts(house)
    await house.send(manifest("App", "web", spec(replicas=7)))
    await house.until(lambda: house.found("HorizontalPodAutoscaler") is None)
    await house.rest()
    assert counts.all <= {7}
    assert len(house.all("Pod")) == 7
    house.server.inside.patch("Deployment", "stw-shop", "web", {"spec": {"replicas": 2}})
    await house.until(lambda: "drift.repaired" in house.types)
    await house.until(lambda: len(house.all("Pod")) == 7)
