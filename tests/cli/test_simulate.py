"""`stateward simulate`: what it says, how it ends, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bus import exports
from bus.log import Head
from reconcilers.removal import Remover
from stateward.cli.app import app
from tests.support.histories import played

QUICK = ("--minutes", "2", "--faults")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *words], prog_name="stateward")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    events = played([])
    first = exports.header("an-installation", Head(events[-1].position, b""), len(events))
    file = tmp_path / "export.jsonl"
    file.write_bytes(b"".join(exports.write(first, events)))
    return file


def test_a_summary_tells_how_much_was_simulated_and_what_went_wrong_in_it() -> None:
    result = run("--seeds", "2", *QUICK, "bus-delay=0.5")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 worlds, ")
    assert "bus-delay" in result.stdout
    assert "Nothing that must hold was broken." in result.stdout


def test_two_processes_live_through_the_same_worlds_as_one() -> None:
    def fired(*words: str) -> object:
        return json.loads(run("--seeds", "2", *QUICK, "bus-delay", "-o", "json", *words).stdout)[
            "fired"
        ]

    assert fired("--jobs", "2") == fired()


def test_what_breaks_is_summed_up_told_and_can_be_seen_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def remove(_self: Remover, _removal: object, _view: object) -> str:
        return "nothing is left of it"

    monkeypatch.setattr(Remover, "remove", remove)
    world = ("--minutes", "6", "--faults", "none", "--tries", "0")
    tried = (run("--seed", str(seed), *world) for seed in range(1, 30))
    seed, result = next((n, r) for n, r in enumerate(tried, start=1) if r.exit_code)
    assert result.exit_code == 1, result.output
    assert "BROKEN" in result.stdout
    assert f"  stateward simulate --seed {seed} --faults none" in result.stdout
    facts = json.loads(run("--seed", str(seed), *world, "-o", "json").stdout)
    assert facts["failure"]["invariant"] == facts["violations"][0]["invariant"]
    assert facts["failure"]["command"].endswith("--trace")


def test_a_trace_is_all_that_happens() -> None:
    result = run("--trace", "--seed", "5", *QUICK, "none")
    assert result.exit_code == 0
    assert "0.000 life-1: begins at position 0" in result.stdout


def test_a_history_is_where_a_world_begins(exported: Path) -> None:
    result = run("--history", str(exported), "--trace", *QUICK, "none")
    assert result.exit_code == 0, result.output
    assert f"life-1: begins at position {len(played([]))}" in result.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--faults", "gremlins"], "'gremlins' is no fault"),
        (["--faults", "bus-loss=often"], "often"),
        (["--faults", "bus-loss=-1"], "from 0 on"),
        (["--faults", "bus-loss=nan"], "from 0 on"),
        (["--faults", "bus-loss=3"], "from 0 to 1"),
        (["--seeds", "0"], "--seeds"),
        (["--trace", "--seeds", "2"], "one world"),
        (["-o", "yaml"], "table or -o json"),
        (["--history", "/no/such/file"], "No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], why: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert why in result.stderr


def test_a_damaged_history_is_refused_by_its_line(exported: Path) -> None:
    whole = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(b"".join([*whole[:2], b"{oh no\n", *whole[3:]]))
    result = run("--history", str(exported))
    assert result.exit_code == 2
    assert "line 3: the line is damaged" in result.stderr
