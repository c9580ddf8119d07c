"""What goes wrong between workers that share the work: one dies, hears nothing, or is not heard."""

from collections.abc import Awaitable, Callable, Mapping
from typing import final

from simulation.controller import Controller
from simulation.knobs import Fault
from simulation.leases import SimulatedLeases
from simulation.world import World

type Later = Callable[[float, Callable[[], object]], None]


@final
class WorkerChaos:
    """The deeds to the workers of one world; `calm` lets all of them hear each other."""

    def __init__(self, world: World, later: Later) -> None:
        self._world, self._later = world, later
        self._rng = world.rng("worker chaos")
        self.deeds: Mapping[Fault, Callable[[], Awaitable[str]]] = {
            Fault.WORKER_DIES: self._die,
            Fault.WORKER_CUT_OFF: self._cut_off,
            Fault.WORKER_UNHEARD: self._unheard,
            Fault.LEASES_LOST: self._lose,
        }

    def calm(self) -> None:
        if self._world.site.leases is not None:
            for way in self._world.site.leases.ways:
                way.is_cut = way.loses_answers = False

    def _one(self) -> tuple[Controller, SimulatedLeases] | None:
        alive = [one for one in self._world.controllers if one.life.is_alive]
        if not alive:
            return None
        chosen = self._rng.choice(alive)
        assert chosen.way is not None, "workers that share have leases"
        return chosen, chosen.way

    async def _die(self) -> str:
        found = self._one()
        if found is None:
            return ""
        found[0].life.end("somebody killed it")
        return found[0].life.name

    async def _cut_off(self) -> str:
        """It reaches machines and the log, and no leases."""
        found = self._one()
        if found is None or found[1].is_cut:
            return ""
        controller, way = found
        way.is_cut = True

        def mend() -> None:
            way.is_cut = False

        self._later(self._rng.uniform(2.0, 60.0), mend)
        return controller.life.name

    async def _unheard(self) -> str:
        """What it writes arrives, and it is not told."""
        found = self._one()
        if found is None or found[1].loses_answers:
            return ""
        controller, way = found
        way.loses_answers = True

        def mend() -> None:
            way.loses_answers = False

        self._later(self._rng.uniform(2.0, 30.0), mend)
        return controller.life.name

    async def _lose(self) -> str:
        bucket = self._world.site.leases
        assert bucket is not None, "workers that share have leases"
        bucket.vanish()
        return "the bucket is made anew"
