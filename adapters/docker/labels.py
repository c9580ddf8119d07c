"""The labels that say whose an object is and what it was ordered to be.

Labels are fixed when an object is made, so they are the order's memory: what a container should
look like is read from them, never from what it looks like. Only its revision and its attempt may be
others: a kept container that is started again gets the name of what it is from then on.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from domain.app import Port
from reconcilers.ports import ReplicaName, StartReplica

INSTALLATION = "stateward/installation"
TARGET = "stateward/target"  # two targets may be one daemon, and neither sees the other's
PROJECT = "stateward/project"
APP = "stateward/app"
UID = "stateward/uid"
REVISION = "stateward/revision"
SLOT = "stateward/slot"
ATTEMPT = "stateward/attempt"
DIGEST = "stateward/digest"
POSITION = "stateward/position"
VOLUME = "stateward/volume"
PORTS = "stateward/ports"  # {"http": 8080}
LIMITS = "stateward/limits"  # what `docker update` would change

KEPT = ".kept"  # at the end of the name of a container that was stopped to be kept
MAX_PIDS = 2048  # of one replica: plenty for a thread pool, and the end of a fork bomb


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the daemon holds a container to: bytes, billionths of a CPU, processes; 0 is none."""

    memory: int
    cpu: int
    pids: int

    @classmethod
    def of(cls, order: StartReplica) -> "Limits":
        return cls(order.memory_bytes or 0, (order.cpu_millis or 0) * 1_000_000, MAX_PIDS)


class Identity(NamedTuple):
    """What a container's labels say."""

    name: ReplicaName
    uid: int
    digest: str
    position: int
    ports: tuple[tuple[str, int], ...]
    limits: Limits


def of_order(order: StartReplica, installation: str, target: str) -> dict[str, str]:
    """The labels of the container that an order makes."""
    name = order.name
    return {
        INSTALLATION: installation,
        TARGET: target,
        PROJECT: name.project,
        APP: name.app,
        UID: str(order.uid),
        REVISION: str(name.revision),
        SLOT: str(name.slot),
        ATTEMPT: str(name.attempt),
        DIGEST: order.digest,
        POSITION: str(order.position),
        PORTS: _ports_text(order.ports),
        LIMITS: msgspec.json.encode(Limits.of(order)).decode(),
    }


def identity(labels: Mapping[str, str]) -> Identity:
    """Read a container's labels.

    Raises:
        KeyError, ValueError: they are not those of a replica.
    """
    ports = msgspec.json.decode(labels[PORTS], type=dict[str, int])
    return Identity(
        name=name_in(labels),
        uid=int(labels[UID]),
        digest=labels[DIGEST],
        position=int(labels[POSITION]),
        ports=tuple(ports.items()),
        limits=msgspec.json.decode(labels[LIMITS], type=Limits),
    )


def name_in(labels: Mapping[str, str]) -> ReplicaName:
    """The name that a container's labels give it. Raises like `identity`."""
    return ReplicaName(
        labels[PROJECT],
        labels[APP],
        int(labels[REVISION]),
        int(labels[SLOT]),
        int(labels[ATTEMPT]),
    )


def called(name: ReplicaName, installation: str, names: Iterable[str]) -> tuple[ReplicaName, bool]:
    """The replica that a container is, and whether it is kept: as its labels say, and its names."""
    project, app, _, slot, _ = name
    mine = re.escape(f"/{installation[:6]}.{project}.{app}.r")
    form = re.compile(rf"{mine}([0-9]+)\.{slot}\.([0-9]+)({re.escape(KEPT)})?")
    for one in names:
        if found := form.fullmatch(one):
            revision, attempt, kept = found.groups()
            return name._replace(revision=int(revision), attempt=int(attempt)), bool(kept)
    return name, False


def fulfils(labels: Mapping[str, str], order: StartReplica, installation: str, target: str) -> bool:
    """Whether a container of the order's name, or one kept for it, is the one that was ordered."""
    expected = of_order(order, installation, target)
    decisive = (INSTALLATION, TARGET, PROJECT, APP, UID, SLOT, DIGEST)
    return all(labels.get(label) == expected[label] for label in decisive)


def owned(installation: str, project: str | None = None, app: str | None = None) -> dict[str, str]:
    """The labels that select what an installation owns, or a part of it."""
    wanted = {INSTALLATION: installation, PROJECT: project, APP: app}
    return {label: value for label, value in wanted.items() if value is not None}


def selecting(labels: Mapping[str, str]) -> str:
    """The `filters` parameter of the Docker API that finds objects with these labels."""
    return json.dumps({"label": [f"{label}={value}" for label, value in labels.items()]})


def of_anybody(project: str | None = None, app: str | None = None) -> str:
    """As `selecting`, of what any installation owns."""
    parts = {PROJECT: project, APP: app}
    known = [f"{label}={value}" for label, value in parts.items() if value is not None]
    return json.dumps({"label": [INSTALLATION, *known]})


def _ports_text(ports: tuple[Port, ...]) -> str:
    return msgspec.json.encode({port.name: port.port for port in ports}).decode()
