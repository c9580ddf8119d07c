"""Clusters that change what is written to them: an admission webhook rewrites fields of ours."""

from pathlib import Path

from domain import intents as i
from domain.names import app
from tests.support.cluster_house import ClusterHouse, cluster_house
from tests.support.intents import manifest
from tests.support.kubernetes.schema import Object

MIRROR = "mirror.example/"


def rewrite(body: Object) -> None:
    """As a registry mirror does; it also adds a sidecar, as a mesh does."""
    if body["kind"] != "Deployment":
        return
    containers = body["spec"]["template"]["spec"]["containers"]
    for one in containers:
        if not one["image"].startswith(MIRROR):
            one["image"] = MIRROR + one["image"]


def image(house: ClusterHouse) -> str:
    found = house.found("Deployment")
    assert found is not None
    shown: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
    return shown


async def test_what_a_webhook_makes_of_ours_is_told_and_not_fought(tmp_path: Path) -> None:
    async with cluster_house(tmp_path, ticks=0.3) as house:
        house.server.webhooks.append(rewrite)
        await house.send(manifest("App", "web", {"image": "web:1"}))
        await house.ready()
        await house.rest()
        assert image(house) == f"{MIRROR}web:1"
        assert house.reason("Synced") == ("True", "AddedTo")
        status = house.of()
        assert status is not None
        told = status.condition("Synced")
        assert told is not None
        path = "spec.template.spec.containers[web].image"
        named = f"the cluster itself changes {path} of Deployment stw-shop/web"
        assert named in told.message
        assert "drift.repaired" not in house.types
        await house.send(i.Scale(ref=app("shop", "web"), replicas=3))
        await house.ready()
        await house.send(manifest("App", "web", {"image": "web:2"}))
        await house.until(lambda: image(house) == f"{MIRROR}web:2")
        await house.ready()
        await house.rest()


async def test_an_edit_beside_what_a_webhook_makes_is_still_put_back(tmp_path: Path) -> None:
    async with cluster_house(tmp_path, ticks=0.3) as house:
        house.server.webhooks.append(rewrite)
        await house.send(manifest("App", "web", {"image": "web:1"}))
        await house.ready()
        await house.rest()
        template = {"spec": {"containers": [{"name": "web", "image": f"{MIRROR}evil:1"}]}}
        house.server.inside.patch("Deployment", "stw-shop", "web", {"spec": {"template": template}})
        await house.until(lambda: image(house) == f"{MIRROR}web:1")
        await house.until(lambda: "drift.repaired" in house.types)
        await house.rest()
