"""A JSON schema as a page to read: the fields of one place, with types, defaults and limits."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from stateward.cli.screen import Cell, Screen
from stateward.cli.trouble import BadUse

_LIMITS: Final = {
    "minimum": "at least",
    "maximum": "at most",
    "maxLength": "characters at most",
    "maxItems": "items at most",
    "minItems": "items at least",
}

type Schema = Mapping[str, Any]


def show_schema(screen: Screen, explained: Mapping[str, Any], way: Sequence[str]) -> None:
    """Write what the kind, or the field that `way` leads to, is made of.

    Raises:
        BadUse: there is no such field; names the nearest.
    """
    at: Schema = explained["schema"]
    shown = explained["kind"]
    for name in way:
        known = _properties(at)
        if name not in known:
            raise BadUse(f"{shown} has no field {name!r}; {_hint(name, list(known))}")
        at, shown = known[name], f"{shown}.{name}"
    screen.words(Cell(shown, "bold"), Cell(_type(at) if way else explained["apiVersion"], "dim"))
    description = at.get("description") or ("" if way else explained.get("description"))
    for line in str(description or "").split("\n"):
        screen.line(line)
    required = set(_object(at).get("required", ()))
    rows = [_row(name, field, required) for name, field in _properties(at).items()]
    if rows:
        screen.table(("FIELD", "TYPE", "DEFAULT", "LIMITS", "WHAT"), rows)


def _row(name: str, field: Schema, required: set[str]) -> tuple[Cell | str, ...]:
    default = "required" if name in required else _default(field)
    described = field.get("description") or _object(field).get("description") or ""
    what = str(described).split("\n")[0]
    return (Cell(name, "bold"), _type(field), default, _limits(field), what)


def _default(field: Schema) -> str:
    default = field.get("default")
    return "" if default in (None, {}, [], "") or isinstance(default, dict) else str(default)


def _variants(field: Schema) -> list[Schema]:
    options = field.get("anyOf") or field.get("oneOf") or [field]
    return [option for option in options if option.get("type") != "null"]


def _object(field: Schema) -> Schema:
    """The object inside a field: itself, an option, an item of a list or a value of a map."""
    for option in _variants(field):
        if "properties" in option:
            return option
        for inner in (option.get("items"), option.get("additionalProperties")):
            if isinstance(inner, dict) and (found := _object(inner)):
                return found
    return {}


def _properties(field: Schema) -> Mapping[str, Schema]:
    found: Mapping[str, Schema] = _object(field).get("properties", {})
    return found


def _type(field: Schema) -> str:
    return " or ".join(dict.fromkeys(_type_of_one(option) for option in _variants(field)))


def _type_of_one(field: Schema) -> str:
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    kind = str(field.get("type", "object" if "properties" in field else "any"))
    if kind == "array":
        return f"list of {_type(field.get('items', {}))}"
    inner = field.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict):
        return f"map of {_type(inner)}"
    return {"string": "text", "integer": "number", "boolean": "true | false"}.get(kind, kind)


def _limits(field: Schema) -> str:
    found = {
        name: option[name] for option in _variants(field) for name in _LIMITS if name in option
    }
    return ", ".join(f"{words} {found[name]}" for name, words in _LIMITS.items() if name in found)


def _hint(name: str, known: Sequence[str]) -> str:
    if not known:
        return "it has no fields"
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
