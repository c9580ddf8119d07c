"""The ports of a simulated cluster: writes go to it, and a copy shows what is there."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Never, final, override

from adapters.k8s.render.manifests import sent
from adapters.k8s.render.renderer import KubernetesRenderer
from domain.target import K8sSettings
from reconcilers.object_alike import NobodyElse, NodeImages, ObjectNews
from reconcilers.object_labels import APP, INSTALLATION, PROJECT, REVISION, TARGET, UID
from reconcilers.object_ports import (
    MANAGER,
    Applied,
    Json,
    Manifest,
    ObjectChanged,
    ObjectEngine,
    ObjectEvent,
    ObjectKey,
    Objects,
    Propagation,
)
from reconcilers.object_removal import ObjectGrounds
from reconcilers.ports import (
    Engine,
    EngineError,
    NameTaken,
    Replica,
    ReplicaName,
    Replicas,
    ReplicaState,
    StartReplica,
)
from simulation.cluster.cluster import Cluster
from simulation.cluster.copying import Copy, Owner, pods
from simulation.cluster.foreign import SimulatedForeign
from simulation.engine import Calling
from simulation.looking import SimulatedIO
from simulation.machine import Deed


class ClusterEngine(NamedTuple):
    """What a control plane is handed of a cluster; `close` ends its copy."""

    ports: Engine
    objects: Objects
    close: Callable[[], None]


def cluster_engine(
    cluster: Cluster,
    installation: str,
    settings: K8sSettings,
    *,
    is_alive: Callable[[], bool] = lambda: True,
) -> ClusterEngine:
    """Follow a cluster, as one installation."""
    copy = Copy(cluster, installation, is_alive=is_alive)
    objects = Objects(
        SimulatedObjects(cluster, copy, installation),
        KubernetesRenderer(installation, cluster.name, settings),
        SimulatedForeign(cluster, installation),
        installation,
        cluster.name,
    )
    ports = Engine(
        replicas=_PodReplicas(copy),
        images=NodeImages(),
        grounds=ObjectGrounds(objects),
        events=ObjectNews(copy.watch, copy.owners),
        io=SimulatedIO(cluster.machine, installation),
        foreign=NobodyElse(cluster.name),
    )
    return ClusterEngine(ports, objects, copy.close)


@final
class SimulatedObjects(ObjectEngine):
    def __init__(self, cluster: Cluster, copy: Copy, installation: str) -> None:
        self._cluster, self._copy, self._installation = cluster, copy, installation
        self._written: dict[Owner, dict[ObjectKey, Callable[[], bool]]] = {}

    @override
    async def apply(
        self,
        manifest: Manifest,
        *,
        owner: Owner,
        uid: str | None,
        position: int,
        manager: str = MANAGER,
        dry_run: bool = False,
    ) -> Applied:
        key, begun = manifest.key, self._cluster.clock()
        async with Calling(self._cluster.machine, "apply", owner if owner[1] else owner[0]):
            if uid is None:
                self._look_before(key)
            self._witness("apply", owner, begun)
            done = self._cluster.apply(sent(manifest, position), manager, uid, dry=dry_run)
        if not dry_run:
            self._written.setdefault(owner, {})[key] = self._shows(key, done)
        if "deletionTimestamp" in done["metadata"]:
            raise ObjectChanged(f"{key} is being deleted, and what was applied goes with it")
        return Applied(done, ())

    def _look_before(self, key: ObjectKey) -> None:
        there = self._cluster.store.get(key)
        if there is None:
            return
        labels = there["metadata"].get("labels", {})
        ours = {INSTALLATION: self._installation, TARGET: self._cluster.name}
        if not ours.items() <= labels.items():
            raise NameTaken(f"{key} belongs to somebody else and was not touched")

    def _shows(self, key: ObjectKey, body: Json) -> Callable[[], bool]:
        uid, version = body["metadata"]["uid"], int(body["metadata"]["resourceVersion"])

        def shows() -> bool:
            held = self._copy.get(key)
            metadata = held["metadata"] if held is not None else {"uid": uid, "resourceVersion": 0}
            is_there = metadata["uid"] != uid or int(metadata["resourceVersion"]) >= version
            return is_there or self._copy.has_passed(key, version)

        return shows

    @override
    async def delete(
        self, key: ObjectKey, *, owner: Owner, uid: str, propagation: Propagation
    ) -> None:
        begun = self._cluster.clock()
        async with Calling(self._cluster.machine, "delete", owner if owner[1] else owner[0]):
            there = self._cluster.store.get(key)
            if there is not None and there["metadata"]["uid"] != uid:
                raise ObjectChanged(f"409: {key} has not the uid {uid}")
            if there is not None and "deletionTimestamp" not in there["metadata"]:
                is_data = key.kind == "PersistentVolumeClaim"
                self._witness("remove_volumes" if is_data else "delete", owner, begun)
                self._cluster.delete(key, propagation)

        def shows() -> bool:
            held = self._copy.get(key)
            if held is None or held["metadata"]["uid"] != uid:
                return True
            return "deletionTimestamp" in held["metadata"]

        self._written.setdefault(owner, {})[key] = shows

    def _witness(self, verb: str, owner: Owner, begun: float) -> None:
        self._cluster.machine.witness(Deed(self._installation, verb, *owner, None, begun))

    @override
    async def list(self, owner: Owner | None = None) -> Sequence[Json]:
        self._copy.check()
        for key, shows in list(self._written.get(owner or ("", ""), {}).items()):
            await self._copy.until(shows)
            written = self._written[owner or ("", "")]
            if written.get(key) is shows:
                del written[key]
        return self._copy.bodies(owner)

    @override
    def marks(self, owners: Iterable[Owner] | None = None) -> Mapping[Owner, int]:
        self._copy.check()
        found = self._copy.marks()
        return found if owners is None else {one: found[one] for one in owners if one in found}

    @override
    def lacks(self, api_version: str, kind: str) -> EngineError | None:
        return None  # a simulated cluster takes objects of any kind

    @override
    def position(self) -> int:
        return self._copy.position

    @override
    def watch(self) -> AsyncIterator[ObjectEvent]:
        return self._copy.watch()


@final
class _PodReplicas(Replicas):
    """Pods, to be looked into; their cluster starts and ends them."""

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    @override
    async def list(self, app: tuple[str, str] | None = None) -> Sequence[Replica]:
        self._copy.check()
        return [_replica(n, pod) for n, pod in enumerate(pods(self._copy.bodies(app)))]

    @override
    async def start(self, order: StartReplica) -> None:
        _refuse()

    @override
    async def stop(self, replica: Replica, *, grace: float, keep: bool = False) -> None:
        _refuse()

    @override
    async def remove(self, replica: Replica) -> None:
        _refuse()


def _refuse() -> Never:
    raise EngineError("pods are started and ended by their cluster alone")


def _replica(number: int, pod: Json) -> Replica:
    metadata, [status] = pod["metadata"], pod.get("status", {}).get("containerStatuses") or [{}]
    labels = metadata["labels"]
    attempt = status.get("restartCount", 0) + 1
    runs = "running" in status.get("state", {})
    return Replica(
        id=f"{metadata['namespace']}/{metadata['name']}",
        name=ReplicaName(labels[PROJECT], labels[APP], int(labels[REVISION]), number, attempt),
        uid=int(labels[UID]),
        digest="",
        position=0,
        state=ReplicaState.RUNNING if runs else ReplicaState.CREATED,
    )
