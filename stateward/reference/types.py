"""Types, limits and defaults in the words of reference pages. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from stateward.reference.markdown import code

type Words = Sequence[tuple[object, str]]
"""Types that have a name of their own, with it."""

LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "maxLength": "characters at most",
    "minItems": "items at least",
    "maxItems": "items at most",
    "maxProperties": "entries at most",
}
_PLAIN: Final[Mapping[object, str]] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "`true`, `false`",
}


def typed(hint: Any, words: Words) -> str:
    """What to write for a type; `None` in a union means that it may be left out."""
    named = next((f"*{word}*" for known, word in words if hint == known), None)
    inside = get_args(hint)
    if named is not None or not inside:
        return named or _plain(hint)
    shown = [typed(one, words) for one in inside if one not in (NoneType, ...)]
    match get_origin(hint):
        case origin if origin is Annotated:
            return shown[0]
        case origin if origin in (Union, UnionType):
            return " or ".join(shown)
        case origin if origin is Literal:
            return ", ".join(map(code, inside))
        case origin if origin is tuple:
            return f"list of {shown[0]}"
        case _:
            return f"map of {shown[0]} to {shown[1]}"


def _plain(hint: Any) -> str:
    name = getattr(hint, "__name__", "")
    return f"[{name}](#{name.lower()})" if is_dataclass(hint) else _PLAIN.get(hint, name)


def limits(shown: Mapping[str, Any], kind: str) -> str:
    """The limits of a JSON schema that the name of its type, such as `*port*`, does not imply."""
    if kind.startswith("*"):
        return ""
    options = [shown, *(one for one in shown.get("anyOf", ()) if one.get("type") != "null")]
    found = {name: one[name] for one in options for name in LIMITS if name in one}
    told = [f"{words} {found[name]}" for name, words in LIMITS.items() if name in found]
    told += [f"matches {code(one['pattern'])}" for one in options if "pattern" in one]
    return ", ".join(told)


def default(value: object) -> str:
    """A default as it would be written; nothing for what is empty or has defaults inside."""
    if value in (None, "", [], ()) or isinstance(value, dict):
        return ""
    return code(str(value).lower() if isinstance(value, bool) else str(value))
