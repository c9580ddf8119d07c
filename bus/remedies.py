"""What to do about a value that a schema refuses: each rule is told with its remedy.

By the kind of fault, or by kind and field where that field has a better answer. What our own
validators say (`domain.schema`) names its remedy already and is told as it is.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

_INDEX: Final = re.compile(r"\[\d+\]")
_KINDS: Final[Mapping[str, str]] = {
    "less_than_equal": "write {le} or less",
    "greater_than_equal": "write {ge} or more",
    "int_type": "write a whole number, without quotes",
    "int_from_float": "write a whole number",
    "bool_type": "write true or false, without quotes",
    "string_type": "write one text; quote what else would be a number, true, false or null",
    "tuple_type": "write a list: [a, b], or one `- ` line for each item",
    "dict_type": "write one `NAME: VALUE` line for each",
    "dataclass_type": "write its fields below it, one `NAME: VALUE` line for each",
    "string_too_long": "shorten it to {max_length} characters",
    "string_too_short": "write something, or leave it out",
    "too_long": "leave out all but {max_length}",
    "too_short": "give at least {min_length}",
    "literal_error": "choose one of these",
    "missing": "add it",
}
_FIELDS: Final[Mapping[tuple[str, str], str]] = {
    ("less_than_equal", "replicas"): "run the rest as a second app",
    ("greater_than_equal", "replicas"): "write 0 for none, or leave it out to keep what there is",
    ("less_than_equal", "port"): "write a number from 1 to 65535",
    ("greater_than_equal", "port"): "write a number from 1 to 65535",
    ("tuple_type", "command"): "write a list, a word an item: [sh, -c, 'echo hello']",
    ("tuple_type", "args"): "write a list, a word an item: [--port, '80']",
    ("tuple_type", "argv"): "write a list, a word an item: [test, -e, /ready]",
    ("string_too_long", "env"): "keep long settings in a file of the image or a volume",
    ("too_long", "env"): "keep so many settings in a file of the image or a volume",
    ("too_long", "ports"): "open fewer, or make it several apps",
    ("too_long", "volumes"): "use folders of fewer volumes, or make it several apps",
}
_PATTERNS: Final[Mapping[str, str]] = {
    "image": "it is no name of an image; write [HOST/]NAME[:TAG] or NAME@sha256:DIGEST",
    "workdir": "it is no absolute path; begin it with /",
    "path": "it is no absolute path; begin it with /",
    "stopSignal": "it is no signal; write its whole name, as SIGTERM or SIGINT",
    "host": "it is no address of a daemon; write unix:///PATH, tcp://HOST:PORT or https://HOST:PORT",
    "command": "it holds a NUL character, which no argument can; take it out",
    "args": "it holds a NUL character, which no argument can; take it out",
    "argv": "it holds a NUL character, which no argument can; take it out",
    "header": "it names no header; write letters, digits and -, as X-Feature",
    "value": "a header has visible ASCII characters, with spaces only between them; escape others",
    "key": "it holds a NUL character; take it out",
}
_VARIABLE: Final = "it names no variable; write letters, digits and _, and no digit first"
_VALUE: Final = "it holds a NUL character, which no variable can; encode it, as base64"


def explained(
    fault: ErrorDetails, path: str, nearest: Callable[[str, tuple[str, ...]], str | None]
) -> str:
    """The rule that a value breaks, and what to do.

    Args:
        fault: what pydantic found.
        path: of the field, as it is told.
        nearest: of a word, that of the known ones which was probably meant.
    """
    kind, context = fault["type"], fault.get("ctx", {})
    field = _field(path)
    if kind == "string_pattern_mismatch":
        if field == "env":
            return _VARIABLE if "[key]" in fault["loc"] else _VALUE
        return _PATTERNS.get(field, f"{_rule(fault)}; write it so")
    known = _FIELDS.get((kind, field)) or _KINDS.get(kind)
    if known is None:
        return _rule(fault)
    remedy = known.format_map(context)
    if kind == "literal_error":
        meant = _meant(fault["input"], context, nearest)
        remedy = f"did you mean {meant!r}?" if meant else remedy
    return f"{_rule(fault)}; {remedy}"


def _field(path: str) -> str:
    """The name that a table knows a field by; of a variable, `env`."""
    plain = _INDEX.sub("", path)
    return "env" if plain.startswith("spec.env.") else plain.rpartition(".")[2]


def _rule(fault: ErrorDetails) -> str:
    if fault["type"] == "missing":
        return "this field is required"
    rule = fault["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return rule[0].lower() + rule[1:] if rule[1:2].islower() else rule


def _meant(
    given: object,
    context: Mapping[str, Any],
    nearest: Callable[[str, tuple[str, ...]], str | None],
) -> str | None:
    known = tuple(re.findall(r"'([^']*)'", str(context.get("expected", ""))))
    return nearest(given, known) if isinstance(given, str) else None
