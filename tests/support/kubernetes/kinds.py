"""Which kinds this server serves, where, and with which subresources."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.kubernetes import schema
from tests.support.kubernetes.schema import Object, Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True
    schema: Schema
    has_status: bool = False
    has_scale: bool = False
    has_generation: bool = False
    annotations_count: bool = False  # a change of annotations is a new generation
    custom: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


CRD = Kind(
    group="apiextensions.k8s.io",
    version="v1",
    plural="customresourcedefinitions",
    name="CustomResourceDefinition",
    namespaced=False,
    schema=schema.unchecked(),
    has_status=True,
    has_generation=True,
)
_PLAIN, _STATUS, _SPEC, _SCALED = "plain", "status", "spec", "scaled"
_TABLE = (
    ("", "v1", "namespaces", "Namespace", _STATUS),
    ("", "v1", "pods", "Pod", _STATUS),
    ("", "v1", "services", "Service", _STATUS),
    ("", "v1", "serviceaccounts", "ServiceAccount", _PLAIN),
    ("", "v1", "secrets", "Secret", _PLAIN),
    ("", "v1", "configmaps", "ConfigMap", _PLAIN),
    ("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", _STATUS),
    ("", "v1", "resourcequotas", "ResourceQuota", _STATUS),
    ("", "v1", "limitranges", "LimitRange", _PLAIN),
    ("", "v1", "events", "Event", _PLAIN),
    ("apps", "v1", "deployments", "Deployment", _SCALED),
    ("apps", "v1", "statefulsets", "StatefulSet", _SCALED),
    ("apps", "v1", "replicasets", "ReplicaSet", _SCALED),
    ("apps", "v1", "controllerrevisions", "ControllerRevision", _PLAIN),
    ("batch", "v1", "jobs", "Job", _SPEC),
    ("batch", "v1", "cronjobs", "CronJob", _SPEC),
    ("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", _SPEC),
    ("networking.k8s.io", "v1", "ingresses", "Ingress", _SPEC),
    ("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", _SPEC),
    ("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", _STATUS),
    ("rbac.authorization.k8s.io", "v1", "roles", "Role", _PLAIN),
    ("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", _PLAIN),
    ("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", _PLAIN),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", _PLAIN),
)
_CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
_WITHOUT_STATUS = {"NetworkPolicy"}


def _builtins() -> Iterator[Kind]:
    for group, version, plural, name, what in _TABLE:
        yield Kind(
            group=group,
            version=version,
            plural=plural,
            name=name,
            namespaced=name not in _CLUSTER_WIDE,
            schema=schema.builtin(name),
            has_status=what != _PLAIN and name not in _WITHOUT_STATUS,
            has_scale=what == _SCALED,
            has_generation=what in {_SPEC, _SCALED},
            annotations_count=name == "Deployment",
        )
    yield CRD


class Kinds:
    """Built-in kinds, and those that custom resource definitions add and take away."""

    def __init__(self) -> None:
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in _builtins()}

    def __iter__(self) -> Iterator[Kind]:
        return iter(tuple(self._by_path.values()))

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_path.get((group, version, plural))

    def of(self, api_version: str, name: str) -> Kind | None:
        for kind in self:
            if (kind.api_version, kind.name) == (api_version, name):
                return kind
        return None

    def define(self, definition: Object) -> None:
        spec = definition["spec"]
        for version in (one for one in spec["versions"] if one.get("served")):
            written = version.get("schema", {}).get("openAPIV3Schema", {"type": "object"})
            kind = Kind(
                group=spec["group"],
                version=version["name"],
                plural=spec["names"]["plural"],
                name=spec["names"]["kind"],
                namespaced=spec.get("scope") == "Namespaced",
                schema=schema.custom(written),
                has_status="status" in version.get("subresources", {}),
                has_generation=True,
                custom=True,
            )
            self._by_path[kind.group, kind.version, kind.plural] = kind

    def forget(self, definition: Object) -> list[Kind]:
        """Serve a custom resource no more; returns what was served."""
        spec = definition["spec"]
        gone = [
            kind
            for kind in self
            if (kind.group, kind.plural) == (spec["group"], spec["names"]["plural"])
        ]
        for kind in gone:
            del self._by_path[kind.group, kind.version, kind.plural]
        return gone
