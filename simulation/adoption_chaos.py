"""Chaos of adoption: names that an app needs are taken, and people ask to take them over.

Who asks looks first, as anybody would, and asks a while later for what was seen: perhaps for some
of it only, with a uid that nothing has, or for data without saying so. What was seen may be another
object by then, and its cluster, app or namespace may be gone.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, final

import msgspec

from bus.intents import Asked
from domain import events as e
from domain import intents as i
from domain.names import Ref
from domain.target import K8sSettings
from reconcilers.object_adopting import InTheWay
from reconcilers.object_labels import INSTALLATION
from reconcilers.object_ports import ObjectKey
from reconcilers.ports import EngineError
from simulation.cluster.cluster import Cluster
from simulation.cluster.strangers import again, occupy
from simulation.knobs import Fault
from simulation.world import World

ROUNDS: Final = 6  # of asking at the end, for what comes to light only when something was taken
ROUND_SECONDS: Final = 30.0
NOBODY: Final = "uid-0"

type Beside = Callable[[Coroutine[Any, Any, object]], None]


class _Theirs(NamedTuple):
    cluster: Cluster
    key: ObjectKey


@final
class AdoptionChaos:
    """The deeds in the clusters of one world; at last all names are free, or taken over."""

    def __init__(self, world: World, apps: Sequence[Ref], beside: Beside) -> None:
        self._world, self._apps, self._beside = world, apps, beside
        self._rng: random.Random = world.rng("adoption chaos")
        self._theirs: dict[_Theirs, None] = {}
        self._numbers = 0
        self.deeds: Mapping[Fault, Callable[[], Awaitable[str]]] = {
            Fault.CLUSTER_OCCUPIED: self._occupy,
            Fault.CLUSTER_REMADE: self._remake,
            Fault.INTENT_ADOPTS: self._adopt,
        }

    async def calm(self) -> None:
        """In half of all worlds everything is taken over, then what is left goes."""
        if not self._theirs:
            return
        if self._rng.random() < 0.5:
            for _ in range(ROUNDS):
                asked = [await self._take_all(ref) for ref in self._on_clusters()]
                if not any(asked):
                    break
                await asyncio.sleep(ROUND_SECONDS)
        for one in self._left():
            self._end(one)

    def _left(self) -> list[_Theirs]:
        """What strangers made that is there and still nobody else's."""
        return [one for one in self._theirs if self._is_theirs(one)]

    def _is_theirs(self, one: _Theirs) -> bool:
        body = one.cluster.store.get(one.key)
        return body is not None and INSTALLATION not in body["metadata"].get("labels", {})

    def _end(self, one: _Theirs) -> None:
        cluster, key = one
        if cluster.store.get(key) is not None:
            self._world.objects.others_end(cluster.name, key)
            cluster.delete(key, "Background")

    # -- what strangers do --------------------------------------------------------------------

    async def _occupy(self) -> str:
        world, rng = self._world, self._rng
        cluster, ref = rng.choice(list(world.clusters.values())), rng.choice(self._apps)
        namespace = f"{K8sSettings().namespace_prefix}{ref.project}"
        made = occupy(cluster, namespace, ref.name, rng)
        for key in made:
            self._theirs[_Theirs(cluster, key)] = None
            world.objects.others_changed(cluster.name, key)
        return f"{', '.join(map(str, made))} on {cluster.name}" if made else ""

    async def _remake(self) -> str:
        """What was seen there is edited, or made anew: then it is another object."""
        there = [one for one in self._left() if one.key.kind != "Namespace"]
        if not there:
            return ""
        cluster, key = self._rng.choice(there)
        body = cluster.store.get(key) or {}
        if "deletionTimestamp" in body["metadata"]:
            return ""
        is_edited = self._rng.random() < 0.5
        if is_edited:
            cluster.edit(key, {"metadata": {"annotations": {"note": f"{self._number()}"}}})
        else:
            cluster.store.remove(key)
            cluster.store.make(again(body))
        self._world.objects.others_changed(cluster.name, key)
        return f"{key} is {'edited' if is_edited else 'made anew'}"

    # -- what people ask ----------------------------------------------------------------------

    async def _adopt(self) -> str:
        apps = self._on_clusters()
        if apps:
            self._beside(self._look_and_ask(self._rng.choice(apps)))
        return ""  # counted when it is asked

    def _on_clusters(self) -> list[Ref]:
        return [app.ref for app in self._world.truth.apps() if app.target in self._world.clusters]

    async def _look_and_ask(self, ref: Ref) -> None:
        found, rng = await self._in_the_way(ref), self._rng
        if not found:
            return
        await asyncio.sleep(rng.choice([0.0, 1.0, 15.0, 60.0]))
        named = [one.object for one in found]
        way = rng.random()
        if way < 0.15:
            chosen = rng.randrange(len(named))
            named[chosen] = msgspec.structs.replace(named[chosen], uid=NOBODY)
        elif way < 0.35:
            named = rng.sample(named, rng.randrange(1, len(named) + 1))
        words = f"{ref}: {', '.join(f'{one.kind} {one.name}' for one in named)}"
        if await self._ask(ref, named, volumes=rng.random() < 0.5):
            self._world.trace.fire(Fault.INTENT_ADOPTS, words)

    async def _take_all(self, ref: Ref) -> bool:
        """Ask for all that an app lacks, rightly; whether there was any."""
        found = await self._in_the_way(ref)
        return bool(found) and await self._ask(ref, [one.object for one in found], volumes=True)

    async def _in_the_way(self, ref: Ref) -> Sequence[InTheWay]:
        """What the control plane shows to who asks; nothing if that cannot be found out."""
        controller = self._world.acting()
        if controller is None:
            return ()
        task = controller.serve(controller.parts.passing.in_the_way(ref.stream))
        await asyncio.wait([task])
        if task.cancelled():
            return ()
        with suppress(EngineError):
            return task.result()
        return ()

    async def _ask(self, ref: Ref, named: Sequence[e.ForeignObject], *, volumes: bool) -> bool:
        if volumes:
            self._world.objects.volumes_named(named)
        asked: Asked = i.Adopt(ref=ref, objects=tuple(named), volumes=volumes)
        return await self._world.client.ask([asked], f"adopt-{self._number()}") is not None

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
