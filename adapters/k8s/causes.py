"""Why an app is not well: from pods, what makes them, and events, to a reason and a sentence. Pure.

The state of an object says that something is wrong; events only say it better, for they are lossy
and old ones are forgotten. Pods that are on their way out are nobody's trouble.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/ and the reasons that
kubelets, schedulers and controllers write.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconcilers.object_ports import Cause, Json

DEADLINE: Final = "ProgressDeadlineExceeded"
SENTENCE: Final = 400  # characters of what a cluster says; some repeat themselves for pages

_IMAGE: Final = frozenset(
    {
        *("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
        *("ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"),
    }
)
_CONFIG: Final = frozenset(
    {
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
        *("StartError", "PostStartHookError", "PreCreateHookError"),
    }
)
_MOST_TELLING: Final = (
    *("PodSecurityRefused", "QuotaExceeded", "LimitExceeded", "StartRefused", "ImageUnavailable"),
    *(
        "OutOfMemory",
        "CrashLoop",
        "VolumePending",
        "Unschedulable",
        "HealthCheckFailing",
        "Evicted",
    ),
    "DeadlineExceeded",
)
_LIMITED: Final = re.compile(r"(maximum|minimum) \S+ usage per|max limit to request ratio per")
_VOLUME_EVENTS: Final = frozenset({"FailedMount", "FailedAttachVolume", "ProvisioningFailed"})


def causes(live: Sequence[Json], pods: Sequence[Json]) -> tuple[Cause, ...]:
    """What is wrong with an app, the most telling first, each reason once.

    `live` is all that is there of the app; `pods` those of it that should be well, newest first.
    """
    said = _Events(live)
    found = [*_of_makers(live, said), *(t for pod in pods for t in _of_pod(pod, said))]
    first: dict[str, Cause] = {}
    counts: dict[str, int] = {}
    for cause in found:
        first.setdefault(cause.reason, cause)
        counts[cause.reason] = counts.get(cause.reason, 0) + 1
    return tuple(
        _with_others(first[reason], counts[reason] - 1)
        for reason in _MOST_TELLING
        if reason in first
    )


def claimed(body: Json, kind: str) -> Json:
    """A condition of an object's status; empty if it has none of that type."""
    for one in body.get("status", {}).get("conditions") or ():
        if one.get("type") == kind:
            found: Json = one
            return found
    return {}


class _Events:
    """The newest message of each reason, by the uid of the object it is about."""

    def __init__(self, live: Sequence[Json]) -> None:
        events = [one for one in live if one["kind"] == "Event"]
        self._said: dict[tuple[str, str], str] = {}
        for event in sorted(events, key=_told_at):
            about = event.get("involvedObject", {}).get("uid", "")
            self._said[about, event.get("reason", "")] = event.get("message", "")

    def of(self, body: Json, *reasons: str) -> str:
        uid = body["metadata"].get("uid", "")
        return next((s for reason in reasons if (s := self._said.get((uid, reason)))), "")


def _told_at(event: Json) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    )


# -- what makes pods ------------------------------------------------------------------------------


def _of_makers(live: Sequence[Json], said: _Events) -> Iterator[Cause]:
    for body in live:
        kind = body["kind"]
        if kind not in {"Deployment", "StatefulSet", "ReplicaSet"}:
            continue
        failure = claimed(body, "ReplicaFailure")
        if failure.get("status") == "True":
            yield _refused(failure.get("message", ""))
        elif kind == "StatefulSet" and _lacks_pods(body) and (why := said.of(body, "FailedCreate")):
            yield _refused(why)
        if kind == "Deployment" and _is_stalled(body):
            yield Cause("DeadlineExceeded", "the rollout did not get on by its deadline")


def _lacks_pods(body: Json) -> bool:
    wanted: int = body.get("spec", {}).get("replicas", 1)
    made: int = body.get("status", {}).get("replicas", 0)
    return made < wanted


def _is_stalled(body: Json) -> bool:
    progress = claimed(body, "Progressing")
    return progress.get("status") == "False" and progress.get("reason") == DEADLINE


def _refused(message: str) -> Cause:
    """Why the server would not have a pod."""
    if "exceeded quota" in message or "failed quota" in message:
        return Cause("QuotaExceeded", f"the project's quota allows no more: {_short(message)}")
    if _LIMITED.search(message):
        return Cause("LimitExceeded", f"the limits of the project refuse it: {_short(message)}")
    if "violates PodSecurity" in message:
        return Cause("PodSecurityRefused", f"the cluster refuses such pods: {_short(message)}")
    return Cause("StartRefused", f"the cluster makes no pods of it: {_short(message)}")


# -- pods -----------------------------------------------------------------------------------------


def _of_pod(pod: Json, said: _Events) -> Iterator[Cause]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("phase") == "Failed":
        if status.get("reason") == "Evicted":
            yield Cause("Evicted", f"{name} was evicted: {_short(status.get('message', ''))}")
        return
    scheduled = claimed(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield _unscheduled(name, scheduled)
        return
    containers = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]
    if not any(container.get("started") for container in containers) and (
        why := said.of(pod, *_VOLUME_EVENTS)
    ):
        yield Cause("VolumePending", f"{name} waits for its volumes: {_short(why)}")
    for container in containers:
        yield from _of_container(pod, container, said)


def _unscheduled(name: str, scheduled: Json) -> Cause:
    message = scheduled.get("message", "")
    if "PersistentVolumeClaim" in message:
        return Cause("VolumePending", f"{name} waits for its volumes: {_short(message)}")
    return Cause("Unschedulable", f"no node has room for {name}: {_short(message)}")


def _of_container(pod: Json, container: Json, said: _Events) -> Iterator[Cause]:
    name = pod["metadata"]["name"]
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated")
    last = ended or (container.get("lastState") or {}).get("terminated")
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE:
        told = said.of(pod, "Failed") if reason == "ImagePullBackOff" else ""
        why = _short(told or message or reason)
        yield Cause("ImageUnavailable", f"{name} cannot get {container.get('image')}: {why}")
    elif reason in _CONFIG:
        yield Cause("StartRefused", f"{name} cannot start: {_short(message or reason)}")
    elif reason == "CrashLoopBackOff" or ended:
        yield _crashed(name, last or {}, container.get("restartCount", 0))
    elif "running" in state and not container.get("ready", False):
        why = said.of(pod, "Unhealthy")
        if why:
            yield Cause("HealthCheckFailing", f"{name}: {_short(why)}")
        elif last and last.get("reason") == "OOMKilled":
            yield _crashed(name, last, container.get("restartCount", 0))


def _crashed(name: str, last: Mapping[str, Any], restarts: int) -> Cause:
    times = f"; it was started again {restarts} times" if restarts > 1 else ""
    if last.get("reason") == "OOMKilled":
        text = f"{name} needed more memory than spec.resources.memory allows{times}"
        return Cause("OutOfMemory", text)
    how = f"exited with {last.get('exitCode')}" if "exitCode" in last else "ended"
    why = last.get("message") or last.get("reason") or ""
    detail = f" ({_short(why)})" if why else ""
    return Cause("CrashLoop", f"{name} {how}{detail}{times}")


def _with_others(cause: Cause, others: int) -> Cause:
    if not others:
        return cause
    return Cause(cause.reason, f"{cause.message} (and {others} more like it)")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SENTENCE else f"{line[: SENTENCE - 3]}..."
