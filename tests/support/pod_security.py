"""The Pod Security profile `restricted`, from its published rules: what a pod may not have.

Written from https://kubernetes.io/docs/concepts/security/pod-security-standards/ (baseline and
restricted), and from nothing that the renderer knows.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

type Json = Mapping[str, Any]

VOLUMES: Final = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
SYSCTLS: Final = {
    *(
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
    ),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
}
SELINUX: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")


def violations(spec: Json) -> list[str]:
    """What forbids a pod with this spec; empty if it may run."""
    return [*_of_pod(spec), *(v for c in _containers(spec) for v in _of_container(c, spec))]


def _containers(spec: Json) -> list[Json]:
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind) or ()]


def _of_pod(spec: Json) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for volume in spec.get("volumes") or ():
        yield from (f"volume {kind}" for kind in set(volume) - {"name"} - VOLUMES)
    security = spec.get("securityContext") or {}
    for sysctl in security.get("sysctls") or ():
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _contexts(security)


def _contexts(security: Json) -> Iterator[str]:
    """What neither a pod's nor a container's security context may say."""
    if security.get("runAsUser") == 0:
        yield "runAsUser 0"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "hostProcess"
    selinux = security.get("seLinuxOptions") or {}
    if selinux.get("type", "") not in SELINUX or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions"
    armor = (security.get("appArmorProfile") or {}).get("type", "RuntimeDefault")
    if armor not in {"RuntimeDefault", "Localhost"}:
        yield f"appArmor {armor}"


def _of_container(container: Json, pod: Json) -> Iterator[str]:
    security = container.get("securityContext") or {}
    above = pod.get("securityContext") or {}
    yield from _contexts(security)
    if security.get("privileged"):
        yield "privileged"
    if security.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if security.get("runAsNonRoot", above.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot"
    seccomp = security.get("seccompProfile") or above.get("seccompProfile") or {}
    if seccomp.get("type") not in {"RuntimeDefault", "Localhost"}:
        yield "seccompProfile"
    if security.get("procMount", "Default") != "Default":
        yield "procMount"
    capabilities = security.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities are not dropped"
    added = set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}
    yield from (f"capability {name}" for name in sorted(added))
    yield from (
        f"hostPort {p['hostPort']}" for p in container.get("ports") or () if p.get("hostPort")
    )
    yield from _hosts(container)


def _hosts(container: Json) -> Iterator[str]:
    hooks = container.get("lifecycle") or {}
    handlers = [container.get(name) for name in PROBES] + [
        hooks.get("postStart"),
        hooks.get("preStop"),
    ]
    for handler in handlers:
        for way in ("httpGet", "tcpSocket"):
            if ((handler or {}).get(way) or {}).get("host"):
                yield f"host of a {way}"
