"""Opening targets: what is not there to be opened says so, and what to do."""

import random
from pathlib import Path

import pytest

from domain.target import K8sSettings, TargetSpec
from reconcilers.ports import EngineUnavailable, ImageUnavailable
from stateward.engines import Opener
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer
from tests.support.surroundings import surroundings


async def test_a_cluster_without_a_way_to_it_is_a_target_that_does_not_answer(
    tmp_path: Path,
) -> None:
    opener = Opener(
        tmp_path,
        "11111111-aaaa",
        now=lambda: 0.0,
        rng=random.Random(1),
        environment=surroundings(tmp_path),
    )
    with pytest.raises(EngineUnavailable, match="no access to the cluster of the pod"):
        await opener("prod", TargetSpec(engine="k8s"))


@pytest.mark.parametrize(
    ("resolve", "told"),
    [(True, "its registry 127.0.0.1:1 cannot be reached"), (False, "")],
    ids=["asked", "not asked"],
)
async def test_a_cluster_says_whether_registries_are_asked_what_tags_name(
    tmp_path: Path, resolve: bool, told: str
) -> None:
    opener = Opener(
        tmp_path,
        "11111111-aaaa",
        now=lambda: 0.0,
        rng=random.Random(1),
        environment=surroundings(tmp_path),
    )
    async with KubernetesServer() as server:
        config = kubeconfig(tmp_path / "config", server.url)
        settings = K8sSettings(kubeconfig=str(config), resolve_images=resolve)
        opened = await opener("prod", TargetSpec(engine="k8s", k8s=settings))
        image, said = "127.0.0.1:1/web:1", ""
        try:
            found = await opened.engine.images.resolve(image, policy="Always", credentials=None)
            assert found == image
        except ImageUnavailable as error:
            said = str(error)
        await opened.close()
    assert told in said
    assert bool(told) == bool(said)
