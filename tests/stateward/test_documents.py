"""Reading YAML: what it means, and where its faults are."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.documents import MAX_BYTES, BadDocument, read_bytes

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63) | st.text("abc: -#'\"\n{}é", max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc "), inner, max_size=4),
    max_leaves=20,
)


@given(value=JSON_VALUES)
def test_json_is_read_as_json(value: Any) -> None:
    [document] = read_bytes(json.dumps(value).encode(), "f")
    assert document.value == value


def test_words_mean_what_they_say() -> None:
    text = b"a: no\nb: 12:30\nc: 2030-01-01\nd: .inf\ne: '5'\nf: 0x1F\ng: 1e3\nh:\ni: true\nj: on"
    [document] = read_bytes(text, "f")
    expected: dict[str, Any] = {"a": "no", "b": "12:30", "c": "2030-01-01", "d": ".inf", "e": "5"}
    expected |= {"f": 31, "g": 1000.0, "h": None, "i": True, "j": "on"}
    assert document.value == expected


def test_a_number_of_a_variable_is_the_text_that_was_written() -> None:
    written = ("3.10", "010", "1e3", "0x1F", "+5", "1_0", "12345678901234567890.0")
    env = "".join(f"    V{number}: {text}\n" for number, text in enumerate(written))
    text = (
        f"spec:\n  replicas: &n 010\n  env:\n{env}    N: *n\n    B: true\n    A: &a 2.50\n  x: *a\n"
    )
    [document] = read_bytes(text.encode(), "f")
    read = document.value["spec"]
    assert [read["env"][f"V{number}"] for number in range(len(written))] == list(written)
    assert (read["replicas"], read["env"]["N"], read["x"], read["env"]["A"]) == (
        10,
        "010",
        2.5,
        "2.50",
    )
    assert read["env"]["B"] is True


def test_documents_are_counted_with_the_empty_ones_left_out() -> None:
    found = read_bytes(b"a: 1\n---\n---\n# nothing\n---\nb: 2\n", "f")
    assert [(d.number, d.line, d.value) for d in found] == [(1, 1, {"a": 1}), (4, 6, {"b": 2})]


def test_merge_keys_give_what_is_not_given() -> None:
    [document] = read_bytes(b"x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", "f")
    assert document.value["y"] == {"a": 1, "b": 3}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: 1\nb: {c: 1,\n  c: 2}", "f:3:3: the key 'c' is already given on line 2"),
        (b"a: [1", "f:"),
        (b"a: b: c", "f:1:5: mapping values are not allowed"),
        (b"x: !!python/object:os.system ls", "f:1:4: the tag"),
        (b"a: &a [*a]", "f:1:8: the alias *a"),
        (b"a: *b", "f:1:4: the alias *b"),
        (b"ok: 1\nx: \xff", "f:2: not UTF-8"),
        (b"ok: 1\nx: \x07", "f:2: the character U+0007"),
        (b"[" * 100, "f:1:66: it nests deeper than 64 levels"),
        (b"? [a]\n: b", "f:1:3: a key is one word"),
        (b" " * (MAX_BYTES + 1), "f: larger than 10 MiB"),
    ],
)
def test_a_fault_is_shown_with_its_line_and_column(text: bytes, said: str) -> None:
    with pytest.raises(BadDocument) as refused:
        read_bytes(text, "f")
    assert str(refused.value).startswith(said)


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(BadDocument, match="aliases repeat more than 100000 values"):
        read_bytes("\n".join(lines).encode(), "f")


def test_a_value_is_found_again_by_the_keys_that_lead_to_it() -> None:
    document = read_bytes(b"a: 1\n---\nspec:\n  ports:\n  - name: x\n    port: 99\n", "f")[1]
    assert document.place(("spec", "ports", 0, "port")) == "f:6:5"
    assert document.place(("spec", "absent")) == "f:3:1"
    assert document.place() == "f:3"
