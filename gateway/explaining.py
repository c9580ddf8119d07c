"""What may be written in a manifest of each kind, as JSON Schema without references."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import TypeAdapter

from bus.manifests import API_VERSION, nearest
from domain import app, project, target
from domain.names import KINDS
from domain.refusals import NotFound

_SECRET: Final = {
    "type": "object",
    "description": "Values that apps refer to by key. They are kept encrypted and never shown.",
    "additionalProperties": False,
    "required": ["data"],
    "properties": {
        "data": {
            "type": "object",
            "description": "One text of at most 64 KiB for each key.",
            "additionalProperties": {"type": "string", "maxLength": 65536},
        }
    },
}
_ADAPTERS: Final[Mapping[str, TypeAdapter[Any]]] = {
    "App": app.SPEC_ADAPTER,
    "Project": project.SPEC_ADAPTER,
    "Target": target.SPEC_ADAPTER,
}
_ABOUT: Final = {
    "App": "A program that should run on a target, in so many replicas.",
    "Project": "What belongs together: its apps share a network and a default target.",
    "Secret": _SECRET["description"],
    "Target": "One registered engine, such as this host's processes or a Docker daemon.",
}


def explain(asked: str) -> dict[str, Any]:
    """The schema of a kind's spec; the kind in any case, singular or plural.

    Raises:
        NotFound: there is no such kind.
    """
    word = asked.lower()
    kind = next((k for k in KINDS if word in (k.lower(), f"{k.lower()}s")), None)
    if kind is None:
        near = nearest(asked, KINDS)
        hint = f"did you mean {near}?" if near else f"kinds are {', '.join(KINDS)}"
        raise NotFound(f"kind {asked[:40]!r}", hint)
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "description": _ABOUT[kind],
        "schema": spec_schema(kind),
    }


def spec_schema(kind: str) -> dict[str, Any]:
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        return dict(_SECRET)
    schema = adapter.json_schema(by_alias=True)
    resolved: dict[str, Any] = _resolved(schema, schema.pop("$defs", {}))
    resolved["description"] = _ABOUT[kind]
    return resolved


def _resolved(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with each reference replaced by what it refers to; specs never recurse."""
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if reference is None:
        return {key: _resolved(value, definitions) for key, value in node.items()}
    rest = {key: value for key, value in node.items() if key != "$ref"}
    found = _resolved(definitions[reference.rpartition("/")[2]], definitions)
    return {**found, **_resolved(rest, definitions)}
