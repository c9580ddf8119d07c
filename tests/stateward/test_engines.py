"""Opening targets: what is not there to be opened says so, and what to do."""

import random
from pathlib import Path

import pytest

from domain.target import TargetSpec
from reconcilers.ports import EngineUnavailable
from stateward.engines import Opener


async def test_a_cluster_that_is_not_written_to_is_a_target_that_does_not_answer(
    tmp_path: Path,
) -> None:
    opener = Opener(tmp_path, "11111111-aaaa", now=lambda: 0.0, rng=random.Random(1))
    with pytest.raises(EngineUnavailable, match="move its apps to another target"):
        await opener("prod", TargetSpec(engine="k8s"))
