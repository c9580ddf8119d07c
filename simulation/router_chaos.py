"""What goes wrong with routers: their calls, their sockets, their lives, and foreign hands.

A propagation always takes as long as it may: its length is a trait of the world, not a fault.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, final

from projections.route_table import Backend, RouteTable, Row, Share
from reconcilers.router_ports import RouterUnavailable
from simulation.faults import Call, Trouble
from simulation.knobs import Fault
from simulation.router import ANSWER_SECONDS, SimulatedRouter
from simulation.troubles import Troubles
from simulation.world import World

type Later = Callable[[float, Callable[[], object]], None]

DEAD: Final = "connection refused: nobody listens"
REFUSES: Final = "permission denied: its socket lets nobody in"
NOBODY: Final = Backend("App/nobody/here", 0, "http")


@final
class RouterTroubles:
    """Wires the call faults of all routers of a world."""

    def __init__(self, world: World, troubles: Troubles) -> None:
        self._world, self._troubles = world, troubles
        self._rng = world.rng("router troubles")
        for target, router in world.routers.items():
            router.plan = partial(self._plan, target)
            router.seen = partial(self._seen, router)

    def _plan(self, target: str, call: Call) -> Trouble:
        hits, words = self._troubles.hits, f"{call.verb} at the router of {target}"
        delay = self._rng.uniform(0.0, 0.05)
        if hits(Fault.ROUTER_SLOW, words):
            delay = self._rng.uniform(0.5, 4.0)
        if hits(Fault.ROUTER_LATE, words):
            delay = 2 * (ANSWER_SECONDS + self._rng.uniform(0.5, 10.0))
        if delay >= 0.5:  # what it was told last may be another thing than what it serves
            self._world.serving.upset(target)
        before = after = None
        if hits(Fault.ROUTER_LOST_BEFORE, words):
            before = RouterUnavailable("the connection was reset")
        elif hits(Fault.ROUTER_LOST_AFTER, words):
            after = RouterUnavailable("the answer never came")
        return Trouble(delay_seconds=delay, before=before, after=after)

    def _seen(self, router: SimulatedRouter, table: RouteTable) -> RouteTable:
        is_stale = router.former != table and self._troubles.hits(
            Fault.ROUTER_STALE_READ, f"{len(router.former.rows)} rows instead of {len(table.rows)}"
        )
        return router.former if is_stale else table


@final
class RouterChaos:
    """The deeds to the routers of one world; `calm` takes back what would never end by itself."""

    def __init__(self, world: World, later: Later) -> None:
        self._world, self._later = world, later
        self._rng = world.rng("router chaos")
        self._numbers = 0
        self.deeds: Mapping[Fault, Callable[[], Awaitable[str]]] = {
            Fault.ROUTER_DEAD: self._kill,
            Fault.ROUTER_REFUSES: self._refuse,
            Fault.ROUTER_EDITED: self._edit,
            Fault.ROUTER_TAKEN_OUT: self._take_out,
        }

    def calm(self) -> None:
        for router in self._world.routers.values():
            if router.away:
                router.begin_anew()

    def _one(self) -> tuple[str, SimulatedRouter]:
        return self._rng.choice(sorted(self._world.routers.items()))

    async def _kill(self) -> str:
        target, router = self._one()
        if router.away:
            return ""
        router.away = DEAD
        self._later(self._rng.uniform(0.5, 90.0), router.begin_anew)
        return target

    async def _refuse(self) -> str:
        """It serves on, and nobody may tell it anything."""
        target, router = self._one()
        if router.away:
            return ""
        router.away = REFUSES

        def open_again() -> None:
            if router.away == REFUSES:
                router.away = ""

        self._later(self._rng.uniform(2.0, 120.0), open_again)
        return target

    async def _edit(self) -> str:
        target, router = self._one()
        rows = router.table.rows
        if rows and self._rng.random() < 0.5:
            gone = self._rng.choice(rows)
            self._world.serving.upset(target)
            router.edit(gone.id)
            return f"{target}: the row of {gone.host}{gone.path} goes"
        self._numbers += 1
        row = Row(
            id=f"foreign-{self._numbers}",
            target=target,
            scheme="http",
            host=f"foreign{self._numbers}.localhost",
            path="/",
            context=None,
            precedence=1,
            shares=(Share(NOBODY, 1),),
        )
        router.intrude(row)
        return f"{target}: a row of {row.host} comes"

    async def _take_out(self) -> str:
        target, router = self._one()
        served = [backend for backend, ends in router.endpoints.items() if ends]
        if not served:
            return ""
        backend = self._rng.choice(served)
        self._world.truth.disturb(backend.app, self._world.clock())
        router.take_out(backend)
        return f"{target}: an endpoint of {backend.app}"
