"""Words in and out: how resources are named, how text is made harmless, the reference."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.names import Ref
from stateward.cli.comparing import difference
from stateward.cli.reference import markdown
from stateward.cli.resources import Named, parse, short
from stateward.cli.text import clean, clean_lines, clean_log
from stateward.cli.times import span, stamp
from stateward.cli.trouble import BadUse
from tests.support.intents import NOON


@given(text=st.text())
def test_no_text_keeps_a_character_that_steers_a_terminal(text: str) -> None:
    shown = clean(text)
    assert all(unicodedata.category(char) not in {"Cc", "Cf", "Cs"} for char in shown)
    assert clean(shown) == shown


@given(text=st.text("ab \u00e4\u6f22-_/.:"))
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == clean_lines(text) == clean_log(text) == text


def test_a_log_line_keeps_its_colours_and_nothing_else() -> None:
    assert clean_log("\x1b[31mred\x1b[0m \x1b[2Jx") == "\x1b[31mred\x1b[0m \\x1b[2Jx\x1b[0m"
    assert clean_log("a\tb") == "a\tb"


@given(
    kind=st.sampled_from(["App", "Secret"]),
    project=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    name=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
def test_what_is_printed_can_be_typed(kind: str, project: str, name: str) -> None:
    ref = Ref(kind, project, name)
    for word in (str(ref), short(ref, with_project=True)):
        assert parse([word]) == [Named(kind, name, project)]
    assert parse([short(ref)]) == [Named(kind, name)]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["apps"], [Named("App")]),
        (["app", "a", "b"], [Named("App", "a"), Named("App", "b")]),
        (["App/a", "target/b"], [Named("App", "a"), Named("Target", "b")]),
        (["apps,secrets"], [Named("App"), Named("Secret")]),
        (["proj", "shop"], [Named("Project", "shop")]),
    ],
)
def test_resources_are_named_in_many_ways(words: list[str], named: list[Named]) -> None:
    assert parse(words) == named


@pytest.mark.parametrize(
    "words", [[], ["x"], ["a/b/c/d"], ["app/"], ["app", "app/x"], ["target/a/b"]]
)
def test_words_that_name_nothing_are_refused(words: list[str]) -> None:
    with pytest.raises(BadUse):
        parse(words)


def test_an_app_verb_needs_no_kind() -> None:
    assert parse(["web"], kinds=("App",), default="App") == [Named("App", "web")]
    with pytest.raises(BadUse, match="for app resources"):
        parse(["secret", "x"], kinds=("App",), default="App")


def test_spans_and_stamps_are_short() -> None:
    assert [span(NOON - NOON), stamp(None, NOON)] == ["0s", "-"]
    later = NOON.replace(day=4, hour=16, minute=5)
    assert span(later - NOON) == "3d4h"


def test_a_comparison_of_secrets_never_shows_a_value() -> None:
    before = {"kind": "Secret", "metadata": {"name": "db"}, "spec": {"keys": ["pw"], "version": 1}}
    after = {**before, "spec": {"data": {"pw": "hunter2", "user": "me"}, "version": 2}}
    lines = [line for line, _ in difference("Secret/shop/db", before, after)]
    assert "+    user: '***'" in lines
    assert "hunter2" not in str(lines)
    assert difference("Secret/shop/db", before, {**before, "status": {"x": 1}}) == []


def test_the_reference_has_every_verb_and_is_the_same_each_time() -> None:
    page = markdown()
    assert page == markdown()
    for heading in ("## stateward apply", "### stateward rollout undo", "### stateward secret set"):
        assert f"\n{heading}\n" in page
    assert "`-o`, `--output` table\\|wide\\|json\\|yaml\\|name" in page
    assert "`stateward VERB --help`" in page
