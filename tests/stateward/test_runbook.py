"""The runbook knows every reason that a condition can have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.names import KINDS
from reconcilers.status import CONDITIONS

ROOT = Path(__file__).parents[2]
TELLERS = ("reconcilers", "gateway", "adapters/k8s")
RUNBOOK = (ROOT / "docs" / "how-to" / "operate.md").read_text()
CLUSTER_KINDS = {"Deployment", "Event"}  # which stand first in a pair, too
NO_REASONS = {*CONDITIONS, *KINDS, *CLUSTER_KINDS, "Deleting", "True", "False", "Unknown"}
CALLS = {"Condition", "_claim", "claim", "condition", "Cause"}


def reasons() -> Iterator[str]:
    """PascalCase constants that stand where a condition is made, or pairs (reason, sentence)."""
    for folder in TELLERS:
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                for text in _spoken(node):
                    if re.fullmatch(r"[A-Z][a-z]+(?:[A-Z][a-z]+)*", text):
                        yield text


def _spoken(node: ast.AST) -> Iterator[str]:
    inside: list[ast.expr] = []
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in CALLS:
            inside = [*node.args, *(one.value for one in node.keywords if one.arg == "reason")]
    elif isinstance(node, ast.Tuple) and len(node.elts) == 2:
        inside = node.elts[:1]
    yield from (n.value for n in inside if isinstance(n, ast.Constant) and isinstance(n.value, str))


def test_the_search_finds_reasons_of_each_sort() -> None:
    assert {"AllReplicasReady", "CrashLoop", "LogRewound"} <= set(reasons())


@pytest.mark.parametrize("reason", sorted(set(reasons()) - NO_REASONS))
def test_the_runbook_says_what_to_do_about_a_reason(reason: str) -> None:
    assert f"`{reason}`" in RUNBOOK
