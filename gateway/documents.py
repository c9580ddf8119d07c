"""YAML documents, read strictly into values that JSON can hold.

Every error names file, line and column. A repeated key, a tag, a bomb of aliases and a number
that JSON lacks are refused, and words mean what they say: only `true` and `false` are booleans,
`no` and `12:30` stay text (YAML 1.2), because a manifest must mean the same to every reader. A
number that is the value of a variable becomes text as it is written: `3.10`, not 3.1.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import yaml

MAX_BYTES: Final = 10 << 20  # of one file
MAX_DEPTH: Final = 64
MAX_REPEATED: Final = 100_000  # values that aliases may repeat in one file

type Value = Any
type Way = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

type Places = dict[Way, tuple[int, int]]

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_STR_TAGS = (None, "!", "tag:yaml.org,2002:str")


class BadDocument(Exception):
    """A file cannot be read as YAML or JSON; the message begins with `file:line:column`."""

    def __init__(self, name: str, reason: str, line: int = 0, column: int = 0) -> None:
        place = ":".join(str(part) for part in (name, line, column) if part)
        super().__init__(f"{place}: {reason}")
        self.place, self.reason, self.line, self.column = place, reason, line, column


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. `number` and `line` count from 1."""

    file: str
    number: int
    line: int
    value: Value
    text: str = field(default="", repr=False, compare=False)

    def place(self, way: Way = ()) -> str:
        """`file:line:column` of a value, or of the nearest one around it that is written there."""
        line, column = self.position(way)
        return f"{self.file}:{line}:{column}" if column else f"{self.file}:{line}"

    def position(self, way: Way) -> tuple[int, int]:
        """Line and column of a value, or of the nearest one around it that is written there.

        Reads the file's text again: errors are rare, and remembering every place costs memory.
        """
        places: Places = {}
        composer = _Composer(self.file, self.text, places, self.number)
        for document in composer.documents():
            if document.number == self.number:
                break
        for length in range(len(way), 0, -1):
            found = places.get(way[:length])
            if found:
                return found
        return self.line, 0


def read_file(path: Path) -> list[Document]:
    """Read all documents of a file; empty ones are left out.

    Raises:
        BadDocument: it is too large, not UTF-8 or not YAML.
        OSError: it cannot be read at all.
    """
    with path.open("rb") as file:
        return read_bytes(file.read(MAX_BYTES + 1), str(path))


def read_bytes(data: bytes, name: str) -> list[Document]:
    """Read all documents of `data`, which came from a file called `name`.

    Raises:
        BadDocument: it is too large, not UTF-8 or not YAML.
    """
    if len(data) > MAX_BYTES:
        raise BadDocument(name, f"larger than {MAX_BYTES >> 20} MiB; split it into several files")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadDocument(name, "not UTF-8 text; save it as UTF-8", line) from None
    try:
        return list(_Composer(name, text).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise BadDocument(name, reason or "not YAML", line, column) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"the character U+{error.character:04X} is not allowed in YAML"
        raise BadDocument(name, reason, line) from None


class _Anchored(NamedTuple):
    """What an alias repeats: so many values, and of a number how it is written."""

    value: Value
    size: int
    source: str | None


class _Composer:
    """Builds values from the parser's events."""

    def __init__(
        self, name: str, text: str, places: Places | None = None, place_in: int = 0
    ) -> None:
        self._name = name
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, _Anchored] = {}
        self._places = places
        self._place_in = place_in
        self._number = 0
        self._made = 0
        self._repeated = 0

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            self._anchors = {}
            self._number += 1
            first: Any = next(self._events)
            value = self._value(first, ())
            if value is not None:
                yield Document(self._name, self._number, _at(first)[0], value, self._text)

    def _value(self, event: Any, way: Way) -> Value:
        self._made += 1
        if len(way) > MAX_DEPTH:
            self._refuse(event, f"it nests deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, way)
        made_before = self._made
        source: str | None = None
        if isinstance(event, yaml.ScalarEvent):
            value: Value = self._scalar(event)
            source = str(event.value) if _is_number(value) else None
        elif event.tag not in (None, "!"):
            self._refuse(event, f"the tag {event.tag!r} is not known here")
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(way)
        else:
            value = self._mapping(way)
        if event.anchor:
            self._anchors[event.anchor] = _Anchored(value, self._made - made_before + 1, source)
        return source if source is not None and _is_variable(way) else value

    def _alias(self, event: Any, way: Way) -> Value:
        known = self._anchors.get(event.anchor)
        if known is None:
            self._refuse(event, f"the alias *{event.anchor} refers to nothing complete before it")
        self._made += known.size
        self._repeated += known.size
        if self._repeated > MAX_REPEATED:
            self._refuse(event, f"aliases repeat more than {MAX_REPEATED} values; write them out")
        return known.source if known.source is not None and _is_variable(way) else known.value

    def _sequence(self, way: Way) -> list[Value]:
        values: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*way, len(values))
            self._mark(here, event)
            values.append(self._value(event, here))
        return values

    def _mapping(self, way: Way) -> dict[str, Value]:
        values: dict[str, Value] = {}
        merged: list[Value] = []
        lines: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            here = (*way, key)
            if key in lines:
                self._refuse(event, f"the key {key!r} is already given on line {lines[key]}")
            lines[key] = _at(event)[0]
            self._mark(here, event)
            value = self._value(next(self._events), here)
            if key == "<<" and event.implicit[0]:
                merged += self._merged(event, value)
            else:
                values[key] = value
        for source in merged:
            values = {**source, **values}
        return values

    def _key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._refuse(event, "a key is one word or text")
        return str(event.value)

    def _merged(self, event: Any, value: Value) -> Sequence[Value]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            self._refuse(event, "<< merges mappings, and this is none")
        return sources

    def _scalar(self, event: Any) -> Value:
        text = str(event.value)
        if event.tag not in _STR_TAGS:
            self._refuse(event, f"the tag {event.tag!r} is not known here")
        return _plain(text) if event.implicit[0] else text

    def _mark(self, way: Way, event: Any) -> None:
        if self._places is not None and self._number == self._place_in:
            self._places[way] = _at(event)

    def _refuse(self, event: Any, reason: str) -> NoReturn:
        raise BadDocument(self._name, reason, *_at(event))


def _is_variable(way: Way) -> bool:
    """Whether a value is that of a variable of an App; programs read those as text."""
    return way[-3:-1] == ("spec", "env")


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _plain(text: str) -> Value:
    """What a word without quotes means: YAML's core schema, without what JSON cannot hold."""
    if _NULL.fullmatch(text):
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) <= 32 and _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if len(text) <= 32 and _FLOAT.fullmatch(text):
        number = float(text)
        return number if abs(number) != float("inf") else text
    return text
