"""What stays is taken from the collector's view, whose looks would stop the event loop."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from stateward.collecting import imported, seldom, uncollected


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_was_made_meanwhile_is_not_looked_through_again() -> None:
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        made = [[number] for number in range(1_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


async def test_a_module_is_imported_once_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "takes_its_time.py").write_text("KEPT = [[number] for number in range(1_000)]")
    monkeypatch.syspath_prepend(tmp_path)
    before = gc.get_freeze_count()
    module = await imported("takes_its_time")
    frozen = gc.get_freeze_count()
    assert frozen >= before + len(module.KEPT)
    made_later = [[number] for number in range(1_000)]
    assert await imported("takes_its_time") is module
    assert gc.get_freeze_count() <= frozen, f"{len(made_later)} others are none of it"


def test_the_young_are_looked_through_seldom_while_it_is_served() -> None:
    rounds, before = gc.get_stats()[0]["collections"], gc.get_threshold()
    with seldom():
        made = [[number] for number in range(9_000)]
        assert gc.get_stats()[0]["collections"] <= rounds + 1, f"for {len(made)} objects"
    assert gc.get_threshold() == before
