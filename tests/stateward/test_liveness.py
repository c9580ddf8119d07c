"""Which silence of a loop means that the process should be started again."""

import pytest

from stateward.liveness import liveness
from stateward.settings import Reconcile, Replay

BEGAN = {"replay": 0.0, "tail": 0.0, "passes": 0.0}


def failed(
    progress: dict[str, float], oldest: float | None, now: float, *, tail: str = "2s"
) -> list[str]:
    """The checks that fail; a pass may take 60 s, and the replay tick comes every 10 s."""
    found = list(
        liveness(
            progress,
            oldest,
            now,
            replay=Replay(),
            reconcile=Reconcile.model_validate({"tail": tail}),
        )
    )
    assert all(check.vital for check in found)
    return [check.name for check in found if not check.passed]


@pytest.mark.parametrize(
    ("progress", "oldest", "now", "late"),
    [
        ({}, None, 1000.0, []),
        (BEGAN, None, 60.0, []),
        (BEGAN, None, 70.0, ["tail"]),
        (BEGAN, None, 200.0, ["replay", "tail"]),
        (BEGAN | {"replay": 1000.0, "tail": 1000.0}, None, 1000.0, []),
        (BEGAN | {"replay": 1000.0, "tail": 1000.0}, 0.0, 1000.0, ["passes"]),
        (BEGAN | {"replay": 1000.0, "tail": 1000.0}, 900.0, 1000.0, []),
        ({"replay": 1000.0, "tail": 1000.0, "passes": 900.0}, 0.0, 1000.0, []),
    ],
    ids=[
        "not started",
        "young",
        "the tail hangs",
        "all hang",
        "nothing to do for long",
        "work and no pass",
        "work that is new",
        "work that waits behind other work",
    ],
)
def test_a_loop_that_has_work_and_makes_no_progress_is_found(
    progress: dict[str, float], oldest: float | None, now: float, late: list[str]
) -> None:
    assert failed(progress, oldest, now) == late


def test_a_tail_that_was_switched_off_is_not_missed() -> None:
    assert failed(BEGAN | {"replay": 1000.0}, None, 1000.0, tail="0s") == []
