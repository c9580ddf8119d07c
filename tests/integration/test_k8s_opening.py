"""A target of engine k8s as the control plane itself opens it, from its spec."""

import random
import time
from pathlib import Path

import pytest

from domain.target import K8sSettings, TargetSpec
from reconcilers.ports import EngineUnavailable
from stateward.engines import Opener
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer
from tests.support.surroundings import surroundings


def opener(folder: Path) -> Opener:
    return Opener(
        folder,
        "11111111-aaaa",
        now=time.monotonic,
        rng=random.Random(3),
        environment=surroundings(folder),
    )


def cluster(path: Path, context: str | None = None) -> TargetSpec:
    return TargetSpec(engine="k8s", k8s=K8sSettings(kubeconfig=str(path), context=context))


async def test_a_cluster_is_opened_by_its_kubeconfig(tmp_path: Path) -> None:
    async with KubernetesServer() as server:
        path = kubeconfig(tmp_path / "config", server.url)
        opened = await opener(tmp_path)("prod", cluster(path))
        assert opened.objects is not None
        assert await opened.objects.engine.list() == []
        await opened.close()


@pytest.mark.parametrize(
    ("context", "said"), [("staging", "has no context 'staging'"), (None, "Cannot connect")]
)
async def test_one_that_cannot_be_reached_says_why(
    tmp_path: Path, context: str | None, said: str
) -> None:
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1")
    with pytest.raises(EngineUnavailable, match=said):
        await opener(tmp_path)("prod", cluster(path, context))
