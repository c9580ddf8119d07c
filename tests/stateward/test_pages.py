"""Pages name files, links and examples that are there."""

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from bus import manifests

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("*/README.md"), *(ROOT / "docs").rglob("*.md")])
A_PATH = re.compile(r"`((?:[a-z_]+/)+[\w.-]+\.(?:py|md|yaml|json))`")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    words = re.sub(r"`[^`\n]*`", "", page.read_text())  # a pattern in code is no link
    links = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", words)
    ours = [link for link in links if "://" not in link]
    assert [link for link in ours if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_are_named_exist(page: Path) -> None:
    found = A_PATH.findall(page.read_text())
    assert [p for p in found if not (ROOT / p).exists() and not (page.parent / p).exists()] == []


@pytest.mark.parametrize("decision", sorted((ROOT / "docs" / "decisions").glob("0*.md")), ids=named)
def test_a_decision_is_short_and_says_what_would_change_it(decision: Path) -> None:
    text = decision.read_text()
    assert len(text.splitlines()) <= 40
    assert "Would change our mind" in text


@pytest.mark.parametrize("name", ["shop.yaml", "shop-docker.yaml"])
def test_an_example_is_a_manifest(name: str) -> None:
    documents = yaml.safe_load_all((ROOT / "examples" / name).read_text())
    read = [manifests.read(msgspec.json.encode(one)) for one in documents]
    assert read[-1].ref.kind == "App"
