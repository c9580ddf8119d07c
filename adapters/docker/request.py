"""What the daemon is asked for when a replica is ordered. Pure, and hardened by default.

Ordinary images must keep working: they start as root, chown their data, write to `/`, and then
switch users. `CAPABILITIES` is the part of Docker's default set that this needs. Gone from that
set are `AUDIT_WRITE`, `MKNOD`, `NET_RAW`, `SETFCAP`, `SETPCAP` and `SYS_CHROOT`; with
`no-new-privileges` no program in the image can get any of them back.
"""

from math import ceil
from typing import Any

from adapters.docker import labels
from domain.app import Volume
from domain.secret import SecretText
from reconcilers.ports import ReplicaName, StartReplica

CAPABILITIES = (
    "CHOWN",  # an entrypoint gives its data folder to the service's user
    "DAC_OVERRIDE",  # ... and reads and writes it as root before and after
    "FOWNER",
    "FSETID",
    "KILL",  # init, as root, passes signals on to the service's user
    "NET_BIND_SERVICE",
    "SETGID",
    "SETUID",
)
LOG_SIZE = "10m"  # of each of LOG_FILES per container
LOG_FILES = "3"


def network_name(installation: str, project: str) -> str:
    return f"stw-{installation[:6]}-{project}"


def volume_name(installation: str, name: ReplicaName, volume: Volume) -> str:
    """The name of a volume: one per slot, or one of the whole app. Names hold no dots."""
    owner = f"stw-{installation[:6]}-{name.project}.{name.app}.{volume.name}"
    return f"{owner}.{name.slot}" if volume.scope == "replica" else owner


def container_request(order: StartReplica, installation: str, target: str) -> dict[str, Any]:
    """The body of `POST /containers/create`, with secrets revealed: never log it."""
    network = network_name(installation, order.name.project)
    request: dict[str, Any] = {
        "Image": order.image,
        "Env": _environment(order),
        "Labels": labels.of_order(order, installation, target),
        "StopSignal": order.stop_signal,
        "StopTimeout": ceil(order.stop_grace),
        "HostConfig": _host_config(order, installation, network),
        # every replica answers to the app's name among its project
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [order.name.app]}}},
    }
    bindings = _bindings(order)
    if bindings:
        request["ExposedPorts"] = {port: {} for port in bindings}
        request["HostConfig"]["PortBindings"] = bindings
    if order.command:
        request["Entrypoint"] = list(order.command)
    if order.args:
        request["Cmd"] = list(order.args)
    if order.workdir:
        request["WorkingDir"] = order.workdir
    return request


def _environment(order: StartReplica) -> list[str]:
    env = {
        name: value.reveal() if isinstance(value, SecretText) else value
        for name, value in order.env.items()
    }
    for port in reversed(order.ports):  # so that PORT ends as that of the first
        env["PORT"] = env[f"PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    return [f"{name}={value}" for name, value in env.items()]


def _bindings(order: StartReplica) -> dict[str, list[dict[str, str]]]:
    """The ports of the host that lead to ports of the container."""
    numbers = {port.name: port.port for port in order.ports}
    found: dict[str, list[dict[str, str]]] = {}
    for one in order.publish:
        bound = found.setdefault(f"{numbers[one.port]}/{one.protocol}", [])
        bound.append({"HostPort": str(one.host_port)})
    return found


def _host_config(order: StartReplica, installation: str, network: str) -> dict[str, Any]:
    limits = labels.Limits.of(order)
    return {
        "NetworkMode": network,
        "Init": True,  # reaps orphans, and passes signals to programs that know none
        "RestartPolicy": {"Name": "no"},  # one healer, ours
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": ["no-new-privileges"],
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # equal means: no swap on top
        "NanoCpus": limits.cpu,
        "PidsLimit": limits.pids,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": LOG_SIZE, "max-file": LOG_FILES},
        },
        "Mounts": [
            {
                "Type": "volume",
                "Source": volume_name(installation, order.name, volume),
                "Target": volume.path,
            }
            for volume in order.volumes
        ],
    }
