"""The dashboard and the alert rules: they speak of metrics that exist, and the rules do as told."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stateward.reference import running
from tests.support.requirements import find_program

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
ROOT = MONITORING.parents[1]
GROUPS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
TESTED = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]


def metrics_in(text: str) -> set[str]:
    return set(re.findall(r"\bstateward_\w+", text))


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_metrics_that_exist(rule: dict[str, Any]) -> None:
    assert metrics_in(rule["expr"]) <= running.names()


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    asked = metrics_in(" ".join(queries()))
    assert len(asked) > 20
    assert asked <= running.names()


def test_the_dashboard_leaves_out_no_metric() -> None:
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in running.names()}
    shown = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in metrics_in(json.dumps(DASHBOARD))
    }
    assert families - shown == set()


def test_worlds_in_the_rules_tests_are_of_metrics_that_exist() -> None:
    series = " ".join(one["series"] for test in TESTED for one in test["input_series"])
    assert metrics_in(series) <= running.names()


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_leads_to_a_page_that_says_what_to_do(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook"].partition("#")
    heads = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_tested_to_fire_and_to_keep_quiet(rule: dict[str, Any]) -> None:
    fires = {
        bool(asked["exp_alerts"])
        for test in TESTED
        for asked in test["alert_rule_test"]
        if asked["alertname"] == rule["alert"]
    }
    assert fires == {True, False}


@pytest.mark.needs("promtool")
@pytest.mark.parametrize(
    "words",
    [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]],
    ids=" ".join,
)
def test_prometheus_finds_the_rules_right(words: list[str]) -> None:
    program = find_program("promtool")
    assert program is not None
    done = subprocess.run(
        [str(program), *words], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
