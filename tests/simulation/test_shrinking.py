"""A planted bug is found, made small, told in sentences, and brought back by its command."""

import shlex
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from domain.names import Ref
from reconcilers.removal import Remover
from simulation import knobs, seeds
from simulation.invariants.violations import Invariant, Violation
from simulation.knobs import Fault
from simulation.shrinking import Case
from simulation.telling import LINES, story
from stateward import simulating
from stateward.cli.app import app
from stateward.simulating import Chosen

RATES = {
    Fault.REPLICA_KILLED: 2.0,
    Fault.BUS_DELAY: 0.1,
    Fault.LOG_SLOW_SYNC: 0.05,
    Fault.ENGINE_EVENT_LOSS: 0.1,
}


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A remover that takes nothing away, whatever was deleted."""

    async def remove(_self: Remover, removal: object, view: object) -> str:
        return "nothing is left of it"

    monkeypatch.setattr(Remover, "remove", remove)
    yield
    monkeypatch.undo()


@pytest.fixture
def seed(bug: None) -> int:
    """A seed whose people delete an app soon."""
    for number in range(1, 30):
        if seeds.run(number, RATES, minutes=6).violations:
            return number
    raise AssertionError("no seed of thirty deletes an app")


def test_a_failing_world_is_made_small_and_told_and_comes_back(seed: int) -> None:
    failure = simulating.explained(Chosen(minutes=6, faults=RATES), seed, tries=6)
    assert len(failure.case.rates) < len(RATES)
    assert failure.case.minutes <= 6
    assert len(failure.story) <= LINES
    broken = f"BROKEN: {failure.violation.invariant}: "
    assert any(broken in line for line in failure.story)
    words = shlex.split(failure.command)
    assert words[:2] == ["stateward", "simulate"]
    again = CliRunner().invoke(app, words[1:], prog_name="stateward")
    assert again.exit_code == 1
    assert f"VIOLATION: {failure.violation.invariant}: {failure.violation.what}" in again.output


def test_the_command_says_all_that_decides_a_world() -> None:
    case = Case(seed=42, rates={Fault.BUS_LOSS: 0.1, Fault.LOG_AWAY: 0.25}, minutes=7.0, apps=2)
    words = shlex.split(simulating.command(Chosen(), case))
    assert words[2:] == [
        "--seed", "42", "--faults", "bus-loss=0.1,log-away=0.25", "--minutes", "7",
        "--apps", "2", "--trace",
    ]  # fmt: skip
    assert knobs.named(words[5]) == case.rates


def test_a_story_leaves_out_what_is_of_others_and_stays_short() -> None:
    about = Ref("App", "shop", "web")
    trace = [f"{n}.000 life-1: local start shop/web r{n}.0.1 of {'x' * n}" for n in range(100)]
    trace += ["200.000 life-1: local start blog/web r1.0.1", "201.000 log-away: for a while"]
    trace += [f"202.000 VIOLATION: all is well: {about} is not"]
    violation = Violation(Invariant.CLEAN, f"{about} is", 1.0)
    told = story(trace, violation)
    assert len(told) == LINES
    assert "blog/web" not in "\n".join(told)
    assert "fault log-away befalls for a while" in told[-2]
    assert told[-1].endswith("BROKEN: all is well: shop/web is not")
