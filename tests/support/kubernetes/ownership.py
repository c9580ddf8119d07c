"""Which writer owns which field: sets of field paths, and their form in `managedFields`.

A path is a tuple of elements as `managedFields` writes them: `f:replicas` is a field,
`k:{"name":"web"}` an item of a keyed list, `v:"x"` a value of a set.
Source: structured-merge-diff, by which API servers do this.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.kubernetes.schema import KEY_DEFAULTS, Merge, Object, Schema

type Path = tuple[str, ...]
type Paths = frozenset[Path]

_ITEM = object()  # the value at a path that stands for an item as such
# What no writer owns: the server sets it, or it says which object is meant.
_UNOWNED: Paths = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "generation",
            "managedFields",
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        )
    }
)


def item_element(schema: Schema, item: Any) -> str:
    """The element of a path that leads to an item of a set or a keyed list."""
    if schema.merge is Merge.SET:
        return "v:" + json.dumps(item, separators=(",", ":"))
    keys = {key: item.get(key, KEY_DEFAULTS.get(key)) for key in sorted(schema.keys)}
    present = {key: of for key, of in keys.items() if of is not None}
    return "k:" + json.dumps(present, separators=(",", ":"))


def leaves(schema: Schema, written: Any) -> dict[Path, Any]:
    """Every path that a writer of `written` owns, with the value that stands there."""
    found = dict(_walk(schema, written, ()))
    return {path: of for path, of in found.items() if not _is_unowned(path)}


def paths(schema: Schema, written: Any) -> Paths:
    return frozenset(leaves(schema, written))


def _is_unowned(path: Path) -> bool:
    return path in _UNOWNED or path[:2] == ("f:metadata", "f:managedFields")


def _walk(schema: Schema, written: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if schema.merge is Merge.ATOMIC and isinstance(written, dict | list):
        yield path, written
    elif isinstance(written, dict):
        for key, of in written.items():
            below, deeper = schema.below(key), (*path, f"f:{key}")
            yield from _walk(below, of, deeper)
            if of is None or of == {}:
                yield deeper, of
            elif key not in schema.fields and isinstance(of, dict):
                yield deeper, _ITEM
    elif isinstance(written, list):
        yield from _walk_list(schema, written, path)
    else:
        yield path, written


def _walk_list(schema: Schema, written: list[Any], path: Path) -> Iterator[tuple[Path, Any]]:
    if schema.merge not in {Merge.SET, Merge.KEYED}:
        yield path, written
        return
    for item in written:
        deeper = (*path, item_element(schema, item))
        yield deeper, _ITEM
        if schema.merge is Merge.KEYED:
            yield from _walk(schema.item, item, deeper)


@dataclass(frozen=True, slots=True)
class Difference:
    added: Paths
    removed: Paths
    modified: Paths

    @property
    def written(self) -> Paths:
        return self.added | self.modified


def compare(schema: Schema, before: Object, after: Object) -> Difference:
    old, new = leaves(schema, before), leaves(schema, after)
    return Difference(
        added=frozenset(new.keys() - old.keys()),
        removed=frozenset(old.keys() - new.keys()),
        modified=frozenset(path for path in new.keys() & old.keys() if new[path] != old[path]),
    )


def with_parents(schema: Schema, owned: Iterable[Path]) -> Paths:
    """The paths, and the fields above them that a type names (no keys of maps, no items)."""
    found: set[Path] = set()
    for path in owned:
        found.add(path)
        node = schema
        for depth, element in enumerate(path[:-1], start=1):
            if element.startswith("f:"):
                if element[2:] in node.fields:
                    found.add(path[:depth])
                node = node.below(element[2:])
            else:
                node = node.item
    return frozenset(found)


def tree(owned: Iterable[Path]) -> Object:
    """A set of paths as `fieldsV1` writes it."""
    root: Object = {}
    members = sorted(owned, key=len)
    for path in members:
        node = root
        for element in path:
            node = node.setdefault(element, {})
        node["."] = {}
    return _tidied(root)


def _tidied(node: Object) -> Object:
    """Without the dot where nothing else is: an empty node is a member, too."""
    return {} if node.keys() == {"."} else {key: _tidied(of) for key, of in sorted(node.items())}


def from_tree(node: Mapping[str, Any]) -> Paths:
    def walk(at: Mapping[str, Any], path: Path) -> Iterator[Path]:
        for element, below in at.items():
            if element == ".":
                yield path
            elif not below:
                yield (*path, element)
            else:
                yield from walk(below, (*path, element))

    return frozenset(walk(node, ()))


def spoken(path: Path) -> str:
    """A path as conflicts name it: `.spec.containers[name="web"].image`."""
    said = ""
    for element in path:
        if element.startswith("f:"):
            said += f".{element[2:]}"
        elif element.startswith("v:"):
            said += f"[={element[2:]}]"
        else:
            keys = json.loads(element[2:])
            said += "[" + ",".join(f"{key}={json.dumps(of)}" for key, of in keys.items()) + "]"
    return said


def without_paths(schema: Schema, written: Any, gone: Paths) -> Any:
    """What is left of an object without what stands at `gone`; None when that is nothing."""
    if not gone or not written or schema.merge is Merge.ATOMIC:
        return written
    if isinstance(written, dict):
        return _kept_fields(schema, written, gone)
    if isinstance(written, list) and schema.merge in {Merge.SET, Merge.KEYED}:
        return _kept_items(schema, written, gone)
    return written


def _kept_fields(schema: Schema, written: Object, gone: Paths) -> Object | None:
    kept: Object = {}
    for key, of in written.items():
        element = f"f:{key}"
        if (element,) in gone:
            continue
        below = _below(gone, element)
        left = without_paths(schema.below(key), of, below) if below else of
        if left is not None or of is None:
            kept[key] = left
    return kept or None


def _kept_items(schema: Schema, written: list[Any], gone: Paths) -> list[Any] | None:
    kept: list[Any] = []
    for item in written:
        element = item_element(schema, item)
        if (element,) in gone:
            continue
        below = _below(gone, element)
        kept.append(without_paths(schema.item, item, below) if below else item)
    return kept or None


def _below(owned: Paths, element: str) -> Paths:
    return frozenset(path[1:] for path in owned if len(path) > 1 and path[0] == element)
