"""The pod of an app, hardened so that it passes the Pod Security profile `restricted`.

Nothing here is a choice of whoever writes a manifest: no privilege can be asked for. An image must
not need root, nor to write anywhere but to `/tmp` and its volumes.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Sequence
from posixpath import normpath
from typing import Any, Final

from adapters.k8s.render.labels import Owner
from adapters.k8s.render.manifests import given
from adapters.k8s.render.probes import literal, probes
from adapters.k8s.render.quantities import LONGEST, cpu, memory, seconds
from adapters.k8s.render.variables import Variables
from domain.app import Port, Volume
from reconcilers.object_ports import AppOrder

USER: Final = 10001  # of every container; above those that a node's own accounts have
CPU_ASKED: Final = "100m"  # of a node, by an app that says nothing
MEMORY_ASKED: Final = "128Mi"
DISK_ASKED: Final = "64Mi"  # of a node's disk: logs and /tmp
DISK_LIMIT: Final = "2Gi"
TMP_LIMIT: Final = "1Gi"
LEAVING: Final = 5  # seconds that a pod goes on serving while it is taken out of all routes
ZONE: Final = "topology.kubernetes.io/zone"

_TMP: Final = "stateward--tmp"  # the domain keeps `--` for generated names
_PORT_NAME_LENGTH: Final = 15  # of a container's port; a Service's may be longer


def port_names(ports: Sequence[Port]) -> dict[str, str]:
    """What a container calls its ports, by name: all alike, or all by number if one is too long."""
    if all(len(port.name) <= _PORT_NAME_LENGTH for port in ports):
        return {port.name: port.name for port in ports}
    return {port.name: f"{port.protocol}-{port.port}" for port in ports}


def volume_name(volume: Volume) -> str:
    """What a pod calls a volume. Of one per replica it is also how its claims' names begin."""
    return f"{volume.name}--of" if volume.scope == "replica" else volume.name


def claim_name(app: str, volume: Volume) -> str:
    """The claim of a volume that all replicas share."""
    return f"{volume.name}--shared-{app}"


def pod_template(
    order: AppOrder,
    owner: Owner,
    variables: Variables,
    *,
    generation_label: str | None,
    user_namespaces: bool,
) -> dict[str, Any]:
    """The template of a workload's pods.

    `generation_label` is a label by which its controller tells one set of pods from the next.
    """
    return {
        "metadata": {"labels": dict(sorted(owner.of_revision(order.revision).items()))},
        "spec": {
            "serviceAccountName": owner.app,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **given(hostUsers=False if user_namespaces else None),
            "terminationGracePeriodSeconds": _grace(order),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "imagePullSecrets": variables.pull_secrets,
            "topologySpreadConstraints": [_spread(owner, generation_label)],
            "containers": [_container(order, owner, variables)],
            "volumes": _volumes(order, owner),
        },
    }


def _container(order: AppOrder, owner: Owner, variables: Variables) -> dict[str, Any]:
    spec = order.spec
    names = port_names(spec.ports)
    return {
        "name": owner.app,
        "image": order.image,
        "imagePullPolicy": spec.image_pull.policy,
        "command": [literal(word) for word in spec.command],
        "args": [literal(word) for word in spec.args],
        **given(workingDir=spec.workdir),
        "envFrom": variables.env_from,
        "ports": [
            {
                "name": names[port.name],
                "containerPort": port.port,
                "protocol": port.protocol.upper(),
            }
            for port in spec.ports
        ],
        **probes(spec, names),
        "lifecycle": {"preStop": {"sleep": {"seconds": _leaving(order)}}},
        "resources": _resources(order),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _mounts(order),
    }


def _leaving(order: AppOrder) -> int:
    return seconds(order.spec.rollout.drain or "0s", least=LEAVING)


def _grace(order: AppOrder) -> int:
    """Kubernetes counts the wait before the signal, too."""
    return min(_leaving(order) + seconds(order.spec.stop_grace, least=1), LONGEST)


def _resources(order: AppOrder) -> dict[str, Any]:
    """Memory is limited to what is asked for; CPU is not, for idle CPU is nobody's loss."""
    asked = order.spec.resources
    bytes_asked = memory(asked.memory) if asked.memory else None
    return {
        "requests": {
            "cpu": cpu(asked.cpu) if asked.cpu else CPU_ASKED,
            "ephemeral-storage": DISK_ASKED,
            "memory": bytes_asked or MEMORY_ASKED,
        },
        "limits": {"ephemeral-storage": DISK_LIMIT, **given(memory=bytes_asked)},
    }


def _spread(owner: Owner, generation_label: str | None) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": owner.selector},
        "matchLabelKeys": [generation_label] if generation_label else [],
    }


def _has_own_tmp(order: AppOrder) -> bool:
    return any(normpath(volume.path) == "/tmp" for volume in order.spec.volumes)  # noqa: S108 -- in the pod


def _mounts(order: AppOrder) -> list[dict[str, str]]:
    mounts = [{"name": volume_name(v), "mountPath": v.path} for v in order.spec.volumes]
    if not _has_own_tmp(order):
        mounts.append({"name": _TMP, "mountPath": "/tmp"})  # noqa: S108 -- in the pod
    return mounts


def _volumes(order: AppOrder, owner: Owner) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {
            "name": volume_name(volume),
            "persistentVolumeClaim": {"claimName": claim_name(owner.app, volume)},
        }
        for volume in order.spec.volumes
        if volume.scope == "app"
    ]
    if not _has_own_tmp(order):
        volumes.append({"name": _TMP, "emptyDir": {"sizeLimit": TMP_LIMIT}})
    return volumes
