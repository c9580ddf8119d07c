"""Why an app on a cluster is not well: objects as clusters write them, and what is said of them."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.k8s.causes import SENTENCE, causes
from adapters.k8s.viewing import view
from reconcilers.object_labels import REVISION
from reconcilers.object_ports import Json

type Body = dict[str, Any]

RUNNING: Body = {"state": {"running": {"startedAt": "2030-01-01T12:00:00Z"}}, "started": True}
OOM: Body = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
QUOTA = 'pods "web-1" is forbidden: exceeded quota: stateward--project, requested: pods=1, used: 5k'
SECURITY = (
    'pods "web-1" is forbidden: violates PodSecurity "restricted:latest": '
    'allowPrivilegeEscalation != false (container "web" must set it)'
)


def pod(name: str = "web-1", *, revision: int = 1, ready: bool = False, **status: Any) -> Body:
    conditions = [*status.pop("conditions", ()), {"type": "Ready", "status": str(ready)}]
    metadata = {"name": name, "uid": name, "labels": {REVISION: str(revision)}}
    return {"kind": "Pod", "metadata": metadata, "status": {"conditions": conditions, **status}}


def container(**status: Any) -> Body:
    return {"containerStatuses": [{"name": "web", "image": "web:1", "ready": False, **status}]}


def waiting(reason: str, message: str = "", **more: Any) -> Body:
    return container(state={"waiting": {"reason": reason, "message": message}}, **more)


def workload(
    kind: str = "Deployment", *, revision: int = 1, replicas: int = 1, **status: Any
) -> Body:
    labels = {REVISION: str(revision)}
    return {
        "kind": kind,
        "metadata": {"name": "web", "uid": kind, "generation": 2, "labels": labels},
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 2, **status},
    }


def failing(message: str) -> Body:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
    return workload(conditions=[{**failure, "message": message}])


def event(about: str, reason: str, message: str, at: str = "2030-01-01T12:00:00Z") -> Body:
    return {
        "kind": "Event",
        "metadata": {"name": f"{about}.{reason}.{at}"},
        "involvedObject": {"uid": about},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
    }


def unscheduled(message: str) -> Body:
    return {
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
            }
        ]
    }


CASES: Mapping[str, tuple[list[Body], str, str]] = {
    "image that is not there": (
        [pod(**waiting("ErrImagePull", "not found"))],
        "ImageUnavailable",
        "web-1 cannot get web:1: not found",
    ),
    "image, seconds later": (
        [
            pod(**waiting("ImagePullBackOff", "Back-off pulling image")),
            event("web-1", "Failed", "401 Unauthorized"),
        ],
        "ImageUnavailable",
        "401 Unauthorized",
    ),
    "crash loop": (
        [
            pod(
                **waiting(
                    "CrashLoopBackOff",
                    restartCount=5,
                    lastState={"terminated": {"reason": "Error", "exitCode": 3}},
                )
            )
        ],
        "CrashLoop",
        "web-1 exited with 3 (Error); it was started again 5 times",
    ),
    "crash that says why": (
        [pod(**container(state={"terminated": {"exitCode": 1, "message": "no\n config"}}))],
        "CrashLoop",
        "web-1 exited with 1 (no config)",
    ),
    "out of memory": (
        [pod(**waiting("CrashLoopBackOff", restartCount=2, lastState=OOM))],
        "OutOfMemory",
        "needed more memory than spec.resources.memory allows",
    ),
    "out of memory, running again": (
        [pod(**container(**RUNNING, restartCount=1, lastState=OOM))],
        "OutOfMemory",
        "web-1",
    ),
    "no such key": (
        [pod(**waiting("CreateContainerConfigError", "couldn't find key"))],
        "StartRefused",
        "couldn't find key",
    ),
    "no room": (
        [pod(**unscheduled("0/3 nodes are available: 3 Insufficient cpu."))],
        "Unschedulable",
        "3 Insufficient cpu",
    ),
    "claim without a volume": (
        [pod(**unscheduled("pod has unbound immediate PersistentVolumeClaims"))],
        "VolumePending",
        "unbound",
    ),
    "volume that does not mount": (
        [
            pod(**waiting("ContainerCreating")),
            event("web-1", "FailedMount", "mount failed: exit status 32"),
        ],
        "VolumePending",
        "exit status 32",
    ),
    "quota": ([failing(QUOTA)], "QuotaExceeded", "exceeded quota: stateward--project"),
    "limits": (
        [
            failing(
                'pods "web-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2'
            )
        ],
        "LimitExceeded",
        "maximum cpu usage per Container is 1",
    ),
    "limits of a ratio": (
        [failing("[memory max limit to request ratio per Container is 2, but provided is 4]")],
        "LimitExceeded",
        "ratio per Container is 2",
    ),
    "pod security": ([failing(SECURITY)], "PodSecurityRefused", "allowPrivilegeEscalation"),
    "webhook": ([failing("admission webhook denied it")], "StartRefused", "webhook denied"),
    "quota of a stateful set": (
        [workload("StatefulSet", replicas=1), event("StatefulSet", "FailedCreate", QUOTA)],
        "QuotaExceeded",
        "exceeded quota",
    ),
    "probe": (
        [
            pod(**container(**RUNNING)),
            event("web-1", "Unhealthy", "Readiness probe failed: HTTP status 500"),
        ],
        "HealthCheckFailing",
        "web-1: Readiness probe failed: HTTP status 500",
    ),
    "eviction": (
        [pod(phase="Failed", reason="Evicted", message="low on resource: memory")],
        "Evicted",
        "low on resource: memory",
    ),
    "deadline": (
        [
            workload(
                conditions=[
                    {
                        "type": "Progressing",
                        "status": "False",
                        "reason": "ProgressDeadlineExceeded",
                    }
                ]
            )
        ],
        "DeadlineExceeded",
        "by its deadline",
    ),
}


def found(live: list[Body]) -> list[tuple[str, str]]:
    return list(causes(live, [one for one in live if one["kind"] == "Pod"]))


@pytest.mark.parametrize("case", CASES)
def test_a_cause_has_its_reason_and_a_sentence(case: str) -> None:
    live, reason, part = CASES[case]
    [(told, message)] = found(live)
    assert (told, part in message) == (reason, True), message


def test_a_running_pod_that_is_not_ready_yet_is_no_trouble() -> None:
    assert found([workload(), pod(**container(**RUNNING))]) == []


def test_a_healthy_app_is_in_no_trouble_though_old_events_say_otherwise() -> None:
    well = {**container(**RUNNING), "phase": "Running"}
    well["containerStatuses"][0]["ready"] = True
    live = [workload(), pod(ready=True, **well), event("web-1", "Unhealthy", "probe failed")]
    assert found(live) == []


def test_many_pods_with_one_cause_are_one_sentence_with_their_number() -> None:
    pods = [pod(f"web-{n}", **waiting("ErrImagePull", "not found")) for n in range(3)]
    [(_, message)] = found(pods)
    assert message == "web-0 cannot get web:1: not found (and 2 more like it)"


def test_the_most_telling_cause_comes_first() -> None:
    pods = [
        pod("web-1", **unscheduled("no room")),
        pod("web-2", **waiting("ErrImagePull", "not found")),
    ]
    deadline = CASES["deadline"][0]
    reasons = [reason for reason, _ in found([*deadline, *pods])]
    assert reasons == ["ImageUnavailable", "Unschedulable", "DeadlineExceeded"]


def test_the_newest_event_is_told() -> None:
    live = [
        pod(**container(**RUNNING)),
        event("web-1", "Unhealthy", "status 503", "2030-01-01T12:05:00Z"),
        event("web-1", "Unhealthy", "status 500", "2030-01-01T12:00:00Z"),
    ]
    assert found(live)[0][1] == "web-1: status 503"


_texts = st.text(max_size=1000) | st.sampled_from([QUOTA, SECURITY, "it broke\n" * 90])
_reasons = st.sampled_from(["ErrImagePull", "CrashLoopBackOff", "CreateContainerError", "Else"])


@given(reason=_reasons, message=_texts, told=_texts)
def test_whatever_a_cluster_says_is_one_short_line(reason: str, message: str, told: str) -> None:
    live = [failing(message), pod(**waiting(reason, message)), event("web-1", "Failed", told)]
    for reason_told, sentence in found(live):
        assert re.fullmatch(r"[A-Z][A-Za-z]+", reason_told)
        assert "\n" not in sentence
        assert len(sentence) < SENTENCE + 200


# --- the view of an app -------------------------------------------------------------------------


def test_a_rollout_in_progress_counts_each_revision_by_itself() -> None:
    live: list[Json] = [
        workload(revision=2, replicas=2, availableReplicas=2, updatedReplicas=1),
        pod("web-a", revision=1, ready=True),
        pod("web-b", revision=2, ready=True),
        pod("web-c", revision=2, **waiting("ErrImagePull", "not found")),
    ]
    seen = view(live, "web")
    assert (seen.wanted, seen.ready, seen.updated) == (2, 2, 1)
    assert (seen.revision, seen.serving, seen.is_settled) == (2, 2, True)
    assert seen.causes[0].reason == "ImageUnavailable"
    assert [(r.name, r.revision, r.ready) for r in seen.replicas] == [
        ("web-b", 2, True),
        ("web-c", 2, False),
        ("web-a", 1, True),
    ]


def test_what_the_cluster_has_not_taken_in_yet_is_not_settled() -> None:
    assert not view([workload(observedGeneration=1)], "web").is_settled


def test_trouble_of_an_old_revision_and_of_what_ends_is_nobodys() -> None:
    leaving = pod("web-c", revision=2, **waiting("CrashLoopBackOff"))
    leaving["metadata"]["deletionTimestamp"] = "2030-01-01T12:00:00Z"
    live: list[Json] = [
        workload(revision=2, availableReplicas=1, updatedReplicas=1),
        pod("web-a", revision=1, **waiting("CrashLoopBackOff")),
        pod("web-b", revision=2, ready=True),
        leaving,
    ]
    assert view(live, "web").causes == ()


def test_a_replica_of_a_stateful_set_has_its_slot() -> None:
    one = pod("web-3", ready=True, **container(**RUNNING, restartCount=2))
    one["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "controller": True}]
    [replica] = view([workload("StatefulSet"), one], "web").replicas
    assert (replica.slot, replica.attempt, replica.state) == (3, 3, "running")
    assert replica.started_at == 1893499200.0
    other = pod("web-77777", ready=True)
    assert view([workload(), other], "web").replicas[0].slot == 0
