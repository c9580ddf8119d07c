"""Images of apps on a cluster: what a tag names is found out once, and pods are made of that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.registry.images import RegistryImages
from domain import intents as i
from domain.names import app
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.registry import PASSWORD, USER, Registry, registry_with_tokens

pytestmark = pytest.mark.needs("registry")

WEB = app("shop", "web")


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with registry_with_tokens(tmp_path) as served:
        yield served


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[ClusterHouse]:
    images = RegistryImages(user_agent="stateward/test")
    async with cluster_house(tmp_path, images=images) as built:
        login = {"username": USER, "password": PASSWORD}
        await built.send(manifest("Secret", "login", {"data": login}, project="shop"))
        yield built
    await images.close()


def images(house: ClusterHouse) -> set[str]:
    return {one["spec"]["containers"][0]["image"] for one in house.all("Pod")}


async def test_pods_are_made_of_the_digest_and_a_refresh_sees_a_moved_tag(
    house: ClusterHouse, registry: Registry
) -> None:
    name = f"{registry.host}/shop/web"
    first = f"{name}@{registry.push('shop/web:1', 'first')}"
    asked = spec(f"{name}:1", imagePull={"secretRef": "login"})
    await house.send(manifest("App", "web", asked))
    await house.ready()
    assert images(house) == {first}
    second = f"{name}@{registry.push('shop/web:1', 'second')}"
    await house.send(i.Restart(ref=WEB))
    await house.ready()
    assert images(house) == {first}, "a restart runs what ran"
    await house.send(i.Refresh(ref=WEB))
    await house.until(lambda: images(house) == {second})
    await house.ready()


async def test_what_serves_can_be_stopped_while_a_registry_does_not_know_the_next(
    house: ClusterHouse, registry: Registry
) -> None:
    name = f"{registry.host}/shop/web"
    registry.push("shop/web:1", "first")
    login = {"secretRef": "login"}
    await house.send(manifest("App", "web", spec(f"{name}:1", imagePull=login)))
    await house.ready()
    await house.send(manifest("App", "web", spec(f"{name}:2", imagePull=login)))
    await house.until(lambda: house.reason("Degraded") == ("True", "ImageUnavailable"))
    assert len(house.all("Pod")) == 2
    await house.send(i.Stop(ref=WEB))
    await house.until(lambda: not house.all("Pod"))
    registry.push("shop/web:2", "second")
    await house.send(i.Start(ref=WEB))
    await house.ready()
    assert len(house.all("Pod")) == 2
