"""From what the daemon lists to replicas. Pure.

The state is that of the list, which is one moment for all; an inspection adds to it only while it
tells of the same state.
"""

import re

import msgspec

from adapters.docker import labels
from adapters.docker.facts import Inspected
from adapters.docker.request import network_name
from reconcilers.ports import Address, Replica, ReplicaState

_EXIT_CODE = re.compile(r"\((\d+)\)")
_STATES = {
    "created": ReplicaState.CREATED,
    "running": ReplicaState.RUNNING,
    "paused": ReplicaState.RUNNING,
    "restarting": ReplicaState.RUNNING,  # by a restart policy that is not ours: shows as edited
    "removing": ReplicaState.EXITED,
    "exited": ReplicaState.EXITED,
    "dead": ReplicaState.EXITED,
}
_MEANINGS = {
    125: "the daemon could not run the command",
    126: "the command cannot be executed",
    127: "there is no such command in the image",
    128 + 6: "aborted (SIGABRT)",
    128 + 9: "killed (SIGKILL)",
    128 + 11: "crashed (SIGSEGV)",
    128 + 15: "terminated (SIGTERM)",
}


class _Endpoint(msgspec.Struct, rename="pascal"):
    ip: str = msgspec.field(default="", name="IPAddress")


class _Networks(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Endpoint] | None = None


class Listed(msgspec.Struct, rename="pascal"):
    """The part of a list's entry that matters here."""

    id: str
    names: list[str]
    created: int
    state: str
    status: str
    labels: dict[str, str]
    network_settings: _Networks | None = None


def state_of(status: str) -> ReplicaState:
    """What the daemon's word for a container's state means; an unknown one is an end."""
    return _STATES.get(status, ReplicaState.EXITED)


def replica(listed: Listed, known: Inspected | None, identity: labels.Identity) -> Replica:
    state = state_of(listed.state)
    installation = listed.labels[labels.INSTALLATION]
    name, is_kept = labels.called(identity.name, installation, listed.names)
    identity = identity._replace(name=name)
    exit_code = _exit_code(listed, known) if state is ReplicaState.EXITED else None
    started_at = known.started_at if known else float(listed.created)
    return Replica(
        id=listed.id,
        name=identity.name,
        uid=identity.uid,
        digest=identity.digest,
        position=identity.position,
        state=ReplicaState.KEPT if is_kept and state is ReplicaState.EXITED else state,
        started_at=started_at if state is not ReplicaState.CREATED else None,
        finished_at=known.finished_at if known and exit_code is not None else None,
        exit_code=exit_code,
        reason=_reason(exit_code, known),
        addresses=_addresses(listed, identity, network_name(installation, identity.name.project)),
        healthy=_healthy(listed.status),
        starting=listed.status.endswith("(health: starting)"),
        edited=tuple(_edits(listed, known, identity)),
    )


def _exit_code(listed: Listed, known: Inspected | None) -> int | None:
    if known is not None:
        return known.state.exit_code
    code = _EXIT_CODE.search(listed.status)  # "Exited (137) 5 seconds ago"
    return int(code[1]) if code else None


def _reason(exit_code: int | None, known: Inspected | None) -> str:
    if known is not None and known.state.killed_for_memory:
        limit = known.host_config.memory / 2**20
        return f"killed: it used more memory than its limit of {limit:.0f} MiB"
    if known is not None and known.state.error:
        return known.state.error
    return _MEANINGS.get(exit_code, "") if exit_code else ""


def _addresses(listed: Listed, identity: labels.Identity, network: str) -> tuple[Address, ...]:
    networks = listed.network_settings and listed.network_settings.networks
    endpoint = networks.get(network) if networks else None
    if endpoint is None or not endpoint.ip:
        return ()
    return tuple(Address(port, endpoint.ip, number) for port, number in identity.ports)


def _healthy(status: str) -> bool | None:
    """The image's own HEALTHCHECK; no opinion while it has yet to pass or fail for good."""
    if status.endswith("(healthy)"):
        return True
    return False if status.endswith("(unhealthy)") else None


def _edits(listed: Listed, known: Inspected | None, identity: labels.Identity) -> list[str]:
    installation = listed.labels[labels.INSTALLATION]
    edits = []
    if f"/{identity.name.of(installation)}" not in listed.names:
        edits.append("name")
    if listed.state == "paused":
        edits.append("paused")
    if listed.state == "running" and not _addresses(
        listed,
        identity._replace(ports=(("", 0),)),
        network_name(installation, identity.name.project),
    ):
        edits.append("network")
    if known is not None:
        edits += _changed_limits(known, identity.limits)
    return edits


def _changed_limits(known: Inspected, limits: labels.Limits) -> list[str]:
    """A limit of 0 is one that this daemon cannot enforce, and dropped when it was made."""
    host = known.host_config
    policy = host.restart_policy.name if host.restart_policy else ""
    same = {
        "memory": host.memory in {0, limits.memory},
        "cpu": host.nano_cpus in {0, limits.cpu},
        "pids": host.pids_limit in {None, 0, limits.pids},
        "restart policy": policy in {"", "no"},
    }
    return [field for field, is_same in same.items() if not is_same]
