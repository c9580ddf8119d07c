"""How many pods each set of a Deployment is to have next: the arithmetic of its controller. Pure.

New pods come while the surge lasts; old ones go as far as enough are available, those first that
serve nobody.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self


class Set(NamedTuple):
    """A ReplicaSet: its pods, and how many of them are ready."""

    name: str
    pods: int
    ready: int
    is_new: bool


class Counts(NamedTuple):
    total: int
    updated: int
    available: int

    @classmethod
    def of(cls, sets: Sequence[Set]) -> Self:
        new = [one for one in sets if one.is_new]
        total, available = sum(one.pods for one in sets), sum(one.ready for one in sets)
        return cls(total, sum(one.pods for one in new), available)


def scaled(spec: Mapping[str, Any], sets: Sequence[Set]) -> dict[str, int]:
    """By name of each set, how many pods it is to have: first the old ones, then the new."""
    wanted: int = spec["replicas"]
    [new] = [one for one in sets if one.is_new]
    old = [one for one in sets if not one.is_new]
    if spec["strategy"]["type"] == "Recreate":
        running = sum(one.pods for one in old)
        return {**{one.name: 0 for one in old}, new.name: 0 if running else wanted}
    steps = spec["strategy"]["rollingUpdate"]
    least, most = wanted - steps["maxUnavailable"], wanted + steps["maxSurge"]
    total = sum(one.pods for one in sets)
    growth = min(wanted - new.pods, most - total)
    target = wanted if new.pods > wanted else new.pods + max(0, growth)
    left = {one.name: one.pods for one in old}
    # the sick ones first: they serve nobody
    surplus = max(0, total - least - (new.pods - new.ready))
    for one in old:
        gone = min(surplus, one.pods - one.ready)
        left[one.name] -= gone
        surplus -= gone
    available = sum(one.ready for one in sets)
    spare = min(surplus, max(0, available - least))
    for one in old:
        gone = min(spare, one.ready, left[one.name])
        left[one.name] -= gone
        spare -= gone
    return {**left, new.name: target}
