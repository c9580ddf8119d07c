"""How a body is merged into an object: server-side apply, and the three kinds of patches."""

from collections import deque
from typing import Any

from tests.support.kubernetes.answers import Refused
from tests.support.kubernetes.ownership import item_element
from tests.support.kubernetes.schema import Merge, Object, Schema


def merged(schema: Schema, live: Any, sent: Any) -> Any:
    """`live` with what an apply `sent`: fields by fields, items by keys, atomic ones as a whole."""
    if schema.merge is Merge.ATOMIC:
        return sent
    if sent is None and isinstance(live, dict | list) and live:
        return live  # a null takes away a value, but nothing that has parts
    if isinstance(live, dict) and isinstance(sent, dict):
        both = dict(live)
        for key, of in sent.items():
            both[key] = merged(schema.below(key), live[key], of) if key in live else of
        return both
    if isinstance(live, list) and isinstance(sent, list) and schema.merge is not Merge.GRANULAR:
        return _merged_items(schema, live, sent)
    return sent


def _merged_items(schema: Schema, live: list[Any], sent: list[Any]) -> list[Any]:
    """What was sent keeps its order; what only others wrote stays as far in front as it was."""
    old = {item_element(schema, item): item for item in live}
    new = {item_element(schema, item): item for item in sent}
    shared = deque(element for element in new if element in old)  # not yet merged, in order
    left, right = deque(old), deque(new)
    out: list[Any] = []
    while left or right:
        if left and left[0] not in new:
            out.append(old[left.popleft()])
        elif left and (not shared or left[0] != shared[0]):
            left.popleft()  # it is merged where it was sent
        else:
            element = right.popleft()
            both = element in old
            out.append(merged(schema.item, old[element], new[element]) if both else new[element])
            if both:
                shared.popleft()
    return out


def merge_patched(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, of in patch.items():
        if of is None:
            out.pop(key, None)
        else:
            out[key] = merge_patched(out.get(key), of)
    return out


def strategically_patched(schema: Schema, target: Any, patch: Any) -> Any:
    """Kubernetes' own merge patch: lists with a patch key merge by it."""
    if isinstance(patch, list):
        return _patched_items(schema, target if isinstance(target, list) else [], patch)
    if not isinstance(patch, dict):
        return patch
    if patch.get("$patch") == "replace":
        return {key: of for key, of in patch.items() if key != "$patch"}
    out = dict(target) if isinstance(target, dict) else {}
    for key, of in patch.items():
        if key.startswith(("$setElementOrder/", "$retainKeys")):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            out[name] = [item for item in out.get(name, ()) if item not in of]
        elif of is None:
            out.pop(key, None)
        else:
            out[key] = strategically_patched(schema.below(key), out.get(key), of)
    return out


def _patched_items(schema: Schema, target: list[Any], patch: list[Any]) -> list[Any]:
    key = schema.patch_key
    if {"$patch": "replace"} in patch:
        return [item for item in patch if item != {"$patch": "replace"}]
    if not schema.patch_merges:
        return patch
    if key is None:
        return target + [item for item in patch if item not in target]
    out = list(target)
    for item in patch:
        there = next((at for at, old in enumerate(out) if old.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            out = [old for old in out if old.get(key) != item.get(key)]
        elif there is None:
            out.append(strategically_patched(schema.item, {}, item))
        else:
            out[there] = strategically_patched(schema.item, out[there], item)
    return out


def json_patched(target: Object, operations: list[Object]) -> Object:
    """RFC 6902, on a copy.

    Raises:
        Refused: 422, a path is not there, or a test failed.
    """
    document: dict[str, Any] = {"": target}
    for operation in operations:
        try:
            _operate(document, operation)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise Refused(
                422,
                "the server rejected our request due to an error in our request: "
                f"{operation.get('op')} does not apply at {operation.get('path')!r}: {error}",
            ) from error
    patched: Object = document[""]
    return patched


def _operate(document: dict[str, Any], operation: Object) -> None:
    match operation["op"]:
        case "test":
            found = _at(document, operation["path"])
            if found != operation["value"]:
                raise ValueError(f"there is {found!r}")
        case "add":
            _set(document, operation["path"], operation["value"], insert=True)
        case "replace":
            _at(document, operation["path"])
            _set(document, operation["path"], operation["value"], insert=False)
        case "remove":
            _take(document, operation["path"])
        case "move":
            _set(document, operation["path"], _take(document, operation["from"]), insert=True)
        case "copy":
            _set(document, operation["path"], _at(document, operation["from"]), insert=True)
        case other:
            raise ValueError(f"no operation is called {other!r}")


def _steps(path: str) -> list[str]:
    return ["", *(part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:])]


def _at(document: Any, path: str) -> Any:
    found = document
    for step in _steps(path):
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found


def _parent(document: Any, path: str) -> tuple[Any, str]:
    *above, last = _steps(path)
    found = document
    for step in above:
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found, last


def _set(document: Any, path: str, value: Any, *, insert: bool) -> None:
    parent, last = _parent(document, path)
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif insert:
        parent.insert(int(last), value)
    else:
        parent[int(last)] = value


def _take(document: Any, path: str) -> Any:
    parent, last = _parent(document, path)
    return parent.pop(int(last)) if isinstance(parent, list) else parent.pop(last)
