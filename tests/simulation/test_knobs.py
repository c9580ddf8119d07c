"""Each knob alone does what it says."""

import pytest

from simulation import seeds
from simulation.knobs import Fault


@pytest.mark.parametrize(("fault", "rate"), [(Fault.CRASH_TWICE, 0.02), (Fault.OLDER_RELEASE, 0.3)])
def test_a_knob_needs_no_other(fault: Fault, rate: float) -> None:
    outcome = seeds.run(1, {fault: rate}, minutes=10.0)
    assert set(outcome.fired) == {fault}
    assert not outcome.violations
