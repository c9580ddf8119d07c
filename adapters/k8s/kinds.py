"""Where objects of a kind are: a table of what Kubernetes has itself, the rest is discovered."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import quote


class Kind(NamedTuple):
    """A kind of object as a cluster serves it."""

    api_version: str
    name: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """As messages and Roles name it: `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The path of one object; without a name, of all in a namespace or in the cluster."""
        path = _collection(self, namespace)
        for part in (name, subresource):
            path += f"/{quote(part, safe='')}" if part else ""
        return path


@lru_cache(maxsize=4096)  # asked for each request
def _collection(kind: Kind, namespace: str) -> str:
    within = ("namespaces", namespace) if kind.namespaced and namespace else ()
    root = "/apis" if kind.group else "/api"
    return "/".join(
        [root, kind.api_version, *(quote(part, safe="") for part in (*within, kind.plural))]
    )


_BUILT_IN: Final = (
    Kind("v1", "Namespace", "namespaces", namespaced=False),
    Kind("v1", "ConfigMap", "configmaps"),
    Kind("v1", "Event", "events"),
    Kind("v1", "LimitRange", "limitranges"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "ResourceQuota", "resourcequotas"),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "Service", "services"),
    Kind("v1", "ServiceAccount", "serviceaccounts"),
    Kind("apps/v1", "ControllerRevision", "controllerrevisions"),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("apps/v1", "ReplicaSet", "replicasets"),
    Kind("apps/v1", "StatefulSet", "statefulsets"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("batch/v1", "CronJob", "cronjobs"),
    Kind("batch/v1", "Job", "jobs"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
)
BUILT_IN: Final[Mapping[tuple[str, str], Kind]] = MappingProxyType(
    {(kind.api_version, kind.name): kind for kind in _BUILT_IN}
)

_OF_ROUTES: Final = (
    BUILT_IN["networking.k8s.io/v1", "Ingress"],
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    Kind("traefik.io/v1alpha1", "IngressRoute", "ingressroutes"),
    Kind("traefik.io/v1alpha1", "Middleware", "middlewares"),
    Kind("traefik.io/v1alpha1", "TraefikService", "traefikservices"),
)
OF_ROUTES: Final[Mapping[tuple[str, str], Kind]] = MappingProxyType(
    {(kind.api_version, kind.name): kind for kind in _OF_ROUTES}
)
"""Kinds that a cluster has if somebody installed a router that brings them; but for Ingress."""
