"""Fields and who owns them, as server-side apply has it, for the kinds that we write. Pure.

Containers are somebody by their name; every other list is one value, and so is a selector.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

type Body = dict[str, Any]

NAMED: Final = ("containers",)  # lists whose items are somebody
WHOLE: Final = ("selector", "podSelector")  # maps that are one value


def merged(live: Mapping[str, Any], wanted: Mapping[str, Any], former: Mapping[str, Any]) -> Body:
    """What is live once `wanted` was applied by who had applied `former`."""
    result = {name: value for name, value in live.items() if name in wanted or name not in former}
    for name, value in wanted.items():
        there, before = live.get(name), former.get(name)
        if value is None:
            result.pop(name, None)
        elif name not in WHOLE and isinstance(value, Mapping) and isinstance(there, Mapping):
            result[name] = merged(there, value, before if isinstance(before, Mapping) else {})
        elif name in NAMED and isinstance(there, Sequence):
            result[name] = _items(there, value, before or ())
        else:
            result[name] = value
    return result


def _items(live: Sequence[Body], wanted: Sequence[Body], former: Sequence[Body]) -> list[Body]:
    there, before = _by_name(live), _by_name(former)
    ours = _by_name(wanted)
    found = [merged(there.get(name, {}), item, before.get(name, {})) for name, item in ours.items()]
    return found + [one for name, one in there.items() if name not in ours and name not in before]


def _by_name(items: Sequence[Body]) -> dict[str, Body]:
    return {item["name"]: item for item in items}


def without(owned: Mapping[str, Any], taken: Mapping[str, Any]) -> Body:
    """What somebody still owns when somebody else has taken over `taken`."""
    left: Body = {}
    for name, value in owned.items():
        other = taken.get(name)
        rest: Any = None
        if name not in taken:
            rest = value
        elif name not in WHOLE and isinstance(value, Mapping) and isinstance(other, Mapping):
            rest = without(value, other) or None
        elif name in NAMED and isinstance(other, Sequence):
            rest = _items_without(value, other) or None
        if rest is not None:
            left[name] = rest
    return left


def _items_without(owned: Sequence[Body], taken: Sequence[Body]) -> list[Body]:
    others = _by_name(taken)
    found = []
    for name, item in _by_name(owned).items():
        rest = without(item, {**others.get(name, {}), "name": name}) if name in others else item
        if rest:
            found.append({**rest, "name": name})
    return found


def fields(owned: Mapping[str, Any]) -> Body:
    """What `managedFields` says of somebody who owns this."""
    found: Body = {}
    for name, value in owned.items():
        if name not in WHOLE and isinstance(value, Mapping) and value:
            found[f"f:{name}"] = fields(value)
        elif name in NAMED:
            found[f"f:{name}"] = {
                f"k:{json.dumps({'name': item['name']})}": fields(item) for item in value
            }
        else:
            found[f"f:{name}"] = {}
    return found
