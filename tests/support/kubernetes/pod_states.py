"""How pods can fare, and the status that a kubelet or a scheduler would report of each."""

from dataclasses import dataclass
from enum import Enum

from tests.support.kubernetes.schema import Object


class Fate(Enum):
    """What becomes of the pods of an image."""

    RUNS = "they start and are ready"
    WAITS = "they start and are not ready yet"
    PROBE_FAILS = "they start, and their readiness probe fails"
    PULL_FAILS = "their image cannot be pulled"
    CRASHES = "their process exits with an error, again and again"
    OUT_OF_MEMORY = "their process is killed for its memory, again and again"
    UNSCHEDULABLE = "no node has room for them"
    CONFIG_MISSING = "a Secret or ConfigMap that they name is not there"
    COMPLETES = "their process ends well (jobs)"
    QUOTA_EXCEEDED = "none can be made: the quota is used up"
    LIMIT_RANGE = "none can be made: they ask for more than one may have"
    POD_SECURITY = "none can be made: the namespace's Pod Security refuses them"


NOT_MADE = {
    Fate.QUOTA_EXCEEDED: "exceeded quota: limits, requested: cpu=1, used: cpu=4, limited: cpu=4",
    Fate.LIMIT_RANGE: "maximum memory usage per Container is 1Gi, but limit is 2Gi",
    Fate.POD_SECURITY: 'violates PodSecurity "restricted:latest": runAsNonRoot != true',
}
# Fates of a pod that Events tell: reason and message.
TOLD = {
    Fate.PULL_FAILS: ("Failed", "Failed to pull image: not found"),
    Fate.CRASHES: ("BackOff", "Back-off restarting failed container"),
    Fate.OUT_OF_MEMORY: ("BackOff", "Back-off restarting failed container"),
    Fate.UNSCHEDULABLE: ("FailedScheduling", "0/3 nodes are available: 3 Insufficient memory."),
    Fate.PROBE_FAILS: (
        "Unhealthy",
        "Readiness probe failed: statuscode: 500",
    ),
    Fate.CONFIG_MISSING: ("Failed", "Error: secret not found"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a container's state says: where it waits, or how it last ended."""

    waiting: tuple[str, str] | None = None  # reason and message
    ended: tuple[str, int] | None = None  # reason and exit code
    restarts: int = 0


_STATES = {
    Fate.PULL_FAILS: Told(waiting=("ImagePullBackOff", 'Back-off pulling image "{image}"')),
    Fate.CRASHES: Told(
        waiting=("CrashLoopBackOff", "back-off 40s restarting failed container={name}"),
        ended=("Error", 1),
        restarts=4,
    ),
    Fate.OUT_OF_MEMORY: Told(
        waiting=("CrashLoopBackOff", "back-off 40s restarting failed container={name}"),
        ended=("OOMKilled", 137),
        restarts=4,
    ),
    Fate.CONFIG_MISSING: Told(waiting=("CreateContainerConfigError", 'secret "{name}" not found')),
}


def status(pod: Object, fate: Fate, now: str, address: str) -> Object:
    """The status of a pod of which `fate` has been known since `now`."""
    scheduled = fate is not Fate.UNSCHEDULABLE
    conditions = [_condition("PodScheduled", scheduled, now, _unscheduled(fate))]
    told: Object = {"qosClass": "Burstable"}
    if not scheduled:
        return {**told, "phase": "Pending", "conditions": conditions}
    ready = fate is Fate.RUNS
    done = fate is Fate.COMPLETES
    started = fate not in _STATES or _STATES[fate].ended is not None
    containers = [_container(one, fate, now) for one in pod["spec"]["containers"]]
    why = ("", "") if ready else ("ContainersNotReady", "containers with unready status")
    conditions += [
        _condition("Initialized", True, now),
        _condition("ContainersReady", ready, now, why),
        _condition("Ready", ready, now, why),
    ]
    return {
        **told,
        "phase": "Succeeded" if done else ("Running" if started else "Pending"),
        "conditions": conditions,
        "startTime": now,
        "hostIP": "192.0.2.1",
        "podIP": address,
        "containerStatuses": containers,
    }


def _unscheduled(fate: Fate) -> tuple[str, str]:
    return ("Unschedulable", TOLD[fate][1]) if fate is Fate.UNSCHEDULABLE else ("", "")


def _condition(kind: str, holds: bool, now: str, why: tuple[str, str] = ("", "")) -> Object:
    told = {"type": kind, "status": str(bool(holds)), "lastTransitionTime": now}
    reason, message = why
    return {**told, "reason": reason, "message": message} if reason and not holds else told


def _container(one: Object, fate: Fate, now: str) -> Object:
    told = _STATES.get(fate, Told())
    state: Object = {"running": {"startedAt": now}}
    if told.waiting is not None:
        reason, message = told.waiting
        said = message.format(image=one["image"], name=one["name"])
        state = {"waiting": {"reason": reason, "message": said}}
    elif fate is Fate.COMPLETES:
        state = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": now}}
    last: Object = {}
    if told.ended is not None:
        reason, code = told.ended
        last = {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now}}
    return {
        "name": one["name"],
        "image": one["image"],
        "imageID": "",
        "ready": fate is Fate.RUNS,
        "started": told.waiting is None,
        "restartCount": told.restarts,
        "state": state,
        "lastState": last,
    }
