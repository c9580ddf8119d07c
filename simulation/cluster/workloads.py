"""Controllers of a simulated cluster: Deployments, StatefulSets, and what follows a deletion.

As the real ones they decide by what is there, and keep nothing in mind but since when a rollout
has not got on. A pod that ends is told to whoever watches the machine.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/
"""

import json
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Final, final

from reconcilers.object_ports import Json, ObjectKey
from simulation.cluster.merging import Body
from simulation.cluster.nodes import Nodes
from simulation.cluster.rollout import Counts, Set, scaled
from simulation.cluster.store import Store

_HASH: Final = "pod-template-hash"
_SURVIVES: Final = "PersistentVolumeClaim"  # the sets that asked for them


@final
class Controllers:
    def __init__(
        self,
        store: Store,
        nodes: Nodes,
        clock: Callable[[], float],
        held: Mapping[ObjectKey, float],
    ) -> None:
        self._store, self._nodes, self._clock, self._held = store, nodes, clock, held
        self._hashes: dict[tuple[str, int], str] = {}  # of templates, by uid and generation
        self._progress: dict[str, tuple[object, float]] = {}  # by uid of a Deployment
        self._numbers = 0

    def step(self) -> None:
        """Do what each controller would do now."""
        self._collect()
        for key, body in self._store.all("Deployment"):
            if "deletionTimestamp" not in body["metadata"]:
                self._deployment(key, body)
        for key, body in self._store.all("StatefulSet"):
            if "deletionTimestamp" not in body["metadata"]:
                self._stateful_set(key, body)

    def orphan(self, owner: Json) -> None:
        """What an object has made belongs to nobody from now on."""
        for key, _ in self._owned(owner):
            body = self._store.get(key) or {}
            metadata = {n: v for n, v in body["metadata"].items() if n != "ownerReferences"}
            self._store.set(key, {**body, "metadata": metadata})

    def is_of(self, pod: ObjectKey, owner: Json) -> bool:
        """Whether a pod is there for the sake of an object."""
        uids = {owner["metadata"]["uid"]}
        uids |= {body["metadata"]["uid"] for _, body in self._owned(owner, "ReplicaSet")}
        owners = (self._store.get(pod) or {})["metadata"].get("ownerReferences", ())
        return any(one["uid"] in uids for one in owners)

    # -- what follows a deletion --------------------------------------------------------------

    def _collect(self) -> None:
        """Whatever was made by what is gone goes; what is in a namespace goes before it."""
        uids = {body["metadata"]["uid"] for _, body in self._store.all()}
        for key, body in self._store.all("Pod", "ReplicaSet"):
            owners = body["metadata"].get("ownerReferences", ())
            if owners and owners[0]["uid"] not in uids:
                self._remove(key)
        for key, body in self._store.all():
            if "deletionTimestamp" not in body["metadata"]:
                continue
            if key.kind == "Namespace":
                for inner in self._store.within(key.name):
                    self._remove(inner)
                if self._store.within(key.name):
                    continue
            if self._clock() >= self._held.get(key, 0.0):
                self._remove(key)

    def _remove(self, key: ObjectKey) -> None:
        if key in self._nodes.pods:
            self._nodes.evict(key)
        else:
            self._store.remove(key)

    def _owned(self, owner: Json, *kinds: str) -> Iterator[tuple[ObjectKey, Json]]:
        uid = owner["metadata"]["uid"]
        for key, body in self._store.all(*(kinds or ("Pod", "ReplicaSet"))):
            owners = body["metadata"].get("ownerReferences", ())
            if owners and owners[0]["uid"] == uid:
                yield key, body

    def _adopt(self, kind: str, owner: Json) -> None:
        """Take what a former object of this name has left behind."""
        place = owner["metadata"]["namespace"]
        wanted = owner["spec"]["selector"]["matchLabels"].items()
        for key, body in self._store.all(kind):
            metadata = body["metadata"]
            if metadata["namespace"] != place or metadata.get("ownerReferences"):
                continue
            if "deletionTimestamp" in metadata:
                continue
            if wanted <= metadata["labels"].items():
                adopted = {**metadata, "ownerReferences": [_reference(owner)]}
                self._store.set(key, {**body, "metadata": adopted})

    # -- deployments --------------------------------------------------------------------------

    def _deployment(self, key: ObjectKey, body: Json) -> None:
        self._adopt("ReplicaSet", body)
        made = self._hash(body)
        sets = [one for _, one in self._owned(body, "ReplicaSet")]
        if not any(one["metadata"]["labels"][_HASH] == made for one in sets):
            self._store.make(self._replica_set(body, made))
            sets = [one for _, one in self._owned(body, "ReplicaSet")]
        waits = body["spec"]["strategy"]["type"] == "Recreate"
        counts = {one["metadata"]["name"]: self._count(one, made, all_=waits) for one in sets}
        for name, wanted in scaled(body["spec"], list(counts.values())).items():
            one = next(found for found in sets if found["metadata"]["name"] == name)
            self._scale(one, wanted)
        self._forget(body, made)
        self._tell(key, made)

    def _replica_set(self, deployment: Json, made: str) -> Body:
        metadata, template = deployment["metadata"], deployment["spec"]["template"]
        labels = {**template["metadata"]["labels"], _HASH: made}
        return {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{metadata['name']}-{made}",
                "namespace": metadata["namespace"],
                "labels": labels,
                "ownerReferences": [_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "template": {**template, "metadata": {"labels": labels}},
            },
        }

    def _count(self, replica_set: Json, made: str, *, all_: bool = False) -> Set:
        """Pods on their way out count as none, but (`all_`) where nothing may run beside them."""
        pods = [key for key, _ in self._owned(replica_set, "Pod")]
        ready = sum(map(self._nodes.is_ready, pods))
        count = len(pods) if all_ else len(self._staying(replica_set))
        metadata = replica_set["metadata"]
        return Set(metadata["name"], count, ready, is_new=metadata["labels"][_HASH] == made)

    def _staying(self, owner: Json) -> list[ObjectKey]:
        """The pods of an object that are not on their way out."""
        pods = [key for key, _ in self._owned(owner, "Pod")]
        return [key for key in pods if not self._nodes.is_ending(key)]

    def _scale(self, replica_set: Json, wanted: int) -> None:
        """Make or end pods of one set; those that are not ready end first, the youngest of them."""
        pods = self._staying(replica_set)
        order = sorted(range(len(pods)), key=lambda n: (self._nodes.is_ready(pods[n]), -n))
        for number in order[: max(0, len(pods) - wanted)]:
            self._nodes.evict(pods[number])
        for _ in range(wanted - len(pods)):
            self._numbers += 1
            name = f"{replica_set['metadata']['name']}-{self._numbers}"
            self._nodes.take(_pod(replica_set, name))
        key = ObjectKey.of(replica_set)
        live = self._store.get(key) or replica_set
        self._store.set(key, {**live, "spec": {**live["spec"], "replicas": wanted}})

    def _forget(self, deployment: Json, made: str) -> None:
        """Old sets without pods go, but for the newest."""
        old = [
            key
            for key, one in self._owned(deployment, "ReplicaSet")
            if one["metadata"]["labels"][_HASH] != made and not one["spec"]["replicas"]
        ]
        for key in old[: max(0, len(old) - deployment["spec"].get("revisionHistoryLimit", 10))]:
            self._store.remove(key)

    def _tell(self, key: ObjectKey, made: str) -> None:
        body = self._store.get(key)
        assert body is not None, "its controller looks at it"
        sets = [self._count(one, made) for _, one in self._owned(body, "ReplicaSet")]
        counts = Counts.of(sets)
        wanted = body["spec"]["replicas"]
        done = counts.updated == counts.total == wanted and counts.available == wanted
        overdue = self._is_overdue(body, counts, done=done)
        reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
        progressing = {
            "type": "Progressing",
            "status": str(not overdue),
            "reason": "ProgressDeadlineExceeded" if overdue else reason,
        }
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": counts.total,
            "updatedReplicas": counts.updated,
            "availableReplicas": counts.available,
            "conditions": [progressing],
        }
        self._store.set(key, {**body, "status": status})

    def _is_overdue(self, body: Json, counts: Counts, *, done: bool) -> bool:
        uid, now = body["metadata"]["uid"], self._clock()
        state = (body["metadata"]["generation"], counts)
        if done or self._progress.get(uid, (None, 0.0))[0] != state:
            self._progress[uid] = (state, now)
        allowed: int = body["spec"].get("progressDeadlineSeconds", 600)
        return now - self._progress[uid][1] > allowed

    # -- stateful sets ------------------------------------------------------------------------

    def _stateful_set(self, key: ObjectKey, body: Json) -> None:
        self._adopt("Pod", body)
        made, wanted = self._hash(body), body["spec"]["replicas"]
        pods = {self._nodes.pods[pod].number: pod for pod, _ in self._owned(body, "Pod")}
        for number in [n for n in sorted(pods, reverse=True) if n >= wanted]:
            self._nodes.evict(pods.pop(number))
        self._replace_one(pods, made)
        for number in range(wanted):
            name = f"{key.name}-{number}"
            there = self._store.get(ObjectKey("v1", "Pod", key.namespace, name))
            if number not in pods and there is None:  # one of a former set may be on its way out
                self._claim(body, number)
                self._nodes.take(_pod(body, name, made), number)
        self._tell_set(key, made)

    def _replace_one(self, pods: dict[int, ObjectKey], made: str) -> None:
        """The last pod of an old template ends, when all behind it are well."""
        for number in sorted(pods, reverse=True):
            body = self._store.get(pods[number]) or {}
            if body["metadata"]["labels"][_HASH] != made:
                self._nodes.evict(pods[number], tells=False)  # there is no other way
                if pods[number] not in self._nodes.pods:  # nothing ran of it
                    del pods[number]
                return
            if not self._nodes.is_ready(pods[number]):
                return

    def _claim(self, body: Json, number: int) -> None:
        metadata = body["metadata"]
        for template in body["spec"].get("volumeClaimTemplates", ()):
            name = f"{template['metadata']['name']}-{metadata['name']}-{number}"
            claim = {
                "apiVersion": "v1",
                "kind": _SURVIVES,
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "labels": template["metadata"]["labels"],
                },
                "spec": template["spec"],
            }
            if self._store.get(ObjectKey.of(claim)) is None:
                self._store.make(claim)

    def _tell_set(self, key: ObjectKey, made: str) -> None:
        body = self._store.get(key)
        assert body is not None, "its controller looks at it"
        pods = list(self._owned(body, "Pod"))
        ready = [pod for pod, _ in pods if self._nodes.is_ready(pod)]
        updated = [pod for pod, one in pods if one["metadata"]["labels"][_HASH] == made]
        status = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": len(ready),
            "availableReplicas": len(ready),
            "updatedReplicas": len(updated),
        }
        self._store.set(key, {**body, "status": status})

    def _hash(self, body: Json) -> str:
        """What tells the template of a workload from its others."""
        metadata = body["metadata"]
        name = metadata["uid"], metadata["generation"]
        if name not in self._hashes:
            text = json.dumps(body["spec"]["template"], sort_keys=True).encode()
            self._hashes[name] = blake2b(text, digest_size=5).hexdigest()
        return self._hashes[name]


def _reference(owner: Json) -> Body:
    metadata = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return {**named, "uid": metadata["uid"], "controller": True}


def _pod(maker: Json, name: str, made: str = "") -> Body:
    template = maker["spec"]["template"]
    labels = template["metadata"]["labels"] | ({_HASH: made} if made else {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": maker["metadata"]["namespace"],
            "labels": labels,
            "ownerReferences": [_reference(maker)],
        },
        "spec": template["spec"],
    }
