"""How many pods a workload has, where that is told to the cluster apart from all else of it. Pure.

Each says only a number, of an object that is there: so it asks for nothing that a quota or a policy
could refuse, and it is held until whoever decides the number next applies it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from reconcilers import object_comparing as comparing
from reconcilers.object_actions import Action, ApplyObject
from reconcilers.object_labels import UID
from reconcilers.object_ports import HANDOVER, Json, Manifest, ObjectKey, Stage

WORKLOADS: Final = frozenset({"Deployment", "StatefulSet"})


def handover(
    manifest: Manifest,
    there: Json | None,
    wanted: Sequence[Manifest],
    seen: Mapping[ObjectKey, Json],
) -> Iterator[ApplyObject]:
    """Have the present `replicas` kept by somebody until a new autoscaler decides them.

    A field that its last owner lets go of gets its default: 1 replica, whatever ran. An autoscaler
    that is there already decides nothing while there are none.
    """
    if there is None or manifest.key.kind not in WORKLOADS or "replicas" in manifest.body["spec"]:
        return
    for other in wanted:
        if other.key.kind != "HorizontalPodAutoscaler":
            continue
        bounds = other.body["spec"]
        now = there.get("spec", {}).get("replicas", 1)
        count = min(max(now, bounds["minReplicas"]), bounds["maxReplicas"])
        if other.key not in seen or count > now == 0:
            yield _counted(there, count, "handover")


def stops(uid: int, live: Sequence[Json], actions: Sequence[Action]) -> Iterator[ApplyObject]:
    """What ends the pods of an app that should have none, before anything else is asked for.

    Whatever keeps the rest of a plan from being done, such as a cluster that refuses what is new in
    it, keeps no pod. Nothing is said of a workload whose number is all that the plan begins with.

    Args:
        uid: the app's; what former lives of it left is not for it to stop.
        live: what is ours of it.
        actions: all that is planned.
    """
    for one in live:
        if one["kind"] not in WORKLOADS or not one.get("spec", {}).get("replicas", 1):
            continue
        if (one["metadata"].get("labels") or {}).get(UID) != str(uid):
            continue
        if "deletionTimestamp" not in one["metadata"] and not _is_all(one, actions[:1]):
            yield _counted(one, 0, "stopped")


def is_rolled_out(workload: Json | None) -> bool:
    """Whether a workload's controller has seen all of it and all of its pods are as it says."""
    if workload is None:
        return False
    spec, status = workload.get("spec", {}), workload.get("status", {})
    count = spec.get("replicas", 1)
    ready = (status.get(name, 0) for name in ("updatedReplicas", "availableReplicas"))
    has_seen = status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
    return has_seen and all(number >= count for number in ready)


def _is_all(there: Json, first: Sequence[Action]) -> bool:
    """Whether the first action stops a workload, and changes nothing else in it."""
    for action in first:
        if isinstance(action, ApplyObject) and action.key == ObjectKey.of(there):
            fields = comparing.differing(action.manifest.body, there)
            return "spec.replicas" in fields and not any(
                field.startswith("spec.") and field != "spec.replicas" for field in fields
            )
    return False


def _counted(there: Json, count: int, because: Literal["handover", "stopped"]) -> ApplyObject:
    api_version, kind, namespace, name = ObjectKey.of(there)
    body = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": count},
    }
    return ApplyObject(
        manifest=Manifest(stage=Stage.WORKLOAD, body=body, digest=""),
        uid=there["metadata"]["uid"],
        because=because,
        manager=HANDOVER,
    )
