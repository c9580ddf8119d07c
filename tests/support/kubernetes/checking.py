"""Whether what was sent fits the schema of its kind: its fields, their types and their values.

Quantities come out in their canonical form, and of a custom resource what no schema knows is pruned
and what it lacks is filled with the defaults of its definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubernetes.answers import cause
from tests.support.kubernetes.ownership import item_element
from tests.support.kubernetes.quantities import canonical
from tests.support.kubernetes.schema import Merge, Object, Schema

_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "integer|string": (int, str),
    "quantity": (int, float, str),
}


@dataclass(slots=True)
class Checked:
    """What is left of a body, and what was wrong with it."""

    body: Any = None
    unknown: list[str] = field(default_factory=list)  # paths of fields that no schema knows
    wrong: list[tuple[str, str]] = field(default_factory=list)  # path and sentence


def checked(schema: Schema, body: Object) -> Checked:
    result = Checked()
    result.body = _check(schema, body, "", result)
    return result


def _check(schema: Schema, value: Any, path: str, result: Checked) -> Any:
    if value is None or schema.type == "any":
        return value
    if schema.type in {"object", "map"}:
        return _check_fields(schema, value, path, result)
    if schema.type == "list":
        return _check_items(schema, value, path, result)
    return _check_scalar(schema, value, path, result)


def _check_fields(schema: Schema, value: Any, path: str, result: Checked) -> Any:
    if not isinstance(value, dict):
        result.wrong.append((path, f"expected an object, got {value!r}"))
        return {}
    kept: Object = {}
    for key, of in value.items():
        at = f"{path}.{key}" if path else key
        if schema.type == "object" and key not in schema.fields and not schema.keeps_unknown:
            result.unknown.append(at)
            continue
        kept[key] = _check(schema.below(key), of, at, result)
    return kept


def _check_items(schema: Schema, value: Any, path: str, result: Checked) -> Any:
    if not isinstance(value, list):
        result.wrong.append((path, f"expected a list, got {value!r}"))
        return []
    return [_check(schema.item, item, f"{path}[{at}]", result) for at, item in enumerate(value)]


def _check_scalar(schema: Schema, value: Any, path: str, result: Checked) -> Any:
    wanted = _SCALARS[schema.type]
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        result.wrong.append((path, f"expected {schema.type}, got {value!r}"))
        return value
    if schema.type == "quantity":
        try:
            return canonical(str(value))
        except ValueError as error:
            result.wrong.append((path, str(error)))
    return value


def double_keys(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """Sentences about items that a list may hold but once."""
    if isinstance(value, dict):
        for key, of in value.items():
            yield from double_keys(schema.below(key), of, f"{path}.{key}")
    elif isinstance(value, list):
        seen: set[str] = set()
        for item in value:
            if schema.merge in {Merge.SET, Merge.KEYED}:
                element = item_element(schema, item)
                if element in seen:
                    yield f"{path}: duplicate entries for key [{element[2:]}]"
                seen.add(element)
            yield from double_keys(schema.item, item, f"{path}[]")


def filled(schema: Schema, value: Any) -> Any:
    """A custom resource with the defaults of its schema, on a copy."""
    if isinstance(value, dict):
        out = {key: filled(schema.below(key), of) for key, of in value.items()}
        for key, below in schema.fields.items():
            if below.default is not None and key not in out:
                out[key] = below.default
        return out
    if isinstance(value, list):
        return [filled(schema.item, item) for item in value]
    return value


def broken(schema: Schema, value: Any, path: str = "") -> Iterator[dict[str, str]]:
    """Causes of a refusal: what is required and missing, too small, or not one of those allowed."""
    if isinstance(value, dict):
        for key in sorted(schema.required - value.keys()):
            at = f"{path}.{key}" if path else key
            yield cause("FieldValueRequired", at, "Required value")
        for key, of in value.items():
            yield from broken(schema.below(key), of, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from broken(schema.item, item, f"{path}[{number}]")
    elif schema.minimum is not None and isinstance(value, int | float) and value < schema.minimum:
        said = f"Invalid value: {value}: should be greater than or equal to {schema.minimum}"
        yield cause("FieldValueInvalid", path, said)
    elif schema.enum and value not in schema.enum:
        allowed = ", ".join(f'"{one}"' for one in schema.enum)
        yield cause(
            "FieldValueNotSupported", path, f'Unsupported value: "{value}": supported: {allowed}'
        )


def without_nulls(value: Any) -> Any:
    """On a copy: a null in what is sent means that the field is not set."""
    if isinstance(value, dict):
        return {key: without_nulls(of) for key, of in value.items() if of is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
