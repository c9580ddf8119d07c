"""What a cluster has to grant us: each request is found in this table, or it is not sent.

The ClusterRoles that ship in `deploy/kubernetes/` are written from it, so no code can need a verb
that they lack. Verbs and resources are those of RBAC: an apply needs `create` and `patch`; a
command in a pod is a `get` that newer servers also want `create` for.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from adapters.k8s.errors import Asked
from adapters.k8s.kinds import BUILT_IN, OF_ROUTES

OWNED: Final = (
    *(("v1", kind) for kind in ("Namespace", "ConfigMap", "Secret", "ServiceAccount", "Service")),
    *(("v1", kind) for kind in ("PersistentVolumeClaim", "ResourceQuota", "LimitRange")),
    *(("apps/v1", kind) for kind in ("Deployment", "StatefulSet")),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
)
"""Kinds that are applied, followed and deleted; those of `OF_ROUTES` are as well."""

FOLLOWED: Final = (
    ("v1", "Pod"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "ControllerRevision"),
)
"""Kinds that the cluster makes of them, and that are followed."""

LEFT: Final = (("v1", "Pod"), ("apps/v1", "ReplicaSet"))
"""Those of them that are deleted where their workload went without them."""

EVENTS: Final = ("v1", "Event")
LOGS: Final = "pods/log"
COMMANDS: Final = "pods/exec"

_FOLLOWING: Final = frozenset({"list", "watch"})
_OWNING: Final = _FOLLOWING | {"create", "delete", "get", "patch"}

GRANTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        **{BUILT_IN[kind].resource: _OWNING for kind in OWNED},
        **{kind.resource: _OWNING for kind in OF_ROUTES.values()},
        **{BUILT_IN[kind].resource: _FOLLOWING for kind in (*FOLLOWED, EVENTS)},
        **{BUILT_IN[kind].resource: _FOLLOWING | {"delete"} for kind in LEFT},
        LOGS: frozenset({"get"}),
        COMMANDS: frozenset({"create", "get"}),
    }
)
"""By resource, as `deployments.apps` and `pods/log`."""

_NEEDS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "apply": frozenset({"create", "patch"}),
        "discover": frozenset(),  # of kinds: every account that is known may
        "run": frozenset({"create", "get"}),
    }
)


class NotGranted(AssertionError):
    """A bug of ours: a request that no Role of ours allows. Add it to the table, or do without."""


def permit(asked: Asked) -> None:
    """Raises: NotGranted."""
    needed = _NEEDS.get(asked.verb, frozenset({asked.verb}))
    missing = needed - GRANTS.get(asked.resource, frozenset())
    if missing:
        raise NotGranted(
            f"asked to {asked}: the table of what a cluster grants has no {sorted(missing)} on "
            f"{asked.resource}; name it in `adapters.k8s.grants` and run `make docs`"
        )
