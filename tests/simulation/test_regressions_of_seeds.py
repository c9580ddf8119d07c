"""Every seed that ever broke something holds: `make soak` adds them, whoever mends one keeps it."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import soak
from simulation import seeds
from simulation.knobs import Fault
from stateward.simulating import Broke, Chosen, Lived

FILE = Path(__file__).with_name("regressions.json")
ENTRIES: list[dict[str, Any]] = json.loads(FILE.read_text())
CALM: dict[str, Any] = {"name": "a calm world", "seed": 1, "faults": {}, "minutes": 1, "what": ""}


@pytest.mark.parametrize("entry", [CALM, *ENTRIES], ids=lambda entry: str(entry["name"]))
def test_a_seed_that_broke_something_holds(entry: dict[str, Any]) -> None:
    rates = {Fault(name): rate for name, rate in entry["faults"].items()}
    there = {name: entry.get(name, False) for name in ("clusters", "routes", "keeps")}
    workers = entry.get("workers", 1)
    outcome = seeds.run(entry["seed"], rates, minutes=entry["minutes"], workers=workers, **there)
    assert not outcome.violations, f"it was: {entry['what']}"


def test_names_of_regressions_are_unique() -> None:
    names = [entry["name"] for entry in ENTRIES]
    assert len(set(names)) == len(names)


def test_a_failing_seed_becomes_a_regression_once(tmp_path: Path) -> None:
    file = tmp_path / "regressions.json"
    file.write_text("[]")
    broke = Broke("all is well", "it is not", 1.0)
    lived = Lived(seed=7, digest="", violations=[broke], fired={}, seconds=1.0, cpu=1.0)
    for _ in range(2):
        soak.remember(Chosen(minutes=3.0), [lived], file)
    [entry] = json.loads(file.read_text())
    assert (entry["name"], entry["seed"], entry["minutes"]) == ("seed 7: all is well", 7, 3.0)
    assert {Fault(name): rate for name, rate in entry["faults"].items()} == seeds.rates_of(7, None)


def test_a_soak_fails_when_a_fault_never_took_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "regressions.json"
    file.write_text("[]")
    code = soak.main(["--seconds", "0", "--jobs", "1"], file)
    assert code == 1
    assert "These never took effect" in capsys.readouterr().out
