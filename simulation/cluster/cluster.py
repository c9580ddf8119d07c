"""A simulated cluster whole: objects, controllers and nodes, and what is done to it by others.

Its nodes run pods on a `simulation.machine.Machine`, which also holds the faults of calls to its
API. Time passes by its controllers' steps, one a second.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol, final

from adapters.k8s.render.manifests import sent
from adapters.k8s.render.renderer import KubernetesRenderer
from domain.app import AppSpec, Port
from domain.target import K8sSettings
from reconcilers.object_labels import INSTALLATION
from reconcilers.object_ports import (
    MANAGER,
    AppOrder,
    Json,
    ObjectKey,
    ObjectRefused,
    ProjectOrder,
    Propagation,
)
from simulation.cluster.merging import Body
from simulation.cluster.nodes import STRANGER, Nodes
from simulation.cluster.serving import Serving
from simulation.cluster.store import Change, Store
from simulation.cluster.workloads import Controllers
from simulation.machine import Machine
from simulation.program import ImpossibleWorld, program_of_words

STEP_SECONDS: Final = 1.0
LAG: Final = 0.05  # seconds until a change is seen by who follows
REFUSED: Final = "refused"  # a word of SIMULATED: no policy of the cluster lets such an app be


class Follower(Protocol):
    """Whoever has a copy of what is here."""

    def beat(self) -> None:
        """A second has passed."""

    def relist(self) -> None:
        """See everything anew."""


@dataclass(slots=True)
class Watching:
    """What goes wrong with watches; change it at any time.

    `loses` is asked at each change, `lags` for seconds; until `stalled_until` (of the clock)
    nothing comes, though nobody says so.
    """

    loses: Callable[[Change], bool] = lambda _change: False
    lags: Callable[[], float] = lambda: LAG
    stalled_until: float = 0.0


@final
class Cluster:
    """`lingers` is asked, at each deletion, how long something else holds the object back.

    `propagation` is how long a change of endpoints takes, in seconds, until requests follow it.
    """

    def __init__(self, name: str, machine: Machine, propagation: float = 1.0) -> None:
        self.name, self.machine = name, machine
        self.clock = asyncio.get_running_loop().time
        self.store = Store()
        self.copies: list[Follower] = []
        self.watching = Watching()
        self.held: dict[ObjectKey, float] = {}
        self.lingers: Callable[[ObjectKey], float] = lambda _key: 0.0
        self.nodes = Nodes(self.store, machine, self.clock, self.stamp)
        self.controllers = Controllers(self.store, self.nodes, self.clock, self.held)
        self.serving = Serving(self.store, self.nodes, self.clock, propagation)

    def stamp(self) -> str:
        """The time as objects have it."""
        at = datetime.fromtimestamp(self.machine.now(), UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%SZ")

    async def run(self) -> None:
        """Let its controllers and nodes work, for ever."""
        while True:
            await asyncio.sleep(STEP_SECONDS)
            self.step()

    def step(self) -> None:
        self.nodes.step()
        self.controllers.step()
        self.nodes.step()
        self.serving.step()
        for copy in list(self.copies):
            copy.beat()

    # -- what is asked of it ------------------------------------------------------------------

    def apply(self, body: Json, manager: str, uid: str | None, *, dry: bool) -> Json:
        """Raises as `ObjectEngine.apply`."""
        if body["kind"] == "ConfigMap" and _is_refused(body):
            raise ObjectRefused("422: a policy of the cluster forbids such an app")
        return self.store.apply(body, manager, uid, dry=dry)

    def delete(self, key: ObjectKey, propagation: Propagation) -> None:
        """Ask for the end of an object that is there."""
        body = self.store.get(key)
        assert body is not None, "whoever deletes has looked"
        if propagation == "Orphan":
            self.controllers.orphan(body)
        seconds = self.lingers(key)
        if seconds or key.kind == "Namespace":
            self.held[key] = self.clock() + seconds
            self._doom(key, body)
            self.store.end(key, self.stamp())
        elif key in self.nodes.pods:
            self.nodes.evict(key)
        else:
            self.store.remove(key)

    def _doom(self, key: ObjectKey, body: Json) -> None:
        """Who ends this ends the pods of it, now that it is asked for."""
        for pod in list(self.nodes.pods):
            if pod.namespace == key.name or self.controllers.is_of(pod, body):
                self.nodes.doom(pod)

    # -- others -------------------------------------------------------------------------------

    def edit(self, key: ObjectKey, changes: Body) -> None:
        """Somebody changes an object by hand."""
        self.store.edit(key, changes, STRANGER)

    def squat(self, key: ObjectKey) -> None:
        """Somebody makes an object of their own by a name that nobody has yet."""
        if self.store.get(key) is not None:
            raise ImpossibleWorld(f"{key} is there")
        metadata = {"name": key.name, "namespace": key.namespace, "labels": {"team": "other"}}
        self.store.make({"apiVersion": key.api_version, "kind": key.kind, "metadata": metadata})

    def settle(self, installation: str, project: str, app: str) -> None:
        """Let another installation have an app of the same name here, in a namespace of its own."""
        settings = K8sSettings(namespace_prefix="other-")
        renderer = KubernetesRenderer(installation, self.name, settings)
        order = AppOrder(
            project=project,
            app=app,
            uid=1,
            revision=1,
            digest="of another",
            image="other:1",
            spec=AppSpec(image="other:1", ports=(Port(name="http", port=80),)),
            env={},
            replicas=1,
        )
        shared = renderer.project(ProjectOrder(project=project, uid=1))
        for manifest in (*shared, *renderer.app(order)):
            if self.store.get(manifest.key) is None:
                self.store.apply(sent(manifest, 1), MANAGER, None)
        self.step()

    def foreign(self, installation: str) -> dict[ObjectKey, Json]:
        """What belongs to nobody or to others, by name: what they mean, not how it fares."""
        found: dict[ObjectKey, Json] = {}
        for key, body in self.store.all():
            metadata = body["metadata"]
            is_ours = metadata.get("labels", {}).get(INSTALLATION) == installation
            if not is_ours and not metadata.get("ownerReferences"):
                found[key] = {**body, "metadata": _meant(metadata), "status": None}
        return found


def _meant(metadata: Json) -> Body:
    return {name: value for name, value in metadata.items() if name != "resourceVersion"}


def _is_refused(body: Json) -> bool:
    words = body.get("data", {}).get("SIMULATED", "")
    return bool(words) and program_of_words(words).refused
