"""A small scripted controller: Deployments, StatefulSets and Jobs become pods with a fate.

What becomes of the pods of an image is scripted (`fates`); rollouts keep old pods until new ones
are ready, as Kubernetes does. Nothing here waits: a deadline passes when a test says so.
"""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from tests.support.kubernetes import pod_states
from tests.support.kubernetes.inside import Inside
from tests.support.kubernetes.pod_facts import (
    image_of,
    is_of,
    is_ready,
    owner_reference,
    revision_of,
    template_hash,
)
from tests.support.kubernetes.pod_states import Fate
from tests.support.kubernetes.rollout import conditions, next_to_replace, replica_counts
from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.store import Change

_REVISION = "deployment.kubernetes.io/revision"


@dataclass(slots=True)
class Workloads:
    inside: Inside
    fates: dict[str, Fate] = field(default_factory=dict)  # by image
    paused: bool = False
    _overdue: set[tuple[str, str, int]] = field(default_factory=set)  # namespace, name, generation
    _changes: deque[Change] = field(default_factory=deque)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.inside.store.followers.append(self._changes)

    # --- scripting ----------------------------------------------------------------------------

    def let(self, image: str, fate: Fate) -> None:
        """From now on, this becomes of pods of an image, also of those that are there."""
        self.fates[image] = fate
        for pod in self.inside.all("Pod"):
            if image_of(pod) == image:
                self._meet_fate(pod)

    def pass_deadline(self, namespace: str, name: str) -> None:
        """Let the progress deadline of a Deployment's present generation pass."""
        deployment = self.inside.get("Deployment", namespace, name)
        assert deployment is not None, f"there is no Deployment {namespace}/{name}"
        self._overdue.add((namespace, name, deployment["metadata"]["generation"]))
        self._deployment(namespace, name)

    # --- the loop -----------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            while self._changes and not self.paused:
                self._follow(self._changes.popleft())
            await self.inside.store.changed()

    def _follow(self, change: Change) -> None:
        plural, namespace, name = change.place.plural, change.place.namespace, change.place.name
        if plural in self._controllers:
            self._controllers[plural](namespace, name)
        elif plural == "pods" and change.after is not None:
            self._pod(change.after.object)
        for owner in change.last.metadata.get("ownerReferences") or ():
            if (controller := self._controllers.get(f"{owner['kind'].lower()}s")) is not None:
                controller(namespace, owner["name"])

    @property
    def _controllers(self) -> dict[str, Callable[[str, str], None]]:
        return {
            "deployments": self._deployment,
            "replicasets": self._replica_set,
            "statefulsets": self._stateful_set,
            "jobs": self._job,
        }

    # --- deployments --------------------------------------------------------------------------

    def _deployment(self, namespace: str, name: str) -> None:
        deployment = self.inside.get("Deployment", namespace, name)
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return
        sets = self._owned("ReplicaSet", namespace, deployment)
        new = self._new_set(deployment, sets)
        if new is None:
            return
        old = [one for one in sets if one["metadata"]["uid"] != new["metadata"]["uid"]]
        for one, wanted in replica_counts(deployment, new, old):
            if one["spec"]["replicas"] != wanted:
                where = one["metadata"]["name"]
                self.inside.patch("ReplicaSet", namespace, where, {"spec": {"replicas": wanted}})
        self._report(deployment, new, old)

    def _new_set(self, deployment: Object, sets: list[Object]) -> Object | None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        template = spec["template"]
        digest = hashlib.sha256(msgspec.json.encode(template, order="deterministic")).hexdigest()
        name = f"{metadata['name']}-{digest[:10]}"
        if (found := self.inside.get("ReplicaSet", metadata["namespace"], name)) is not None:
            return found
        if spec.get("paused"):
            return None
        told = [int(one["metadata"]["annotations"][_REVISION]) for one in sets]
        number = str(max(told, default=0) + 1)
        labels = {**template["metadata"].get("labels", {}), "pod-template-hash": digest[:10]}
        selector = {
            "matchLabels": {**spec["selector"].get("matchLabels", {}), **template_hash(labels)}
        }
        body = {
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {_REVISION: number},
                "ownerReferences": [owner_reference(deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": {**template, "metadata": {**template["metadata"], "labels": labels}},
            },
        }
        self.inside.annotate_status(
            "Deployment", metadata["namespace"], metadata["name"], {_REVISION: number}
        )
        return self.inside.create("ReplicaSet", metadata["namespace"], body)

    def _report(self, deployment: Object, new: Object, old: list[Object]) -> None:
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        live = self.inside.get("Deployment", namespace, name)
        assert live is not None, "a Deployment that is reported on is there"
        fresh = [
            self.inside.get("ReplicaSet", namespace, one["metadata"]["name"]) for one in (new, *old)
        ]
        sets = [one for one in fresh if one is not None]
        counts = [one.get("status", {}) for one in sets]
        total, ready = (
            sum(of.get(key, 0) for of in counts) for key in ("replicas", "readyReplicas")
        )
        generation = live["metadata"]["generation"]
        fate = self.fates.get(image_of(live["spec"]["template"]), Fate.RUNS)
        told: Object = {
            "observedGeneration": generation,
            "replicas": total,
            "updatedReplicas": counts[0].get("replicas", 0),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": max(0, sum(one["spec"]["replicas"] for one in sets) - ready),
        }
        overdue = (namespace, name, generation) in self._overdue
        told = {key: of for key, of in told.items() if of}
        told["conditions"] = conditions(
            live, told, new, self.inside.writing.now(), fate, overdue=overdue
        )
        if live.get("status") != told:
            self.inside.patch_status("Deployment", namespace, name, told)

    def _replica_set(self, namespace: str, name: str) -> None:
        live = self.inside.get("ReplicaSet", namespace, name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return
        pods = self._owned("Pod", namespace, live)
        wanted: int = live["spec"]["replicas"]
        fate = self.fates.get(image_of(live["spec"]["template"]), Fate.RUNS)
        status: Object = {"observedGeneration": live["metadata"]["generation"]}
        if fate in pod_states.NOT_MADE and len(pods) < wanted:
            said = f'pods "{name}-" is forbidden: {pod_states.NOT_MADE[fate]}'
            failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
            status["conditions"] = [{**failed, "message": said}]
            self.inside.event(live, "FailedCreate", f"Error creating: {said}")
        else:
            for _ in range(wanted - len(pods)):
                pods.append(self._new_pod(live, f"{name}-{next(self._numbers):05d}"))
            for pod in sorted(pods, key=is_ready)[: max(0, len(pods) - wanted)]:
                pods.remove(pod)
                self.inside.delete("Pod", namespace, pod["metadata"]["name"])
        ready = sum(is_ready(pod) for pod in pods)
        status |= {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
        if live.get("status") != status:
            self.inside.patch_status("ReplicaSet", namespace, name, status)

    # --- stateful sets and jobs ---------------------------------------------------------------

    def _stateful_set(self, namespace: str, name: str) -> None:
        live = self.inside.get("StatefulSet", namespace, name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return
        template = msgspec.json.encode(live["spec"]["template"], order="deterministic")
        revision = f"{name}-{hashlib.sha256(template).hexdigest()[:10]}"
        pods = {pod["metadata"]["name"]: pod for pod in self._owned("Pod", namespace, live)}
        wanted = [f"{name}-{number}" for number in range(live["spec"]["replicas"])]
        for one in sorted(pods.keys() - set(wanted), reverse=True)[:1]:
            self.inside.delete("Pod", namespace, one)
        is_parallel = live["spec"].get("podManagementPolicy") == "Parallel"
        self._make_missing(live, pods, wanted, revision)
        stale = [one for one in wanted if one in pods and revision_of(pods[one]) != revision]
        may_go_on = is_parallel or all(one in pods and is_ready(pods[one]) for one in wanted)
        if may_go_on and (one := next_to_replace(pods, wanted, revision)) is not None:
            self.inside.delete("Pod", namespace, one)
        ready = sum(is_ready(pod) for pod in pods.values())
        updated = sum(revision_of(pod) == revision for pod in pods.values())
        status: Object = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "currentReplicas": updated,
            "updatedReplicas": updated,
            "updateRevision": revision,
            "currentRevision": revision
            if not stale
            else live.get("status", {}).get("currentRevision", ""),
        }
        if live.get("status") != status:
            self.inside.patch_status("StatefulSet", namespace, name, status)

    def _make_missing(
        self, live: Object, pods: dict[str, Object], wanted: list[str], revision: str
    ) -> None:
        namespace, name = live["metadata"]["namespace"], live["metadata"]["name"]
        fate = self.fates.get(image_of(live["spec"]["template"]), Fate.RUNS)
        for one in wanted:
            pod = pods.get(one)
            if pod is None and self.inside.get("Pod", namespace, one) is None:  # else it is ending
                if fate in pod_states.NOT_MADE:
                    why = f'pods "{one}" is forbidden: {pod_states.NOT_MADE[fate]}'
                    said = f"create Pod {one} in StatefulSet {name} failed error: {why}"
                    self.inside.event(live, "FailedCreate", said)
                    return
                self._claims(live, one)
                self._new_pod(live, one, {"controller-revision-hash": revision})
            is_ordered = live["spec"].get("podManagementPolicy") != "Parallel"
            if is_ordered and (pod is None or not is_ready(pod)):
                return

    def _claims(self, live: Object, pod: str) -> None:
        namespace = live["metadata"]["namespace"]
        for claim in live["spec"].get("volumeClaimTemplates") or ():
            name = f"{claim['metadata']['name']}-{pod}"
            if self.inside.get("PersistentVolumeClaim", namespace, name) is None:
                body = {"metadata": {**claim["metadata"], "name": name}, "spec": claim["spec"]}
                self.inside.create("PersistentVolumeClaim", namespace, body)

    def _job(self, namespace: str, name: str) -> None:
        live = self.inside.get("Job", namespace, name)
        if live is None or live.get("status", {}).get("conditions"):
            return
        pods = self._owned("Pod", namespace, live)
        if not pods:
            self._new_pod(live, f"{name}-{next(self._numbers):05d}")
        elif pods[0].get("status", {}).get("phase") == "Succeeded":
            done = [{"type": "Complete", "status": "True"}]
            self.inside.patch_status("Job", namespace, name, {"succeeded": 1, "conditions": done})
        elif self.fates.get(image_of(pods[0])) is Fate.CRASHES:
            failed = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
            self.inside.patch_status("Job", namespace, name, {"failed": 1, "conditions": failed})

    # --- pods ---------------------------------------------------------------------------------

    def _new_pod(self, owner: Object, name: str, labels: Object | None = None) -> Object:
        template = owner["spec"]["template"]
        metadata = {
            "name": name,
            "labels": {**template["metadata"].get("labels", {}), **(labels or {})},
            "annotations": template["metadata"].get("annotations", {}),
            "ownerReferences": [owner_reference(owner)],
        }
        claimed = [
            {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}}
            for one in owner["spec"].get("volumeClaimTemplates") or ()
            if (claim := one["metadata"]["name"])
        ]
        spec = template["spec"]
        spec = {**spec, "volumes": [*(spec.get("volumes") or ()), *claimed]}
        body = {"metadata": metadata, "spec": spec}
        return self.inside.create("Pod", owner["metadata"]["namespace"], body)

    def _pod(self, pod: Object) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            self.inside.delete("Pod", metadata["namespace"], metadata["name"], grace=0)
        elif not pod.get("status", {}).get("conditions"):
            self._meet_fate(pod)

    def _meet_fate(self, pod: Object) -> None:
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        job = any(owner["kind"] == "Job" for owner in metadata.get("ownerReferences") or ())
        fate = self.fates.get(image_of(pod), Fate.COMPLETES if job else Fate.RUNS)
        if fate is not Fate.UNSCHEDULABLE and not pod["spec"].get("nodeName"):
            self.inside.patch("Pod", namespace, name, {"spec": {"nodeName": "node-1"}})
        number = next(self._numbers)
        address = f"10.244.{number // 250 % 250}.{number % 250 + 1}"
        status = pod_states.status(pod, fate, self.inside.writing.now(), address)
        self.inside.patch_status("Pod", namespace, name, status)
        if fate in pod_states.TOLD:
            self.inside.event(pod, *pod_states.TOLD[fate])

    def _owned(self, kind: str, namespace: str, owner: Object) -> list[Object]:
        """What a workload made, and what it takes up: orphans that its selector fits."""
        uid = owner["metadata"]["uid"]
        found = []
        for one in self.inside.all(kind, namespace):
            metadata = one["metadata"]
            owners = metadata.get("ownerReferences") or ()
            if "deletionTimestamp" in metadata:
                continue
            if any(by["uid"] == uid for by in owners):
                found.append(one)
            elif not owners and is_of(owner, metadata):
                taken = {"metadata": {"ownerReferences": [owner_reference(owner)]}}
                self.inside.patch(kind, namespace, metadata["name"], taken)
                found.append(self.inside.get(kind, namespace, metadata["name"]) or one)
        return found
