"""What runs an app's pods: a Deployment, or a StatefulSet when replicas have their own volumes.

`replicas` is left out from the first apply on when an autoscaler decides it, so that it is never
ours to lose.
"""

from typing import Any, Final

from adapters.k8s.render.labels import Owner
from adapters.k8s.render.manifests import given, manifest
from adapters.k8s.render.pods import claim_name, pod_template, volume_name
from adapters.k8s.render.quantities import memory, seconds
from adapters.k8s.render.variables import Variables
from domain.app import Volume
from reconcilers.object_ports import AppOrder, Manifest, Stage

HISTORY: Final = 3  # old pod templates kept, to look at; a rollback is a revision of ours
SETTLED: Final = 1  # seconds after which a pod without checks counts as ready, as on every engine
VOLUME_SIZE: Final = "1Gi"  # of one that names none


def is_autoscaled(order: AppOrder) -> bool:
    """A stopped app is not: an autoscaler sleeps while there are 0 replicas."""
    return order.spec.autoscale is not None and order.replicas > 0


def has_slots(order: AppOrder) -> bool:
    """Whether each replica is somebody, with volumes of its own."""
    return any(volume.scope == "replica" for volume in order.spec.volumes)


def slots_service(app: str) -> str:
    """The headless Service that gives each replica of a StatefulSet its name."""
    return f"{app}--slots"


def workload(
    order: AppOrder, owner: Owner, variables: Variables, *, user_namespaces: bool
) -> Manifest:
    """The Deployment or StatefulSet of an app, named after it."""
    if has_slots(order):
        kind, content = "apps/v1 StatefulSet", _stateful_set(order, owner)
        generation_label = None  # a StatefulSet's pods are replaced one for one
    else:
        kind, content = "apps/v1 Deployment", _deployment(order)
        generation_label = "pod-template-hash"
    template = pod_template(
        order,
        owner,
        variables,
        generation_label=generation_label,
        user_namespaces=user_namespaces,
    )
    shared = {
        **given(replicas=None if is_autoscaled(order) else order.replicas),
        "revisionHistoryLimit": HISTORY,
        **given(minReadySeconds=_settled(order) or None),
        "selector": {"matchLabels": owner.selector},
        "template": template,
    }
    labels = owner.of_revision(order.revision)
    return manifest(
        Stage.WORKLOAD, owner, kind, owner.app, {"spec": shared | content}, labels=labels
    )


def claims(order: AppOrder, owner: Owner) -> tuple[Manifest, ...]:
    """The claims of volumes that all replicas share. They are in no set: nothing prunes data."""
    return tuple(
        manifest(
            Stage.CONFIG,
            owner,
            "v1 PersistentVolumeClaim",
            claim_name(owner.app, volume),
            {"spec": _claim(volume)},
            in_set=False,
        )
        for volume in order.spec.volumes
        if volume.scope == "app"
    )


def _settled(order: AppOrder) -> int:
    asked = order.spec.health
    return 0 if asked.startup or asked.readiness else SETTLED


def _deployment(order: AppOrder) -> dict[str, Any]:
    rollout = order.spec.rollout
    strategy: dict[str, Any]
    if rollout.strategy == "stopFirst":
        # None, for a server keeps what it once defaulted, and refuses it beside Recreate
        strategy = {"type": "Recreate", "rollingUpdate": None}
    else:
        steps = {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable}
        strategy = {"type": "RollingUpdate", "rollingUpdate": steps}
    deadline = seconds(rollout.progress_deadline, least=_settled(order) + 1)
    return {"strategy": strategy, "progressDeadlineSeconds": deadline}


def _stateful_set(order: AppOrder, owner: Owner) -> dict[str, Any]:
    return {
        "serviceName": slots_service(owner.app),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "RollingUpdate"},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "volumeClaimTemplates": [
            {
                "metadata": {
                    "name": volume_name(volume),
                    "labels": dict(sorted(owner.labels.items())),
                },
                "spec": _claim(volume),
            }
            for volume in order.spec.volumes
            if volume.scope == "replica"
        ],
    }


def _claim(volume: Volume) -> dict[str, Any]:
    return {
        "accessModes": ["ReadWriteOnce" if volume.scope == "replica" else "ReadWriteMany"],
        "resources": {"requests": {"storage": memory(volume.size or VOLUME_SIZE)}},
    }
