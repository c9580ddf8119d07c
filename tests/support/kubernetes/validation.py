"""What a server refuses with 422 although the schema allows it: names, references, changes.

Each rule yields causes of a refusal. Only what a writer like Stateward can break is here.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.support.kubernetes.answers import cause
from tests.support.kubernetes.defaults import containers
from tests.support.kubernetes.quantities import value_of
from tests.support.kubernetes.schema import Object

type Causes = Iterator[dict[str, str]]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ENVIRONMENT = re.compile(r"[^=\x00-\x1f\x7f-\uffff]+")
_SHORT_NAMES = {"Namespace", "Service"}
_FREE_NAMES = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_ANNOTATIONS = 256 * 1024  # bytes, all together
_DATA = 1024 * 1024  # bytes of a ConfigMap or a Secret


def broken_rules(kind: str, written: Object, live: Object | None) -> Causes:
    """Every rule that an object (or its change from `live`) breaks."""
    yield from _metadata(kind, written["metadata"])
    if kind in _TEMPLATED:
        yield from _workload(kind, written["spec"])
    if (rule := _BY_KIND.get(kind)) is not None:
        yield from rule(written)
    if live is not None:
        yield from _changes(kind, written, live)


def _bad(field: str, value: Any, why: str) -> dict[str, str]:
    said = f'"{value}"' if isinstance(value, str) else value
    return cause("FieldValueInvalid", field, f"Invalid value: {said}: {why}")


def _missing(field: str, why: str = "") -> dict[str, str]:
    return cause("FieldValueRequired", field, f"Required value: {why}" if why else "Required value")


# --- all kinds --------------------------------------------------------------------------------


def _metadata(kind: str, metadata: Object) -> Causes:
    name = metadata.get("name", "")
    short = kind in _SHORT_NAMES
    form, longest = (_LABEL, 63) if short else (_SUBDOMAIN, 253)
    if kind not in _FREE_NAMES and (len(name) > longest or not form.fullmatch(name)):
        what = "label" if short else "subdomain"
        yield _bad("metadata.name", name, f"a lowercase RFC 1123 {what} must consist of lower case")
    yield from _labels("metadata.labels", metadata.get("labels") or {})
    annotations: Object = metadata.get("annotations") or {}
    if sum(len(key) + len(of) for key, of in annotations.items()) > _ANNOTATIONS:
        yield cause(
            "FieldValueTooLong",
            "metadata.annotations",
            "Too long: may not be more than 262144 bytes",
        )
    yield from _keys("metadata.annotations", annotations)


def _keys(field: str, keys: Object) -> Causes:
    for key in keys:
        prefix, _, name = key.rpartition("/")
        if not _QUALIFIED.fullmatch(name) or len(name) > 63:
            yield _bad(
                field, key, "name part must consist of alphanumeric characters, '-', '_' or '.'"
            )
        elif "/" in key and not _SUBDOMAIN.fullmatch(prefix):
            yield _bad(field, key, "prefix part a lowercase RFC 1123 subdomain must consist of")


def _labels(field: str, labels: Object) -> Causes:
    yield from _keys(field, labels)
    for value in labels.values():
        if len(value) > 63:
            yield _bad(field, value, "must be no more than 63 bytes")
        elif value and not _QUALIFIED.fullmatch(value):
            yield _bad(
                field, value, "a valid label must be an empty string or consist of alphanumeric"
            )


# --- workloads and pods -----------------------------------------------------------------------

_STEPS = ("maxSurge", "maxUnavailable")
_TEMPLATED = {"Deployment", "StatefulSet", "ReplicaSet", "Job"}


def _workload(kind: str, spec: Object) -> Causes:
    template = spec["template"]
    labels = template.get("metadata", {}).get("labels") or {}
    yield from _labels("spec.template.metadata.labels", labels)
    if kind != "Job":
        wanted = (spec.get("selector") or {}).get("matchLabels") or {}
        if not wanted and not (spec.get("selector") or {}).get("matchExpressions"):
            yield _missing("spec.selector")
        elif not wanted.items() <= labels.items():
            field = "spec.template.metadata.labels"
            yield _bad(field, str(labels), "`selector` does not match template `labels`")
    allowed = {"Never", "OnFailure"} if kind == "Job" else {"Always"}
    if (policy := template["spec"].get("restartPolicy")) not in allowed:
        said = f'Unsupported value: "{policy}"'
        yield cause("FieldValueNotSupported", "spec.template.spec.restartPolicy", said)
    strategy = spec["strategy"] if kind == "Deployment" else {}
    if strategy.get("type") == "Recreate" and "rollingUpdate" in strategy:
        said = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield cause("FieldValueForbidden", "spec.strategy.rollingUpdate", said)
    steps = strategy.get("rollingUpdate") or {}
    if strategy.get("type") == "RollingUpdate" and not any(map(steps.get, _STEPS)):
        said = "Invalid value: 0: may not be 0 when `maxSurge` is 0"
        yield cause("FieldValueInvalid", "spec.strategy.rollingUpdate.maxUnavailable", said)
    claims = [one["metadata"]["name"] for one in spec.get("volumeClaimTemplates") or ()]
    yield from _pod_spec("spec.template.spec", template["spec"], claims)


def _pod(written: Object) -> Causes:
    yield from _pod_spec("spec", written["spec"], ())


def _pod_spec(at: str, spec: Object, claims: Iterable[str]) -> Causes:
    if not spec.get("containers"):
        yield _missing(f"{at}.containers")
    volumes = {*claims, *(one.get("name") for one in spec.get("volumes") or ())}
    names: set[str] = set()
    for number, one in enumerate(containers(spec)):
        field = f"{at}.containers[{number}]"
        name = one.get("name", "")
        if not name:
            yield _missing(f"{field}.name")
        elif not _LABEL.fullmatch(name) or len(name) > 63:
            yield _bad(
                f"{field}.name", name, "a lowercase RFC 1123 label must consist of lower case"
            )
        elif name in names:
            yield cause("FieldValueDuplicate", f"{field}.name", f'Duplicate value: "{name}"')
        names.add(name)
        yield from _container(field, one, volumes)


def _container(field: str, one: Object, volumes: set[Any]) -> Causes:
    if not one.get("image"):
        yield _missing(f"{field}.image")
    for mount in one.get("volumeMounts") or ():
        if mount.get("name") not in volumes:
            said = f'Not found: "{mount.get("name")}"'
            yield cause("FieldValueNotFound", f"{field}.volumeMounts.name", said)
    for port in one.get("ports") or ():
        if not 0 < port.get("containerPort", 0) < 65536:
            said = "must be between 1 and 65535, inclusive"
            yield _bad(f"{field}.ports.containerPort", port.get("containerPort"), said)
    for variable in one.get("env") or ():
        if not _ENVIRONMENT.fullmatch(variable.get("name", "")):
            yield _bad(
                f"{field}.env.name", variable.get("name"), "a valid environment variable name"
            )
    resources = one.get("resources") or {}
    limits = resources.get("limits") or {}
    for name, request in (resources.get("requests") or {}).items():
        if name in limits and value_of(request) > value_of(limits[name]):
            said = f"must be less than or equal to {name} limit of {limits[name]}"
            yield _bad(f"{field}.resources.requests", request, said)


# --- other kinds ------------------------------------------------------------------------------


def _service(written: Object) -> Causes:
    spec = written["spec"]
    ports = spec.get("ports") or ()
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and spec["type"] != "ExternalName":
        yield _missing("spec.ports")
    names = [port.get("name") for port in ports]
    if len(names) > 1 and not all(names):
        yield _missing("spec.ports[0].name")
    if len(set(names)) < len(names):
        yield cause("FieldValueDuplicate", "spec.ports.name", "Duplicate value")


def _data(written: Object) -> Causes:
    size = sum(len(of) for of in (written.get("data") or {}).values())
    if size > _DATA:
        yield cause("FieldValueTooLong", "data", "Too long: may not be more than 1048576 bytes")


def _budget(written: Object) -> Causes:
    if {"minAvailable", "maxUnavailable"} <= written["spec"].keys():
        yield _bad("spec", "", "minAvailable and maxUnavailable cannot be both set")


def _autoscaler(written: Object) -> Causes:
    spec = written["spec"]
    if spec.get("maxReplicas", 0) < spec.get("minReplicas", 1):
        said = "must be greater than or equal to `minReplicas`"
        yield _bad("spec.maxReplicas", spec.get("maxReplicas"), said)


_BY_KIND: dict[str, Callable[[Object], Causes]] = {
    "Pod": _pod,
    "Service": _service,
    "ConfigMap": _data,
    "Secret": _data,
    "PodDisruptionBudget": _budget,
    "HorizontalPodAutoscaler": _autoscaler,
}

# --- changes ----------------------------------------------------------------------------------

_FIXED = {
    "Deployment": ("spec.selector",),
    "ReplicaSet": ("spec.selector",),
    "Job": ("spec.selector", "spec.template", "spec.completions"),
    "Service": ("spec.clusterIP",),
    "Secret": ("type",),
    "RoleBinding": ("roleRef",),
    "ClusterRoleBinding": ("roleRef",),
    "PersistentVolumeClaim": ("spec.accessModes", "spec.storageClassName", "spec.volumeMode"),
}
_STATEFUL_MAY = {
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
}
_POD_MAY = {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "nodeName"}


def _changes(kind: str, written: Object, live: Object) -> Causes:
    for field in _FIXED.get(kind, ()):
        if _at(live, field) is not None and _at(written, field) != _at(live, field):
            yield _bad(field, str(_at(written, field)), "field is immutable")
    kept = ("data", "binaryData", "immutable") if live.get("immutable") else ()
    fixed = kind in {"ConfigMap", "Secret"}
    if fixed and any(written.get(key) != live.get(key) for key in kept):
        yield cause(
            "FieldValueForbidden",
            "data",
            "Forbidden: field is immutable when `immutable` is set",
        )
    if kind == "StatefulSet" and _but(written, _STATEFUL_MAY) != _but(live, _STATEFUL_MAY):
        yield cause(
            "FieldValueForbidden",
            "spec",
            "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
            "'template', 'updateStrategy', 'revisionHistoryLimit', "
            "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        )
    if kind == "Pod" and _without_images(written) != _without_images(live):
        yield cause(
            "FieldValueForbidden", "spec", "Forbidden: pod updates may not change fields other than"
        )


def _at(written: Object, field: str) -> Any:
    found: Any = written
    for name in field.split("."):
        found = (found or {}).get(name)
    return found


def _but(written: Object, free: set[str]) -> Object:
    return {key: of for key, of in written["spec"].items() if key not in free}


def _without_images(written: Object) -> Object:
    spec = _but(written, _POD_MAY)
    for name in ("containers", "initContainers"):
        spec[name] = [{**one, "image": ""} for one in spec.get(name) or ()]
    return spec
