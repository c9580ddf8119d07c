"""What nobody can mean comes in on every way, and is refused by the control plane itself."""

from unittest.mock import patch

import pytest

from simulation import seeds
from simulation.invariants.violations import Invariant
from simulation.knobs import Fault


@pytest.mark.parametrize("fault", [Fault.INTENT_MALFORMED, Fault.INTENT_HUGE])
def test_nonsense_is_refused_wherever_it_comes_in(fault: Fault) -> None:
    outcome = seeds.run(1, {fault: 1.0}, minutes=5.0)
    assert set(outcome.fired) == {fault}
    assert not outcome.violations


def test_a_control_plane_that_breaks_on_nonsense_is_found() -> None:
    with patch("bus.nats.reception.Reception.read", side_effect=RecursionError("too deep")):
        outcome = seeds.run(1, {Fault.INTENT_HUGE: 5.0}, minutes=3.0)
    assert Invariant.ALIVE in {one.invariant for one in outcome.violations}
