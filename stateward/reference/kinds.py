"""The page of kinds: every field of every spec, from the dataclasses and their JSON schema."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, get_args, get_type_hints

from pydantic import TypeAdapter

from bus.manifests import ALIASES, API_VERSION, MAX_BYTES, MAX_DEPTH
from domain import app, schema
from domain.app import AppSpec
from domain.names import KINDS, KINDS_WITHOUT_PROJECT
from domain.project import ProjectSpec
from domain.target import TargetSpec
from gateway.explaining import explain
from stateward.reference.markdown import code, page, prose, table
from stateward.reference.types import default, limits, typed

SPECS: Final[Mapping[str, type[Any]]] = {
    "App": AppSpec,
    "Project": ProjectSpec,
    "Target": TargetSpec,
}
WORDS: Final[tuple[tuple[object, str, str], ...]] = (
    (schema.Name, "name", "a DNS label: 1 to 40 of `a-z`, `0-9`, `-`, begins with a letter"),
    (schema.Duration, "duration", "a number with its unit: `10s`, `1m30s`, `2h`, `500ms`"),
    (schema.Cpu, "cpu", "cores, or thousandths of one: `0.5`, `500m`, `2`"),
    (schema.Memory, "memory", "a number with its unit: `256Mi`, `1Gi`, `500M`; at least `4Mi`"),
    (schema.Line, "line", "text of 1 to 4096 characters"),
    (app.EnvName, "variable name", "letters, digits and `_`, no digit first"),
    (app.PortNumber, "port number", "1 to 65535"),
    (app.ImageName, "image name", "as registries write it, with tag or digest"),
    (app.Path, "path", "absolute, begins with `/`"),
)
_NAMED: Final = [(hint, word) for hint, word, _ in WORDS]


def kinds() -> str:
    """The whole page."""
    return page("Kinds", _manifests(), _words(), *(_kind(name) for name in KINDS), _aliases())


def _manifests() -> str:
    without = " and ".join(kind for kind in KINDS if kind in KINDS_WITHOUT_PROJECT)
    return f"""\
A manifest is `apiVersion: {API_VERSION}`, `kind`, `metadata` and `spec`, in YAML or JSON: at most
{MAX_BYTES // 2**20} MiB, {MAX_DEPTH} levels deep. Unknown fields are refused by their path.
`metadata` has

- `name`, and `project` for all kinds but {without};
- `labels`: at most 64, names of 1 to 128 and values of up to 256 characters;
- `generation`: apply only if the resource is still at it (0: only if it is new)."""


def _words() -> str:
    rows = [(f"*{word}*", meaning) for _, word, meaning in WORDS]
    return "Types that the tables below name:\n\n" + table(("type", "is"), rows)


def _kind(name: str) -> str:
    explained = explain(name)
    parts = [f"## {name}", str(explained["description"])]
    if name not in SPECS:
        return "\n\n".join([*parts, _secret(explained["schema"])])
    spec = SPECS[name]
    parts += [table(("field", "type", "default", "limits"), _fields(spec))]
    for inner in _inner(spec):
        parts += [f"### {inner.__name__}", prose(inner)]
        parts += [table(("field", "type", "default", "limits"), _fields(inner))]
    return "\n\n".join(part for part in parts if part)


def _secret(found: Mapping[str, Any]) -> str:
    data = found["properties"]["data"]
    row = (code("data"), "map of text to text", "required", str(data["description"]))
    return table(("field", "type", "default", "limits"), [row])


def _fields(spec: type[Any]) -> Iterator[tuple[str, ...]]:
    described = TypeAdapter(spec).json_schema(by_alias=True)
    hints = get_type_hints(spec, include_extras=True)
    required = set(described.get("required", ()))
    for field in fields(spec):
        name = schema.written(field.name)
        shown = described["properties"][name]
        kind = typed(hints[field.name], _NAMED)
        preset = "required" if name in required else default(shown.get("default"))
        yield code(name), kind, preset, limits(shown, kind)


def _inner(spec: type[Any], seen: dict[type[Any], None] | None = None) -> list[type[Any]]:
    """The dataclasses that a spec is made of, in the order in which they are met."""
    found: dict[type[Any], None] = {} if seen is None else seen
    for hint in get_type_hints(spec, include_extras=True).values():
        for one in _dataclasses(hint):
            if one not in found:
                found[one] = None
                _inner(one, found)
    return list(found)


def _dataclasses(hint: Any) -> Iterator[type[Any]]:
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inside in get_args(hint):
        yield from _dataclasses(inside)


def _aliases() -> str:
    rows = [(code(other), code(ours)) for other, ours in sorted(ALIASES.items())]
    return (
        "## Names that other systems use\n\nThey are refused, with a hint to the name used here."
        "\n\n" + table(("elsewhere", "here"), rows)
    )
