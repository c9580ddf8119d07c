"""The nodes of a simulated cluster: they run pods on a machine, start them again, and say how.

A pod is an object; what runs of it is a replica of the machine, so that whoever harms replicas of
machines harms pods. Its number is its slot, each start of its container an attempt.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from domain.app import Port
from reconcilers.object_labels import APP, INSTALLATION, PROJECT, REVISION, UID
from reconcilers.object_ports import Json, ObjectKey
from reconcilers.ports import ReplicaName, ReplicaState, StartReplica
from simulation.cluster.merging import Body
from simulation.cluster.store import Store
from simulation.machine import Machine, Running
from simulation.program import ImpossibleWorld

BACKOFF: Final = (10.0, 300.0)  # seconds before a container starts again: first, and at most
STRANGER: Final = "kubectl-edit"  # whoever has an account of their own: the second writer
FORGIVEN: Final = 600.0  # seconds after which a container that runs is well


@dataclass(slots=True)
class Pod:
    """What a node knows of a pod. `hand` is what runs, or ran last."""

    key: ObjectKey
    number: int
    hand: Running | None = None
    restarts: int = 0
    waits_until: float = 0.0
    last: Body | None = None  # of the container's former life
    ready_since: float | None = None  # and in the endpoints of its Services
    left_at: float | None = None  # when it was last taken out of them
    signal_at: float | None = None  # once its end was asked for
    is_told: bool = False  # it has its signal


@final
class Nodes:
    """`step` brings all pods to where they are now."""

    def __init__(
        self,
        store: Store,
        machine: Machine,
        clock: Callable[[], float],
        stamp: Callable[[], str],
    ) -> None:
        self._store, self._machine, self._clock, self._stamp = store, machine, clock, stamp
        self.pods: dict[ObjectKey, Pod] = {}
        self.doomed: set[ObjectKey] = set()  # their end is decided, and will come
        self._numbers = 0

    def take(self, body: Json, number: int | None = None) -> None:
        """A new pod has come; it gets a number that no other has, or that of its ordinal."""
        self._numbers += 1
        key = ObjectKey.of(self._store.make(body))
        self.pods[key] = Pod(key, self._numbers if number is None else number)

    def evict(self, key: ObjectKey, *, tells: bool = True) -> None:
        """Ask for the end of a pod: no endpoint any more, then its wait, then its signal.

        `tells` whoever watches that it ends what may be needed. Twice is as once.
        """
        pod = self.pods[key]
        if pod.signal_at is not None:
            return
        if pod.hand is None or pod.hand.seen.state is not ReplicaState.RUNNING:
            self._drop(key)
            return
        if tells:
            self.doom(key)
        self.doomed.add(key)
        body = self._store.get(key) or {}
        pod.signal_at = self._clock() + _wait(body)
        self._store.end(key, self._stamp())
        self._move(pod)

    def _drop(self, key: ObjectKey) -> None:
        pod = self.pods.pop(key)
        self.doomed.discard(key)
        self._store.remove(key)
        if pod.hand is not None:
            self._machine.discard(pod.hand)

    def step(self) -> None:
        for key, pod in list(self.pods.items()):
            body = self._store.get(key)
            if body is None:
                raise ImpossibleWorld(f"{key} went without its node")
            if pod.hand is not None and self._is_lost(pod.hand):
                self._drop(key)  # somebody deleted it by hand
                continue
            if pod.signal_at is not None:
                self._end(pod, pod.signal_at)
                continue
            self._run(pod, body)
            self._move(pod)
            self._store.set(key, {**body, "status": self._status(pod, body)})

    def _end(self, pod: Pod, signal_at: float) -> None:
        """A pod on its way out gets its signal when it has waited, and goes when it obeys."""
        hand, now = pod.hand, self._clock()
        assert hand is not None, "what never ran goes at once"
        if now >= signal_at and not pod.is_told:
            pod.is_told = True
            self._machine.tell_witness(hand.installation, "signal", hand.order.name, hand, now)
        patience = hand.order.stop_grace
        needs = patience if hand.program.stubborn else min(patience, hand.program.slow)
        if hand.seen.state is not ReplicaState.RUNNING or now >= signal_at + needs:
            self._drop(pod.key)

    def _move(self, pod: Pod) -> None:
        """A pod is among the endpoints of its Services while it is ready."""
        is_in, now = self.is_ready(pod.key), self._clock()
        if is_in and pod.ready_since is None:
            pod.ready_since = now
        elif not is_in and pod.ready_since is not None:
            pod.ready_since, pod.left_at = None, now

    def doom(self, key: ObjectKey) -> None:
        """The end of a pod is decided; it is told now, whenever it comes."""
        hand = self.pods[key].hand
        if hand is not None and key not in self.doomed:
            name = hand.order.name
            self._machine.tell_witness(hand.installation, "evict", name, hand, self._clock())
        self.doomed.add(key)

    def is_doomed(self, hand: Running) -> bool:
        """Whether somebody has already asked for the end of what runs this."""
        return any(self.pods[key].hand is hand for key in self.doomed)

    def is_ready(self, key: ObjectKey) -> bool:
        pod = self.pods[key]
        return pod.signal_at is None and pod.hand is not None and self._is_well(pod.hand)

    def is_ending(self, key: ObjectKey) -> bool:
        return self.pods[key].signal_at is not None

    def _is_lost(self, hand: Running) -> bool:
        return self._machine.find(hand.installation, hand.order.name) is not hand

    def _is_well(self, hand: Running) -> bool:
        runs = hand.seen.state is ReplicaState.RUNNING
        return runs and not hand.program.deaf and hand.program.is_well(hand.age)

    # -- containers ---------------------------------------------------------------------------

    def _run(self, pod: Pod, body: Json) -> None:
        now = self._clock()
        if pod.hand is not None and pod.hand.seen.state is ReplicaState.EXITED:
            if pod.last is None or pod.last["startedAt"] != pod.hand.seen.started_at:
                self._ended(pod, pod.hand, now)
            if now < pod.waits_until:
                return
            self._machine.discard(pod.hand)
            pod.hand, pod.restarts = None, pod.restarts + 1
        if pod.hand is None and self._waits_for(body) is None:
            order = self._order(pod, body)
            owner = _labels(body).get(INSTALLATION, STRANGER)
            pod.hand = self._machine.create(owner, order)
            self._machine.begin(pod.hand)

    def _ended(self, pod: Pod, hand: Running, now: float) -> None:
        lived = (hand.seen.finished_at or 0.0) - (hand.seen.started_at or 0.0)
        if lived > FORGIVEN:
            pod.restarts = 0
        first, most = BACKOFF
        pod.waits_until = now + min(most, first * math.pow(2, min(pod.restarts, 10)))
        reason = {"OutOfMemory": "OOMKilled"}.get(hand.seen.reason, "Error")
        pod.last = {"exitCode": hand.seen.exit_code, "reason": reason}
        pod.last["startedAt"] = hand.seen.started_at

    def _waits_for(self, body: Json) -> tuple[str, str] | None:
        """Why the container of a pod cannot start, if it cannot: a reason and a message."""
        image = body["spec"]["containers"][0]["image"]
        if image not in self._machine.present_images:
            if image in self._machine.missing_images:
                return "ImagePullBackOff", f"no such image: {image}"
            self._machine.present_images[image] = image
        for key in self._sources(body):
            if self._store.get(key) is None:
                return "CreateContainerConfigError", f"{key} is not there"
        return None

    def _sources(self, body: Json) -> list[ObjectKey]:
        """Where the variables of a pod come from."""
        namespace = body["metadata"]["namespace"]
        kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
        return [
            ObjectKey("v1", kinds[way], namespace, named["name"])
            for source in body["spec"]["containers"][0].get("envFrom", ())
            for way, named in source.items()
        ]

    def _order(self, pod: Pod, body: Json) -> StartReplica:
        labels, container = _labels(body), body["spec"]["containers"][0]
        env: dict[str, str] = {}
        for key in self._sources(body):
            if key.kind == "ConfigMap":
                env |= (self._store.get(key) or {}).get("data", {})
        ports = tuple(
            Port(name=one["name"], port=one["containerPort"]) for one in container.get("ports", ())
        )
        project = labels.get(PROJECT, pod.key.namespace)
        app, revision = labels.get(APP, pod.key.name), int(labels.get(REVISION, 0))
        name = ReplicaName(project, app, revision, pod.number, pod.restarts + 1)
        return StartReplica(
            name=name,
            uid=int(labels.get(UID, 0)),
            digest="",
            position=0,
            image=container["image"],
            command=tuple(container.get("command", ())),
            args=tuple(container.get("args", ())),
            workdir=None,
            env=env,
            ports=ports,
            volumes=(),
            cpu_millis=None,
            memory_bytes=None,
            stop_signal="SIGTERM",
            stop_grace=10.0,
        )

    # -- what is said -------------------------------------------------------------------------

    def _status(self, pod: Pod, body: Json) -> Body:
        ready = self.is_ready(pod.key)
        before = body.get("status", {}).get("conditions", ())
        said = {"type": "Ready", "status": str(ready)}
        if not (before and before[0]["status"] == said["status"]):
            before = ({**said, "lastTransitionTime": self._stamp()},)
        container = {
            "name": body["spec"]["containers"][0]["name"],
            "image": body["spec"]["containers"][0]["image"],
            "ready": ready,
            "restartCount": pod.restarts,
            "state": self._state(pod, body),
        }
        if pod.last is not None:
            container["lastState"] = {"terminated": _told(pod.last)}
        return {
            "phase": "Running" if pod.hand is not None else "Pending",
            "conditions": list(before),
            "containerStatuses": [container],
        }

    def _state(self, pod: Pod, body: Json) -> Mapping[str, Any]:
        if pod.hand is None:
            reason, message = self._waits_for(body) or ("ContainerCreating", "")
            return {"waiting": {"reason": reason, "message": message}}
        if pod.hand.seen.state is ReplicaState.RUNNING:
            return {"running": {}}
        return {"waiting": {"reason": "CrashLoopBackOff", "message": "it is started again later"}}


def _wait(body: Json) -> float:
    """For how many seconds a pod goes on serving before its signal."""
    hooks = body["spec"]["containers"][0].get("lifecycle", {})
    seconds: float = hooks.get("preStop", {}).get("sleep", {}).get("seconds", 0.0)
    return seconds


def _told(last: Body) -> Body:
    return {"exitCode": last["exitCode"], "reason": last["reason"]}


def _labels(body: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = body["metadata"]["labels"]
    return found
