"""What an object of a kind may hold, and how its lists and maps merge: one tree per kind.

Types of built-in kinds are the SDK's (`schemas.json`, which `tests.support.kubernetes.generate`
writes); how their lists merge was read from the OpenAPI document of a real server
(`merge_keys.json`). Schemas of custom resources come with their definition.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

type Object = dict[str, Any]

_FOLDER = Path(__file__).parent
_NO_FIELDS: Mapping[str, "Schema"] = MappingProxyType({})


class Merge(Enum):
    """How two writers share a list or a map under server-side apply."""

    GRANULAR = "each field has its owner"
    ATOMIC = "one owner for the whole"
    SET = "each value has its owner"
    KEYED = "items are told apart by their keys, each field of an item has its owner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A node: `object` with fields, `map` or `list` with items, a scalar, or `any`."""

    type: str
    fields: Mapping[str, "Schema"] = _NO_FIELDS
    required: frozenset[str] = frozenset()
    items: "Schema | None" = None
    merge: Merge = Merge.GRANULAR
    keys: tuple[str, ...] = ()
    patch_key: str | None = None  # by which a strategic merge patch tells items apart
    patch_merges: bool = False  # a strategic merge patch adds to the list
    default: Any = None
    minimum: float | None = None
    enum: tuple[Any, ...] = ()
    keeps_unknown: bool = False

    def below(self, key: str) -> "Schema":
        """The schema of the value under a key of an object or map; `ANY` where nothing is known."""
        return self.fields.get(key) or self.items or ANY

    @property
    def item(self) -> "Schema":
        return self.items or ANY


ANY = Schema(type="any", keeps_unknown=True)
_STRING = Schema(type="string")
# Items of these kinds of list are told apart also by fields that a writer may leave out.
KEY_DEFAULTS = MappingProxyType({"protocol": "TCP"})


@functools.cache
def _data(name: str) -> Any:
    return json.loads((_FOLDER / name).read_text())


@functools.cache
def builtin(kind: str) -> Schema:
    """The schema of a built-in kind.

    Raises:
        KeyError: the kind is not in `schemas.json`.
    """
    return _Built(_data("merge_keys.json").get(kind, {})).node(_data("schemas.json")[kind], "")


@dataclass(slots=True)
class _Built:
    rules: Mapping[str, Mapping[str, Any]]

    def node(self, written: str, path: str) -> Schema:
        rule = self.rules.get(path) or _shared_rule(path)
        if written.startswith("[]"):
            return self._list(written[2:], path, rule)
        if written.startswith("{}"):
            items = self.node(written[2:], f"{path}.*")
            merge = Merge.ATOMIC if rule.get("map") == "atomic" else Merge.GRANULAR
            return Schema(type="map", items=items, merge=merge)
        if not written.startswith("#"):
            return Schema(type=written)
        fields: dict[str, str] = _data("schemas.json")[written[1:]]
        prefix = f"{path}." if path else ""
        return Schema(
            type="object",
            fields={name: self.node(of.rstrip("!"), prefix + name) for name, of in fields.items()},
            required=frozenset(name for name, of in fields.items() if of.endswith("!")),
            merge=Merge.ATOMIC if rule.get("map") == "atomic" else Merge.GRANULAR,
        )

    def _list(self, written: str, path: str, rule: Mapping[str, Any]) -> Schema:
        merge = {"map": Merge.KEYED, "set": Merge.SET}.get(rule.get("list") or "", Merge.ATOMIC)
        return Schema(
            type="list",
            items=self.node(written, f"{path}[]"),
            merge=merge,
            keys=tuple(rule.get("keys") or ()),
            patch_key=rule.get("smpKey"),
            patch_merges="merge" in (rule.get("smp") or ""),
        )


def _shared_rule(path: str) -> Mapping[str, Any]:
    """Rules of kinds that `merge_keys.json` does not list: what all objects have in common."""
    if path.endswith("metadata.finalizers"):
        return {"list": "set", "smp": "merge"}
    if path.endswith("metadata.ownerReferences"):
        return {"list": "map", "keys": ["uid"], "smp": "merge", "smpKey": "uid"}
    if path == "status.conditions":
        return {"list": "map", "keys": ["type"], "smp": "merge", "smpKey": "type"}
    if path.endswith("managedFields[].fieldsV1"):
        return {"map": "atomic"}
    return {}


class _Custom:
    def node(self, written: Object) -> Schema:
        keeps = bool(written.get("x-kubernetes-preserve-unknown-fields"))
        facts: dict[str, Any] = {
            "default": written.get("default"),
            "minimum": written.get("minimum"),
            "enum": tuple(written.get("enum", ())),
            "keeps_unknown": keeps,
        }
        if written.get("x-kubernetes-int-or-string"):
            return Schema(type="integer|string", **facts)
        match written.get("type"):
            case "object" if "additionalProperties" in written:
                atomic = written.get("x-kubernetes-map-type") == "atomic"
                merge = Merge.ATOMIC if atomic else Merge.GRANULAR
                items = self.node(written["additionalProperties"])
                return Schema(type="map", items=items, merge=merge, **facts)
            case "object":
                return self._object(written, facts)
            case "array":
                return self._list(written, facts)
            case None:
                return ANY
            case scalar:
                return Schema(type=scalar, **facts)

    def _object(self, written: Object, facts: dict[str, Any]) -> Schema:
        atomic = written.get("x-kubernetes-map-type") == "atomic"
        return Schema(
            type="object",
            fields={name: self.node(of) for name, of in written.get("properties", {}).items()},
            required=frozenset(written.get("required", ())),
            merge=Merge.ATOMIC if atomic else Merge.GRANULAR,
            **facts,
        )

    def _list(self, written: Object, facts: dict[str, Any]) -> Schema:
        kind = written.get("x-kubernetes-list-type", "atomic")
        return Schema(
            type="list",
            items=self.node(written.get("items", {})),
            merge={"map": Merge.KEYED, "set": Merge.SET}.get(kind, Merge.ATOMIC),
            keys=tuple(written.get("x-kubernetes-list-map-keys", ())),
            **facts,
        )


def custom(written: Object) -> Schema:
    """The schema of a custom resource, from the `openAPIV3Schema` of its definition."""
    root = _Custom().node(written)
    shared = {
        "apiVersion": _STRING,
        "kind": _STRING,
        "metadata": builtin("ConfigMap").fields["metadata"],
    }
    return Schema(
        type="object",
        fields={**root.fields, **shared},
        required=root.required,
        keeps_unknown=root.keeps_unknown,
    )


def unchecked() -> Schema:
    """The schema of a kind whose spec this server takes as it comes."""
    meta = builtin("ConfigMap").fields["metadata"]
    fields = {"apiVersion": _STRING, "kind": _STRING, "metadata": meta, "spec": ANY, "status": ANY}
    return Schema(type="object", fields=fields)
