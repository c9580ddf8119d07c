"""Opening targets: what is not there to be opened says so, and what to do."""

import random
from pathlib import Path

import pytest

from domain.target import TargetSpec
from reconcilers.ports import EngineUnavailable
from stateward.engines import Opener


async def test_a_cluster_without_a_way_to_it_is_a_target_that_does_not_answer(
    tmp_path: Path,
) -> None:
    opener = Opener(tmp_path, "11111111-aaaa", now=lambda: 0.0, rng=random.Random(1))
    with pytest.raises(EngineUnavailable, match="no access to the cluster of the pod"):
        await opener("prod", TargetSpec(engine="k8s"))
