"""The generated reference: fresh, complete, and the same wherever it is made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from domain.events import REGISTRY
from domain.intents import VERBS
from domain.names import KINDS
from stateward import docs
from stateward.reference import happenings, kinds, markdown, running, speaking


@pytest.mark.parametrize("name", docs.PAGES)
def test_each_page_of_the_reference_is_as_the_code_is(name: str) -> None:
    written = (docs.DIRECTORY / name).read_text()
    assert written == docs.PAGES[name](), f"docs/reference/{name} is stale; run 'make docs'"


def test_the_folder_of_the_reference_holds_generated_pages_only() -> None:
    assert {path.name for path in docs.DIRECTORY.iterdir()} == set(docs.PAGES)


def test_another_process_with_another_terminal_and_order_of_sets_finds_it_fresh() -> None:
    surroundings = {**os.environ, "PYTHONHASHSEED": "7", "COLUMNS": "40", "LANG": "C"}
    checked = subprocess.run(
        [sys.executable, "-m", "stateward.docs", "--check"],
        cwd=docs.DIRECTORY.parent.parent,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    docs.write(tmp_path, deployed(tmp_path))
    return tmp_path


def deployed(written: Path) -> Path:
    """Beside the pages, of which it is none."""
    return written.parent / f"{written.name}-deployed"


def test_a_check_of_what_was_just_written_passes(written: Path) -> None:
    assert docs.main(["--check"], written, deployed(written)) == 0


def test_what_a_cluster_has_to_grant_is_as_the_code_is(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = deployed(written) / "cluster-roles.yaml"
    roles.write_text(roles.read_text().replace("- delete\n", "", 1))
    assert docs.main(["--check"], written, deployed(written)) == 1
    assert "cluster-roles.yaml is stale" in capsys.readouterr().err


def test_a_check_names_the_stale_file_and_changes_nothing(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = written / "kinds.md"
    page.write_text(page.read_text() + "and more\n")
    assert docs.main(["--check"], written, deployed(written)) == 1
    assert "kinds.md is stale" in capsys.readouterr().err
    assert page.read_text().endswith("and more\n")


def test_a_missing_page_and_a_page_too_many_are_stale(written: Path) -> None:
    (written / "events.md").unlink()
    (written / "yesterday.md").write_text("gone")
    stale = docs.stale(written, deployed(written))
    assert [path.name for path in stale] == ["events.md", "yesterday.md"]


def test_every_kind_event_and_verb_has_its_place() -> None:
    page = kinds.kinds()
    assert [kind for kind in KINDS if f"## {kind}\n" not in page] == []
    page = happenings.events()
    assert [kind for kind in REGISTRY if f"### {kind}\n" not in page] == []
    page = happenings.intents()
    assert [verb for verb in VERBS if f"| `{verb}` |" not in page] == []


def test_every_refusal_says_when_it_is_given() -> None:
    page = happenings.intents()
    assert [line for line in page.splitlines() if line.endswith("|  |") and "`4" in line] == []
    assert "| `LogFull` | 507 | yes |" in page


def test_every_metric_has_words_and_the_name_that_queries_use() -> None:
    page = running.metrics()
    assert "| `stateward_reconcile_total` | counter | `kind`, `result` |" in page
    assert "stateward_heal_duration_seconds_bucket" in running.names()
    assert "stateward_log_rewound" in running.names()
    assert [
        line for line in page.splitlines() if line.startswith("| `") and "|  |" in line[-5:]
    ] == []


def test_durations_among_settings_are_written_as_they_would_be_given() -> None:
    page = running.settings()
    assert "| `replay.interval` | *duration* | `10s` |" in page
    assert "| `nats.password` | *secret text* |" in page


def test_the_subjects_name_who_may_use_them() -> None:
    page = speaking.subject_page()
    assert "`stateward.v1.intent.{actor}.{project}.{kind}.{name}`" in page
    assert "`_INBOX.ci.>`" in page


def test_a_pipe_inside_a_cell_stays_inside() -> None:
    assert markdown.table(["a"], [["x|y\nz"]]).splitlines()[-1] == "| x\\|y z |"
