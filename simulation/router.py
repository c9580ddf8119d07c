"""A simulated router: what new requests may meet, and what a foreign hand or an outage does to it.

An endpoint that was published no more may be met until `propagation` has passed since the call
returned. It keeps what it has when its control plane dies.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence, Set
from typing import final, override

from projections.route_table import Endpoint, Endpoints, RouteTable
from reconcilers.ports import ReplicaState
from reconcilers.router_ports import (
    Applied,
    Router,
    RouterError,
    RouterUnavailable,
    Unserved,
)
from simulation.faults import CALM, Call, Trouble
from simulation.lives import Life
from simulation.machine import Deed


@final
class SimulatedRouter(Router):
    """Args: `plan` says what becomes of each call, whose verbs are `apply` and `publish`."""

    def __init__(
        self,
        *,
        propagation: float = 0.25,
        plan: Callable[[Call], Trouble] = lambda _call: CALM,
    ) -> None:
        self._propagation, self.plan = propagation, plan
        self.table = RouteTable()
        self.endpoints: Endpoints = {}
        self.published: list[Endpoints] = []
        self.applied: list[RouteTable] = []
        self.unserved: tuple[Unserved, ...] = ()
        self.cut: list[str] = []
        """Replicas that were asked to end while a new request could still meet them."""
        self.in_hand: dict[Endpoint, int] | None = {}
        """Requests that are not answered yet, by who is to answer them; None: it tells nobody."""
        self.silence: RouterError | None = None
        """Why nobody is told what is in hand."""
        self._fading: list[tuple[float, Endpoints]] = []
        self._edited: list[str] = []
        self._watchers: dict[asyncio.Queue[None], None] = {}
        self._calls = 0

    @property
    @override
    def propagation(self) -> float:
        return self._propagation

    # -- what control planes do ---------------------------------------------------------------

    @override
    async def apply(self, table: RouteTable) -> Applied:
        trouble = await self._meet("apply")
        changed = table != self.table or bool(self._edited)
        self.table, drift = table, tuple(self._edited)
        self._edited.clear()
        self.applied.append(table)
        await self._leave(trouble)
        return Applied(changed, drift, self.unserved)

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        trouble = await self._meet("publish")
        before, self.endpoints = self.endpoints, dict(endpoints)
        self.published.append(self.endpoints)
        self._fading.append((math.inf, before))
        try:
            await self._leave(trouble)
        finally:
            end = _now() + self._propagation
            self._fading = [
                (end if until == math.inf else until, old)
                for until, old in self._fading
                if until >= _now()
            ]

    @override
    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:
        if self.silence is not None:
            raise self.silence
        if self.in_hand is None:
            return None
        return sum(self.in_hand.get(one, 0) for one in endpoints)

    @override
    async def watch(self) -> AsyncIterator[None]:
        queue: asyncio.Queue[None] = asyncio.Queue()
        self._watchers[queue] = None
        try:
            while True:
                await queue.get()
                yield None
        finally:
            del self._watchers[queue]

    async def _meet(self, verb: str) -> Trouble:
        self._calls += 1
        trouble = self.plan(Call(self._calls, verb, None))
        await asyncio.sleep(trouble.delay_seconds / 2)
        if trouble.before is not None:
            raise trouble.before
        return trouble

    async def _leave(self, trouble: Trouble) -> None:
        await asyncio.sleep(trouble.delay_seconds / 2)
        if trouble.after is not None:
            raise trouble.after

    # -- what happens to it -------------------------------------------------------------------

    def begin_anew(self) -> None:
        """It was killed, and started by itself with what it has on its disk."""
        for queue in self._watchers:
            queue.put_nowait(None)

    def edit(self, row: str) -> None:
        """Another hand takes a row away."""
        self.table = RouteTable(rows=tuple(one for one in self.table.rows if one.id != row))
        self._edited.append(row)

    # -- what is so ---------------------------------------------------------------------------

    def meets(self, endpoint: tuple[str, int]) -> bool:
        """Whether a new request may be sent there now."""
        fading = (old for until, old in self._fading if until > _now())
        return any(_has(known, endpoint) for known in (self.endpoints, *fading))

    def witness(self, deed: Deed) -> None:
        """Note who is asked to end too early; to be told of every deed done to the machine."""
        running = deed.about
        if deed.verb != "stop" or running is None:
            return
        if running.seen.state is not ReplicaState.RUNNING:
            return
        if any(self.meets((one.host, one.number)) for one in running.seen.addresses):
            self.cut.append(running.seen.id)

    @property
    def emptied(self) -> Sequence[str]:
        """Apps that had endpoints and were published without any."""
        found: dict[str, None] = {}
        for before, after in zip(self.published, self.published[1:], strict=False):
            found |= {backend.app: None for backend in before if backend not in after}
        return list(found)


@final
class GuardedRouter(Router):
    """A router as one life reaches it: nothing comes of a call after its end."""

    def __init__(self, router: SimulatedRouter, life: Life) -> None:
        self._router, self._life = router, life

    @property
    @override
    def propagation(self) -> float:
        return self._router.propagation

    @override
    async def apply(self, table: RouteTable) -> Applied:
        words = f"router apply of {len(table.rows)} rows"
        return await self._life.effect(words, lambda: self._router.apply(table))

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        words = f"router publish of {len(endpoints)} backends"
        await self._life.effect(words, lambda: self._router.publish(endpoints))

    @override
    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:
        await self._life.present()
        return await self._router.unanswered(endpoints)

    @override
    async def watch(self) -> AsyncIterator[None]:
        async for _ in self._router.watch():
            await self._life.present()
            yield None


def silent() -> RouterError:
    """What a router that does not answer makes of a call."""
    return RouterUnavailable("the simulated router does not answer")


def _has(endpoints: Endpoints, endpoint: tuple[str, int]) -> bool:
    host, number = endpoint
    return any(Endpoint(host, number) in known for known in endpoints.values())


def _now() -> float:
    return asyncio.get_running_loop().time()
