"""Pods as replicas: to look into them, and to tell what runs. Their cluster starts and ends them.

Their slots are those that the status shows (`adapters.k8s.viewing`). What a container was before
it was started again is a replica of its own that has exited.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, Never, final, override

from adapters.k8s.copying import Copy, Owner
from adapters.k8s.viewing import numbered
from reconcilers.object_labels import REVISION, UID
from reconcilers.object_ports import Json
from reconcilers.ports import (
    EngineError,
    Replica,
    ReplicaName,
    Replicas,
    ReplicaState,
    StartReplica,
)

BEFORE: Final = "#previous"  # ends the id of what a container was before its last start


@final
class PodReplicas(Replicas):
    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        self._copy.check()
        owners = [app] if app is not None else list(self._copy.owners())
        return [replica for owner in owners for replica in self._of(owner)]

    def _of(self, owner: Owner) -> Iterator[Replica]:
        held = self._copy.places(owner).items()
        pods = [one.body for place, one in held if place[0] == "Pod"]
        slots = numbered(pods)
        for pod in sorted(pods, key=lambda one: slots[one["metadata"]["name"]]):
            yield from replicas(pod, owner, slots[pod["metadata"]["name"]])

    @override
    async def start(self, order: StartReplica) -> None:
        _refuse("started", order.name)

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        _refuse("stopped", replica.name)

    @override
    async def remove(self, replica: Replica) -> None:
        _refuse("removed", replica.name)


def _refuse(done: str, name: ReplicaName) -> Never:
    raise EngineError(f"pods of {name.app} are {done} by their cluster alone; scale or delete it")


def replicas(pod: Json, owner: Owner, number: int) -> Iterator[Replica]:
    """The app's container in a pod as it is, and as it was before its last start."""
    metadata, status = pod["metadata"], pod.get("status", {})
    labels = metadata.get("labels") or {}
    containers = {one["name"]: one for one in status.get("containerStatuses") or ()}
    told: Json = containers.get(container(pod), {})
    state, restarts = told.get("state") or {}, told.get("restartCount", 0)
    revision = int(labels.get(REVISION, 0))
    last = (told.get("lastState") or {}).get("terminated")
    there = f"{metadata['namespace']}/{metadata['name']}"
    uid = int(labels.get(UID, 0))
    if restarts and last is not None:
        name = ReplicaName(*owner, revision, number, restarts)
        yield _replica(f"{there}{BEFORE}", name, uid, {"terminated": last})
    yield _replica(there, ReplicaName(*owner, revision, number, restarts + 1), uid, state)


def container(pod: Json) -> str:
    """The name of the app's container: the first; others add theirs behind it."""
    return str(pod["spec"]["containers"][0]["name"])


def _replica(there: str, name: ReplicaName, uid: int, state: Json) -> Replica:
    ended, waiting = state.get("terminated") or {}, state.get("waiting") or {}
    running = state.get("running") or {}
    return Replica(
        id=there,
        name=name,
        uid=uid,
        digest="",
        position=0,
        state=_state(state),
        started_at=_seconds((running or ended).get("startedAt")),
        finished_at=_seconds(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        reason=ended.get("reason", "") or waiting.get("reason", ""),
        called=there.rpartition("/")[2].removesuffix(BEFORE),
    )


def _seconds(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None


def _state(state: Json) -> ReplicaState:
    if "running" in state:
        return ReplicaState.RUNNING
    return ReplicaState.EXITED if "terminated" in state else ReplicaState.CREATED
