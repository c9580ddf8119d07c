"""What stands around an app's pods: an identity, names, who may reach and end them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from adapters.k8s.render.labels import GROUP_KINDS, SET_ID, TOOLING, Owner
from adapters.k8s.render.manifests import given, manifest
from adapters.k8s.render.pods import port_names
from adapters.k8s.render.workloads import has_slots, is_autoscaled, slots_service
from domain.app import Port
from reconcilers.object_ports import AppOrder, Manifest, Stage

APP_KINDS: Final = (
    "ConfigMap",
    "Deployment.apps",
    "HTTPRoute.gateway.networking.k8s.io",
    "HorizontalPodAutoscaler.autoscaling",
    "Ingress.networking.k8s.io",
    "IngressRoute.traefik.io",
    "Middleware.traefik.io",
    "NetworkPolicy.networking.k8s.io",
    "PodDisruptionBudget.policy",
    "Secret",
    "Service",
    "ServiceAccount",
    "StatefulSet.apps",
    "TraefikService.traefik.io",
)
PROJECT_KINDS: Final = ("LimitRange", "NetworkPolicy.networking.k8s.io", "ResourceQuota")


class Door(NamedTuple):
    """The pods of another namespace that may reach some of an app's ports; no labels: all there."""

    namespace: str
    labels: Mapping[str, str]
    ports: frozenset[str]


def set_parent(owner: Owner) -> Manifest:
    """The object that stands for the set: other tools see by it whose these are, and keep off."""
    return manifest(
        Stage.CONFIG,
        owner,
        "v1 ConfigMap",
        owner.set_name,
        {},
        labels={**owner.labels, SET_ID: owner.set_id},
        annotations={
            TOOLING: "stateward/v1",
            GROUP_KINDS: ",".join(APP_KINDS if owner.app else PROJECT_KINDS),
        },
        in_set=False,
    )


def account(owner: Owner) -> Manifest:
    content = {"automountServiceAccountToken": False}
    return manifest(Stage.CONFIG, owner, "v1 ServiceAccount", owner.app, content)


def isolation(order: AppOrder, owner: Owner, door: Door | None) -> Iterator[Manifest]:
    """The app's ports may be reached from its project, and some by its router; nothing else."""
    if not order.spec.ports:
        return
    names = port_names(order.spec.ports)
    ports = {
        port.name: {"port": names[port.name], "protocol": port.protocol.upper()}
        for port in order.spec.ports
    }
    rules: list[dict[str, Any]] = [{"from": [{"podSelector": {}}], "ports": [*ports.values()]}]
    if door is not None:
        where = {"matchLabels": {"kubernetes.io/metadata.name": door.namespace}}
        who: dict[str, Any] = {"namespaceSelector": where}
        if door.labels:
            who["podSelector"] = {"matchLabels": dict(sorted(door.labels.items()))}
        reached = [one for name, one in ports.items() if name in door.ports]
        rules.append({"from": [who], "ports": reached})
    spec = {
        "podSelector": {"matchLabels": owner.selector},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    yield manifest(
        Stage.CONFIG, owner, "networking.k8s.io/v1 NetworkPolicy", owner.app, {"spec": spec}
    )


def services(order: AppOrder, owner: Owner) -> Iterator[Manifest]:
    """The app's name among its project; and one for each replica that is somebody."""
    ports = _service_ports(order.spec.ports)
    if ports:
        spec: dict[str, Any] = {"type": "ClusterIP", "selector": owner.selector, "ports": ports}
        yield manifest(Stage.SERVICE, owner, "v1 Service", owner.app, {"spec": spec})
    if has_slots(order):
        spec = {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # replicas look for each other to become ready
            "selector": owner.selector,
            "ports": ports,
        }
        yield manifest(Stage.SERVICE, owner, "v1 Service", slots_service(owner.app), {"spec": spec})


def _service_ports(ports: tuple[Port, ...]) -> list[dict[str, Any]]:
    names = port_names(ports)
    return [
        {
            "name": port.name,
            "port": port.port,
            "protocol": port.protocol.upper(),
            "targetPort": names[port.name],
        }
        for port in ports
    ]


def disruption(order: AppOrder, owner: Owner) -> Iterator[Manifest]:
    """With two replicas or more, one at a time may be evicted, and a sick one at any time."""
    autoscale = order.spec.autoscale
    least = autoscale.min if autoscale and is_autoscaled(order) else order.replicas
    if least < 2:
        return
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": owner.selector},
    }
    yield manifest(Stage.SERVICE, owner, "policy/v1 PodDisruptionBudget", owner.app, {"spec": spec})


def autoscaler(order: AppOrder, owner: Owner) -> Iterator[Manifest]:
    asked = order.spec.autoscale
    if asked is None or not is_autoscaled(order):
        return
    measures = given(cpu=asked.cpu, memory=asked.memory)
    target = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet" if has_slots(order) else "Deployment",
        "name": owner.app,
    }
    spec = {
        "scaleTargetRef": target,
        "minReplicas": asked.min,
        "maxReplicas": asked.max,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": name,
                    "target": {"type": "Utilization", "averageUtilization": percent},
                },
            }
            for name, percent in measures.items()
        ],
    }
    yield manifest(
        Stage.SERVICE,
        owner,
        "autoscaling/v2 HorizontalPodAutoscaler",
        owner.app,
        {"spec": spec},
    )
