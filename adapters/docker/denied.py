"""What no container may ask of its host. Pure; looks at the normalised request, whoever built it.

Everything is denied that is not known to be harmless: a new option of the Docker API stays out
until it is put on the list here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from adapters.docker.request import CAPABILITIES

_HARMLESS = frozenset(
    {"NetworkMode", "Init", "RestartPolicy", "CapDrop", "CapAdd", "SecurityOpt", "Mounts"}
    | {"Memory", "MemorySwap", "NanoCpus", "PidsLimit", "LogConfig", "ReadonlyRootfs", "Tmpfs"}
    | {"ShmSize", "Binds"}
    | {"PortBindings"}  # of a port that the app has claimed, which its target offers
)
_SECURITY_OPTIONS = frozenset({"no-new-privileges", "no-new-privileges:true"})
_WORDS = {
    "Privileged": "privileged mode",
    "PidMode": "the host's process namespace",
    "IpcMode": "the host's IPC namespace",
    "UTSMode": "the host's UTS namespace",
    "UsernsMode": "the host's user namespace",
    "CgroupnsMode": "the host's cgroup namespace",
    "Devices": "devices of the host",
    "DeviceRequests": "devices of the host",
    "DeviceCgroupRules": "devices of the host",
}


def denied(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a request may not have, in words; empty when it may have all it asks for."""
    return tuple(_denials(request.get("HostConfig") or {}))


def _denials(host: Mapping[str, Any]) -> Iterator[str]:
    for field in sorted(host):
        if host[field] and field not in _HARMLESS:
            yield _WORDS.get(field, f"the option {field}")
    network = str(host.get("NetworkMode") or "")
    if network == "host" or network.startswith("container:"):
        yield "the network namespace of the host or of another container"
    for capability in host.get("CapAdd") or ():
        if str(capability).upper().removeprefix("CAP_") not in CAPABILITIES:
            yield f"the capability {capability}"
    for option in host.get("SecurityOpt") or ():
        if option not in _SECURITY_OPTIONS:
            yield f"the security option {option}"
    if "no-new-privileges" not in (host.get("SecurityOpt") or ()):
        yield "new privileges (no-new-privileges is missing)"
    if "ALL" not in (host.get("CapDrop") or ()):
        yield "Docker's default capabilities (CapDrop ALL is missing)"
    yield from _mounts(host)


def _mounts(host: Mapping[str, Any]) -> Iterator[str]:
    for bind in host.get("Binds") or ():
        yield _host_mount(str(bind).partition(":")[0])
    for mount in host.get("Mounts") or ():
        source = str(mount.get("Source") or "")
        if mount.get("Type") not in {"volume", "tmpfs"} or "/" in source:
            yield _host_mount(source)
        elif (mount.get("VolumeOptions") or {}).get("DriverConfig"):
            yield f"a volume driver of its own for {source}"


def _host_mount(source: str) -> str:
    if source.endswith("docker.sock"):
        return "the Docker socket, which is the host itself"
    return f"a mount of the host's {source or 'files'}"
