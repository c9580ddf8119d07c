"""What an app's replicas look like, in one string: equal ones need no pass. Pure."""

from collections.abc import Sequence

from reconcilers.ports import Replica, ReplicaState


def fingerprint(uid: int, revision: int, digest: str, replicas: int) -> str:
    """What converged replicas look like, in one string that is cheap to compare."""
    return f"{uid}:{revision}:{digest}:{replicas}" if replicas else ""


def seen_fingerprint(replicas: Sequence[Replica]) -> str:
    """The fingerprint of an app's replicas; one that nothing wanted equals if they are mixed."""
    running = [one for one in replicas if one.state is ReplicaState.RUNNING]
    if not running:
        created = any(one.state is ReplicaState.CREATED for one in replicas)
        return "created" if created else ""
    first = running[0]
    slots = set()
    for one in running:
        if (
            one.uid != first.uid
            or one.digest != first.digest
            or one.name.revision != first.name.revision
            or one.edited
            or one.healthy is False
        ):
            return "mixed"
        slots.add(one.name.slot)
    count = len(running)
    if len(slots) != count or max(slots) != count - 1:
        return "mixed"
    return fingerprint(first.uid, first.name.revision, first.digest, count)
