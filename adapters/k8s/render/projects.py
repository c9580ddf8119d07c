"""What a project's apps share: a namespace under `restricted`, with bounds and closed doors.

Nothing is reached that is not allowed: from outside no pod is, and pods reach their own project,
the cluster's name service and the public network, but nothing private beside it.
"""

from typing import Any, Final

from adapters.k8s.render.labels import Labels, Owner
from adapters.k8s.render.manifests import manifest
from adapters.k8s.render.pods import CPU_ASKED, DISK_ASKED, MEMORY_ASKED
from reconcilers.object_ports import Manifest, Stage

_NAME: Final = "stateward--project"
_POLICY: Final = "networking.k8s.io/v1 NetworkPolicy"
_SECURITY: Final[Labels] = {
    f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("audit", "enforce", "warn")
}
_HARD: Final = {
    "pods": "5k",  # far more than any project has, and the end of a loop that makes them
    "services.loadbalancers": "0",  # doors to the outside are routes
    "services.nodeports": "0",
}
_ASKED: Final = {"cpu": CPU_ASKED, "ephemeral-storage": DISK_ASKED, "memory": MEMORY_ASKED}
_PRIVATE_4: Final = ["10.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
_PRIVATE_6: Final = ["fc00::/7", "fe80::/10"]
_NODE_DNS: Final = "169.254.20.10/32"  # where clusters with a name cache on each node have it


def namespace(owner: Owner) -> Manifest:
    """It is in no set: what goes with a namespace is everything in it."""
    labels = {**owner.labels, **_SECURITY}
    return manifest(
        Stage.NAMESPACE, owner, "v1 Namespace", owner.namespace, {}, labels=labels, in_set=False
    )


def bounds(owner: Owner) -> tuple[Manifest, ...]:
    limits = [{"type": "Container", "defaultRequest": _ASKED}]
    return (
        manifest(Stage.CONFIG, owner, "v1 ResourceQuota", _NAME, {"spec": {"hard": _HARD}}),
        manifest(Stage.CONFIG, owner, "v1 LimitRange", _NAME, {"spec": {"limits": limits}}),
    )


def doors(owner: Owner) -> tuple[Manifest, ...]:
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    names = {
        "to": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}},
            {"ipBlock": {"cidr": _NODE_DNS}},
        ],
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
    }
    public: list[dict[str, Any]] = [
        {"ipBlock": {"cidr": "0.0.0.0/0", "except": _PRIVATE_4}},
        {"ipBlock": {"cidr": "::/0", "except": _PRIVATE_6}},
    ]
    allowed = {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [names, {"to": [{"podSelector": {}}]}, {"to": public}],
    }
    return (
        manifest(Stage.CONFIG, owner, _POLICY, "stateward--deny", {"spec": closed}),
        manifest(Stage.CONFIG, owner, _POLICY, "stateward--egress", {"spec": allowed}),
    )
