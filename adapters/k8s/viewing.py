"""An app as its objects show it: counts, revisions, replicas, and what is wrong. Pure.

A Deployment counts a pod as available after `minReadySeconds`; that is what ready means here.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from adapters.k8s.causes import DEADLINE, causes, claimed
from reconcilers.object_labels import REVISION
from reconcilers.object_ports import Json, ObjectView
from reconcilers.status import ReplicaStatus


def view(live: Sequence[Json], app: str) -> ObjectView:
    """What is there of one app: of several workloads while one replaces another, too."""
    workloads = [
        one
        for one in live
        if one["kind"] in {"Deployment", "StatefulSet"} and one["metadata"]["name"] == app
    ]
    slots = numbered(one for one in live if one["kind"] == "Pod")
    pods = [one for one in live if one["kind"] == "Pod" and not _is_over(one)]
    pods.sort(key=lambda pod: (-_revision(pod), pod["metadata"]["name"]))
    replicas = tuple(_replica(pod, slots) for pod in pods)
    if not workloads:
        return ObjectView(replicas=replicas)
    present = max(workloads, key=lambda one: (_revision(one), one["kind"]))
    spec, status = present.get("spec", {}), present.get("status", {})
    progress = claimed(present, "Progressing")
    ready = [pod for pod in pods if _is_ready(pod)]
    available = sum(one.get("status", {}).get("availableReplicas", 0) for one in workloads)
    current = [pod for pod in pods if _revision(pod) == _revision(present)]
    return ObjectView(
        wanted=spec.get("replicas", 1),
        ready=available,
        updated=0 if _is_ending(present) else _updated(present, ready),
        revision=_revision(present),
        serving=max((_revision(pod) for pod in ready), default=0),
        is_settled=status.get("observedGeneration", 0) >= present["metadata"].get("generation", 0),
        is_timed=present["kind"] == "Deployment",
        is_stalled=progress.get("status") == "False" and progress.get("reason") == DEADLINE,
        causes=causes(live, [pod for pod in (current or pods) if not _is_ending(pod)]),
        replicas=replicas,
    )


def _updated(workload: Json, ready: Sequence[Json]) -> int:
    """How many pods serve as the workload says now, as its controller and the pods agree."""
    status, mine = workload.get("status", {}), _revision(workload)
    told = (status.get(name, 0) for name in ("updatedReplicas", "availableReplicas"))
    found: int = min(*told, sum(1 for pod in ready if _revision(pod) == mine))
    return found


def _revision(body: Json) -> int:
    return int((body["metadata"].get("labels") or {}).get(REVISION, 0))


def _is_ending(body: Json) -> bool:
    return "deletionTimestamp" in body["metadata"]


def _is_over(pod: Json) -> bool:
    is_over: bool = pod.get("status", {}).get("phase") == "Succeeded"
    return is_over


def _is_ready(pod: Json) -> bool:
    is_ready: bool = claimed(pod, "Ready").get("status") == "True"
    return is_ready and not _is_ending(pod)


def _replica(pod: Json, slots: Mapping[str, int]) -> ReplicaStatus:
    """A pod as a replica: each start of its container is an attempt."""
    name = pod["metadata"]["name"]
    container: Json = next(iter(pod.get("status", {}).get("containerStatuses") or ()), {})
    state = container.get("state") or {}
    ended = state.get("terminated") or {}
    return ReplicaStatus(
        name=name,
        revision=_revision(pod),
        slot=slots[name],
        attempt=1 + container.get("restartCount", 0),
        state="running" if "running" in state else "exited" if ended else "created",
        ready=_is_ready(pod),
        message=(state.get("waiting") or {}).get("reason", "") or ended.get("reason", ""),
        started_at=_seconds((state.get("running") or {}).get("startedAt")),
        exit_code=ended.get("exitCode"),
    )


def numbered(pods: Iterable[Json]) -> Mapping[str, int]:
    """The slot of each of an app's pods, by its name.

    Pods of a StatefulSet have numbers; those of a Deployment are counted in the order of names.
    """
    slots, count = dict[str, int](), itertools.count()
    for pod in sorted(pods, key=lambda one: str(one["metadata"]["name"])):
        name = pod["metadata"]["name"]
        owners = pod["metadata"].get("ownerReferences") or ()
        is_stateful = any(owner.get("kind") == "StatefulSet" for owner in owners)
        slots[name] = int(name.rpartition("-")[2]) if is_stateful else next(count)
    return slots


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
