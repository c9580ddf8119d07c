"""What a Deployment's controller decides: how many pods of which revision, and its conditions."""

from collections.abc import Iterator

from tests.support.kubernetes.pod_facts import is_ready, revision_of
from tests.support.kubernetes.pod_states import NOT_MADE, Fate
from tests.support.kubernetes.schema import Object


def replica_counts(
    deployment: Object, new: Object, old: list[Object]
) -> Iterator[tuple[Object, int]]:
    """How many replicas each set is to have: old ones go as new ones become ready.

    Source: `rolling.go` of Kubernetes' deployment controller, one step at a time.
    """
    spec = deployment["spec"]
    wanted: int = spec["replicas"]
    if spec.get("paused"):
        return
    running = sum(one.get("status", {}).get("replicas", 0) for one in old)
    if spec["strategy"]["type"] == "Recreate":
        yield from ((one, 0) for one in old)
        yield new, 0 if running else wanted
        return
    surge, missing = _bounds(spec["strategy"].get("rollingUpdate") or {}, wanted)
    sets = [new, *old]
    total = sum(one["spec"]["replicas"] for one in sets)
    here: int = new["spec"]["replicas"]
    if here != wanted:
        grown = min(wanted, here + max(0, wanted + surge - total))
        yield new, wanted if here > wanted else grown
        if grown != here:
            return
    ready = {one["metadata"]["name"]: one.get("status", {}).get("readyReplicas", 0) for one in sets}
    least = wanted - missing
    waiting = max(0, here - ready[new["metadata"]["name"]])
    room = total - least - waiting
    spare = sum(ready.values()) - least
    for one in old:
        count, well = one["spec"]["replicas"], ready[one["metadata"]["name"]]
        sick = min(max(0, count - well), max(0, room))
        room -= sick
        ended = min(count - sick, max(0, min(spare, room)))
        spare, room = spare - ended, room - ended
        yield one, count - sick - ended


def _bounds(steps: Object, wanted: int) -> tuple[int, int]:
    """How many more than wanted there may be, and how many fewer be available."""
    surge = _share(steps.get("maxSurge", "25%"), wanted, up=True)
    missing = _share(steps.get("maxUnavailable", "25%"), wanted, up=False)
    return surge, missing if surge or missing else 1


def _share(given: int | str, of: int, *, up: bool) -> int:
    if isinstance(given, int):
        return given
    parts = of * int(given.removesuffix("%"))
    return -(-parts // 100) if up else parts // 100


def next_to_replace(pods: dict[str, Object], wanted: list[str], revision: str) -> str | None:
    """Of a StatefulSet's pods, from the last to the first: the next old one, once all behind it
    are ready.

    Source: `updateStatefulSet` of the StatefulSet controller.
    """
    for one in reversed(wanted):
        pod = pods.get(one)
        if pod is not None and revision_of(pod) != revision:
            return one
        if pod is None or not is_ready(pod):
            return None
    return None


def conditions(
    deployment: Object, counts: Object, new: Object, now: str, fate: Fate, *, overdue: bool
) -> list[Object]:
    """`Available`, `Progressing`, and `ReplicaFailure` where no pod can be made."""
    wanted: int = deployment["spec"]["replicas"]
    available = counts.get("availableReplicas", 0) >= wanted
    done = counts.get("updatedReplicas", 0) == counts.get("replicas", 0) == wanted and available
    name = new["metadata"]["name"]
    told = [
        ("Available", available, *_available(available=available)),
        ("Progressing", done or not overdue, *_progress(name, done=done, overdue=overdue)),
    ]
    if fate in NOT_MADE and counts.get("updatedReplicas", 0) < wanted:
        told.append(
            ("ReplicaFailure", True, "FailedCreate", f"pods are forbidden: {NOT_MADE[fate]}")
        )
    before = {one["type"]: one for one in deployment.get("status", {}).get("conditions") or ()}
    return [_stamped(one, before.get(one[0]), now) for one in told]


def _available(*, available: bool) -> tuple[str, str]:
    if available:
        return "MinimumReplicasAvailable", "Deployment has minimum availability."
    return "MinimumReplicasUnavailable", "Deployment does not have minimum availability."


def _progress(name: str, *, done: bool, overdue: bool) -> tuple[str, str]:
    if done:
        return "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
    if overdue:
        return "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.'
    return "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'


def _stamped(told: tuple[str, bool, str, str], before: Object | None, now: str) -> Object:
    kind, holds, reason, message = told
    condition = {"type": kind, "status": str(holds), "reason": reason, "message": message}
    if before is not None and {key: before.get(key) for key in condition} == condition:
        return before
    return {**condition, "lastUpdateTime": now, "lastTransitionTime": now}
