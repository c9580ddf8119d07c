"""What is not ours in a simulated cluster, as it really is: no copy has it."""

from collections.abc import Iterable, Sequence
from typing import Final, final, override

from reconcilers.object_counts import WORKLOADS
from reconcilers.object_labels import INSTALLATION, TARGET
from reconcilers.object_ports import ForeignObjects, Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.engine import Calling

_MISSED: Final = ("PersistentVolumeClaim", "Pod", "Deployment", "StatefulSet")


@final
class SimulatedForeign(ForeignObjects):
    def __init__(self, cluster: Cluster, installation: str) -> None:
        self._cluster = cluster
        self._ours = {INSTALLATION: installation, TARGET: cluster.name}.items()

    @override
    async def find(self, keys: Iterable[ObjectKey]) -> Sequence[Json]:
        asked = list(keys)
        async with Calling(self._cluster.machine, "find", None, writes=False):
            found = [self._cluster.store.get(key) for key in asked]
        return [_shown(one) for one in found if one is not None and not self._is_ours(one)]

    @override
    async def made_by(self, workload: Json) -> Sequence[Json]:
        if workload["kind"] != "Deployment":
            return []
        uid = workload["metadata"]["uid"]
        async with Calling(self._cluster.machine, "find", None, writes=False):
            return [
                one
                for _, one in self._cluster.store.all("ReplicaSet")
                for owner in one["metadata"].get("ownerReferences") or ()
                if owner["uid"] == uid and not self._is_ours(one)
            ]

    @override
    async def within(self, namespace: str) -> Sequence[ObjectKey]:
        async with Calling(self._cluster.machine, "find", None, writes=False):
            return sorted(
                key
                for key, one in self._cluster.store.all(*_MISSED)
                if key.namespace == namespace
                and "deletionTimestamp" not in one["metadata"]
                and (key.kind in WORKLOADS or not self._is_ours(one))
            )

    def _is_ours(self, one: Json) -> bool:
        return self._ours <= (one["metadata"].get("labels") or {}).items()


def _shown(body: Json) -> Json:
    """Without the values of a Secret."""
    if body["kind"] != "Secret":
        return body
    return {name: of for name, of in body.items() if name != "data"}
