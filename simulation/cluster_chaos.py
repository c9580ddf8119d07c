"""Chaos in clusters: what somebody with an account of their own does to our objects there."""

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, final

from domain.names import Ref
from reconcilers.object_labels import APP, INSTALLATION, PROJECT
from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.cluster import Cluster
from simulation.knobs import Fault
from simulation.world import INSTALLATION as OURS
from simulation.world import World

type Later = Callable[[float, Callable[[], object]], None]

_APPLIED: Final = (
    *("Deployment", "StatefulSet", "Service", "ServiceAccount", "NetworkPolicy", "ConfigMap"),
    *("PodDisruptionBudget", "Secret", "ResourceQuota", "LimitRange", "HTTPRoute"),
)


@final
class ClusterChaos:
    """The deeds in the clusters of one world; `calm` takes back what would never end by itself."""

    def __init__(self, world: World, rng: random.Random, later: Later) -> None:
        self._world, self._rng, self._later = world, rng, later
        self._squats: list[tuple[Cluster, ObjectKey]] = []
        self.deeds: Mapping[Fault, Callable[[], Awaitable[str]]] = {
            Fault.CLUSTER_AWAY: self._go_away,
            Fault.CLUSTER_STALE_COPY: self._stall,
            Fault.CLUSTER_EXPIRED: self._expire,
            Fault.CLUSTER_EDITED: self._edit,
            Fault.CLUSTER_SCALED: self._scale,
            Fault.CLUSTER_DELETED: self._delete,
            Fault.CLUSTER_SQUATTED: self._squat,
        }

    def calm(self) -> None:
        for cluster in self._world.clusters.values():
            cluster.watching.stalled_until = 0.0
        for cluster, key in self._squats:
            self._leave(cluster, key)

    def _cluster(self) -> Cluster:
        return self._rng.choice(list(self._world.clusters.values()))

    def _one(self, *kinds: str) -> tuple[Cluster, ObjectKey, Json] | None:
        """An object of ours, of some kind."""
        found = [
            (cluster, key, body)
            for cluster in self._world.clusters.values()
            for key, body in cluster.store.all(*(kinds or _APPLIED))
            if body["metadata"].get("labels", {}).get(INSTALLATION) == OURS
            and "deletionTimestamp" not in body["metadata"]
        ]
        return self._rng.choice(found) if found else None

    def _disturb(self, body: Json) -> str:
        """Returns the stream of the app whose object it is; nothing if it is none's."""
        labels = body["metadata"]["labels"]
        if APP not in labels:
            return ""
        stream = Ref("App", labels[PROJECT], labels[APP]).stream
        self._world.truth.disturb(stream, self._world.clock())
        return stream

    # -- the way there ------------------------------------------------------------------------

    async def _go_away(self) -> str:
        cluster = self._cluster()
        if cluster.machine.faults.unavailable:
            return ""
        mischief = self._world.mischief[cluster.name]
        mischief.go_away()
        self._later(self._rng.uniform(2, 120), mischief.come_back)
        return cluster.name

    async def _stall(self) -> str:
        cluster, seconds = self._cluster(), self._rng.uniform(3, 60)
        cluster.watching.stalled_until = self._world.clock() + seconds
        self._world.engines.confused(seconds + 30.0)
        return f"watches of {cluster.name} bring nothing for {seconds:.0f} s"

    async def _expire(self) -> str:
        cluster = self._cluster()
        if cluster.machine.faults.unavailable or not cluster.copies:
            return ""
        for copy in list(cluster.copies):
            copy.relist()
        return f"410: watches of {cluster.name} begin anew"

    # -- another writer -----------------------------------------------------------------------

    async def _edit(self) -> str:
        chosen = self._one("Deployment", "StatefulSet", "Service", "NetworkPolicy")
        if chosen is None:
            return ""
        cluster, key, body = chosen
        changes: dict[str, Any] = {"metadata": {"annotations": {"team": "other"}}}
        if self._rng.random() < 0.7:
            match key.kind:
                case "Service":
                    changes = {"spec": {"selector": {"app": "another"}}}
                case "NetworkPolicy":
                    changes = {"spec": {"policyTypes": ["Egress"]}}
                case _:
                    name = body["spec"]["template"]["spec"]["containers"][0]["name"]
                    containers = [{"name": name, "image": "edited:1"}]
                    changes = {"spec": {"template": {"spec": {"containers": containers}}}}
        self._disturb(body)
        cluster.edit(key, changes)
        return f"{key}: {changes}"

    async def _scale(self) -> str:
        chosen = self._one("Deployment", "StatefulSet")
        if chosen is None:
            return ""
        cluster, key, body = chosen
        replicas = self._rng.randrange(6)
        if replicas == body["spec"]["replicas"]:
            return ""
        stream = self._disturb(body)
        if not replicas:
            self._world.truth.emptied.add(stream)
        cluster.edit(key, {"spec": {"replicas": replicas}})
        return f"{key} to {replicas}"

    async def _delete(self) -> str:
        chosen = self._one()
        if chosen is None:
            return ""
        cluster, key, body = chosen
        self._disturb(body)
        cluster.delete(key, "Background")
        return str(key)

    async def _squat(self) -> str:
        """Somebody deletes an object of ours, and makes one of their own by its name."""
        chosen = self._one("Service", "ServiceAccount", "NetworkPolicy")
        if chosen is None:
            return ""
        cluster, key, body = chosen
        self._disturb(body)
        cluster.store.remove(key)
        cluster.squat(key)
        self._world.objects.others_changed(cluster.name, key)
        self._squats.append((cluster, key))
        self._later(self._rng.uniform(10, 200), lambda: self._leave(cluster, key))
        return str(key)

    def _leave(self, cluster: Cluster, key: ObjectKey) -> None:
        there = cluster.store.get(key)
        if there is not None and INSTALLATION not in there["metadata"]["labels"]:
            cluster.store.remove(key)
            self._world.objects.others_changed(cluster.name, key)
