"""What a server fills in where a writer says nothing, per kind. Functions alter the object given.

Source: the `zz_generated.defaults.go` of Kubernetes 1.36, for the kinds that Stateward writes.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.kubernetes.schema import Object


def fill(kind: str, written: Object) -> None:
    """Fill in the defaults of a kind; a kind without any is left as it is."""
    if (by_kind := _BY_KIND.get(kind)) is not None:
        written.setdefault("spec", {})
        by_kind(written, written["spec"])
    elif kind == "Secret":
        _secret(written)
    elif kind in {"RoleBinding", "ClusterRoleBinding"}:
        _binding(written)


def _set(target: Object, **defaults: Any) -> None:
    for key, value in defaults.items():
        if target.get(key) is None:
            target[key] = value


# --- pods -------------------------------------------------------------------------------------


def pod_spec(spec: Object) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if name := spec.get("serviceAccountName"):
        _set(spec, serviceAccount=name)
    for container in containers(spec):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def containers(spec: Object) -> Iterator[Object]:
    yield from spec.get("initContainers") or ()
    yield from spec.get("containers") or ()


def _container(container: Object) -> None:
    image = str(container.get("image", ""))
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = "@" not in image and tag in {"", "latest"}
    _set(
        container,
        imagePullPolicy="Always" if latest else "IfNotPresent",
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in container.get("ports") or ():
        _set(port, protocol="TCP")
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(reference, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _probe(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and (request := hook.get("httpGet")):
            _set(request, path="/", scheme="HTTP")


def _probe(probe: Object) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if request := probe.get("httpGet"):
        _set(request, path="/", scheme="HTTP")
    if request := probe.get("grpc"):
        _set(request, service="")


def _volume(volume: Object) -> None:
    if volume.keys() == {"name"}:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "projected", "downwardAPI"):
        if (source := volume.get(name)) is not None:
            _set(source, defaultMode=420)


def _pod(written: Object, spec: Object) -> None:
    pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    for container in containers(spec):
        resources = container["resources"]
        if limits := resources.get("limits"):
            resources["requests"] = {**limits, **resources.get("requests", {})}
    _set(written.setdefault("status", {}), phase="Pending", qosClass="Burstable")


def _template(spec: Object) -> None:
    template = spec.setdefault("template", {})
    pod_spec(template.setdefault("spec", {}))


# --- workloads --------------------------------------------------------------------------------


def _deployment(written: Object, spec: Object) -> None:
    _set(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _set(spec["strategy"], rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _stateful_set(written: Object, spec: Object) -> None:
    _set(
        spec,
        replicas=1,
        podManagementPolicy="OrderedReady",
        revisionHistoryLimit=10,
        updateStrategy={},
        persistentVolumeClaimRetentionPolicy={},
    )
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={})
        _set(spec["updateStrategy"]["rollingUpdate"], partition=0)
    _set(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")
    for claim in spec.get("volumeClaimTemplates") or ():
        _set(claim, apiVersion="v1", kind="PersistentVolumeClaim", spec={})
        _claim(claim, claim["spec"])
    _template(spec)


def _replica_set(written: Object, spec: Object) -> None:
    _set(spec, replicas=1)
    _template(spec)


def _job(written: Object, spec: Object) -> None:
    _set(
        spec,
        completions=1,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="TerminatingOrFailed",
    )
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    labels = template.setdefault("labels", {})
    own = {
        "batch.kubernetes.io/controller-uid": written["metadata"].get("uid", ""),
        "batch.kubernetes.io/job-name": written["metadata"].get("name", ""),
    }
    if not spec["manualSelector"] and own["batch.kubernetes.io/controller-uid"]:
        _set(labels, **own)
        _set(
            spec,
            selector={
                "matchLabels": {
                    "batch.kubernetes.io/controller-uid": own["batch.kubernetes.io/controller-uid"]
                }
            },
        )
    _template(spec)


def _cron_job(written: Object, spec: Object) -> None:
    _set(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
    )
    _template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}))


# --- the rest ---------------------------------------------------------------------------------


def _namespace(written: Object, spec: Object) -> None:
    _set(spec, finalizers=["kubernetes"])
    metadata = written["metadata"]
    if name := metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    _set(written.setdefault("status", {}), phase="Active")


def _service(written: Object, spec: Object) -> None:
    _set(spec, type="ClusterIP", sessionAffinity="None")
    for port in spec.get("ports") or ():
        _set(port, protocol="TCP", targetPort=port.get("port"))
    if spec["type"] != "ExternalName":
        _set(
            spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack"
        )
    _set(written.setdefault("status", {}), loadBalancer={})


def _claim(written: Object, spec: Object) -> None:
    _set(spec, volumeMode="Filesystem")
    _set(written.setdefault("status", {}), phase="Pending")


def _network_policy(written: Object, spec: Object) -> None:
    spec.setdefault("podSelector", {})
    types = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    _set(spec, policyTypes=types)
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            _set(port, protocol="TCP")


def _autoscaler(written: Object, spec: Object) -> None:
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    _set(spec, minReplicas=1, metrics=[cpu])


def _limit_range(written: Object, spec: Object) -> None:
    for limit in spec.get("limits") or ():
        if limit.get("type") == "Container":
            limits = {**limit.get("max", {}), **limit.get("default", {})}
            if limits:
                limit["default"] = limits
                limit["defaultRequest"] = {
                    **limits,
                    **limit.get("min", {}),
                    **limit.get("defaultRequest", {}),
                }


def _secret(written: Object) -> None:
    _set(written, type="Opaque")
    if plain := written.pop("stringData", None):
        encoded = {key: base64.b64encode(of.encode()).decode() for key, of in plain.items()}
        written["data"] = {**(written.get("data") or {}), **encoded}


def _binding(written: Object) -> None:
    group = "rbac.authorization.k8s.io"
    _set(written.setdefault("roleRef", {}), apiGroup=group)
    for subject in written.get("subjects") or ():
        _set(subject, apiGroup="" if subject.get("kind") == "ServiceAccount" else group)
        if not subject["apiGroup"]:
            del subject["apiGroup"]


_BY_KIND: dict[str, Callable[[Object, Object], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "ReplicaSet": _replica_set,
    "Job": _job,
    "CronJob": _cron_job,
    "Namespace": _namespace,
    "Service": _service,
    "PersistentVolumeClaim": _claim,
    "NetworkPolicy": _network_policy,
    "HorizontalPodAutoscaler": _autoscaler,
    "LimitRange": _limit_range,
}
