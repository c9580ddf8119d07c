"""Every seeded bug is caught within its budget of seeds, and what is sound is not."""

import pytest

from tests.simulation import starving
from tests.simulation.mutants import BUDGET, MUTANTS, Mutant, hunt


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_seeded_bug_is_caught(mutant: Mutant) -> None:
    catch = hunt(mutant)
    assert catch is not None, f"{mutant.name} lived through {BUDGET} seeds"


def test_a_fresh_intent_waits_for_no_replay_tick() -> None:
    assert starving.wait_of_a_fresh_intent() <= starving.PROMPT_SECONDS
