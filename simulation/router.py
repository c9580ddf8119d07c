"""A simulated router: what new requests may meet, and what a foreign hand or an outage does to it.

It takes its calls one after the other, in the order in which they arrive; who waits too long for
an answer is told that there is none, and the call takes effect all the same when its turn comes.
An endpoint that was published no more may be met until `propagation` has passed since the call
returned. It keeps what it has when its control plane dies, and when it is killed itself.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence, Set
from typing import Any, Final, final, override

from projections.route_table import Backend, Endpoint, Endpoints, RouteTable, Row
from reconcilers.ports import ReplicaState
from reconcilers.router_ports import (
    Applied,
    Certified,
    Router,
    RouterError,
    RouterUnavailable,
    Unserved,
)
from simulation.faults import CALM, Call, Trouble
from simulation.guarded import Road
from simulation.machine import Deed

ANSWER_SECONDS: Final = 5.0  # until who called gives up waiting

type Published = Callable[[Endpoints, Endpoints], None]
"""Told of the endpoints before a publish took effect, and after."""


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
        self.uncopied = ""
        self.certificates: dict[str, Certified] = {}
        self.cut: list[str] = []
        """Replicas that were asked to end while a new request could still meet them."""
        self.away = ""
        """Why nobody answers now; a call whose turn comes meanwhile has no effect."""
        self.seen: Callable[[RouteTable], RouteTable] = lambda table: table
        """What an `apply` reads of the table before it writes: maybe an older one."""
        self.told: Published = lambda _before, _after: None
        self.former = RouteTable()
        """The table before the present one."""
        self.calls: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()  # calls that changed anything
        self.troubled_at = -math.inf
        """When a call was last refused, lost or late."""
        self.working: dict[asyncio.Task[Any], None] = {}
        """Calls that it has not done with, so that they end with the world at last."""
        self._turn = asyncio.Lock()
        self._since: dict[tuple[str, int], float] = {}
        self.in_hand: dict[Endpoint, int] | None = {}
        """Requests that are not answered yet, by who is to answer them; None: it tells nobody."""
        self.silence: RouterError | None = None
        """Why nobody is told what is in hand."""
        self._fading: list[tuple[float, Endpoints]] = []
        self._edited: list[str] = []
        self._watchers: dict[asyncio.Queue[None], None] = {}

    @property
    @override
    def propagation(self) -> float:
        return self._propagation

    @property
    @override
    def without_copies(self) -> str:
        return self.uncopied

    # -- what control planes do ---------------------------------------------------------------

    @override
    async def apply(self, table: RouteTable) -> Applied:
        return await self._answered("apply", lambda: self._apply(table))

    def _apply(self, table: RouteTable) -> Applied:
        self.applied.append(table)
        seen = self.seen(self.table)
        if seen is not self.table:
            if seen != table:
                raise RouterUnavailable("412: its configuration is another since it was read")
            return Applied(changed=False, unserved=self.unserved)
        changed = table != seen or bool(self._edited)
        drift, self._edited = tuple(self._edited), []
        if changed:
            self.changes["apply"] += 1
            self.former, self.table = seen, table
        return Applied(changed, drift, self.unserved)

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        await self._answered("publish", lambda: self._publish(endpoints))

    def _publish(self, endpoints: Endpoints) -> None:
        self._replace(dict(endpoints))
        self.published.append(self.endpoints)

    def _replace(self, endpoints: Endpoints) -> None:
        """Serve these; until the call returns, and a propagation longer, those before as well."""
        before, self.endpoints = self.endpoints, endpoints
        self.changes["publish"] += before != endpoints
        now = _now()
        self._since = {one: self._since.get(one, now) for one in _flat(endpoints)}
        self._fading.append((math.inf, before))
        self.told(before, endpoints)

    @override
    async def certified(self, hosts: Collection[str]) -> Mapping[str, Certified]:
        return {host: one for host, one in self.certificates.items() if host in hosts}

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

    async def _answered[T](self, verb: str, work: Callable[[], T]) -> T:
        """Have the router do something in its turn, whatever becomes of who waits for it."""
        self.calls[verb] += 1
        task = asyncio.create_task(self._work(Call(self.calls.total(), verb, None), work))
        self.working[task] = None
        task.add_done_callback(self._done)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.shield(task)
        except TimeoutError:
            self.troubled_at = _now()
            raise RouterUnavailable(f"no answer within {ANSWER_SECONDS:.0f} s") from None
        except RouterError:
            self.troubled_at = _now()
            raise

    async def _work[T](self, call: Call, work: Callable[[], T]) -> T:
        async with self._turn:
            trouble = self.plan(call)
            if trouble.delay_seconds:
                await asyncio.sleep(trouble.delay_seconds / 2)
            if trouble.before is not None:
                raise trouble.before
            if self.away:
                raise RouterUnavailable(self.away)
            try:
                done = work()
                if trouble.delay_seconds:
                    await asyncio.sleep(trouble.delay_seconds / 2)
                if trouble.after is not None:
                    raise trouble.after
            finally:
                self._fade()
        return done

    def _fade(self) -> None:
        """What a call replaced is met for a propagation from its return on."""
        now = _now()
        end = now + self._propagation
        self._fading = [
            (end if until == math.inf else until, old)
            for until, old in self._fading
            if until >= now
        ]

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.working.pop(task, None)
        if not task.cancelled():
            task.exception()  # who waited for it may be gone: then nobody wants to know

    # -- what happens to it -------------------------------------------------------------------

    def begin_anew(self) -> None:
        """It was killed, and started by itself with what it has on its disk."""
        self.away = ""
        for queue in self._watchers:
            queue.put_nowait(None)

    def edit(self, row: str) -> None:
        """Another hand takes a row away."""
        self._alter(tuple(one for one in self.table.rows if one.id != row), row)

    def intrude(self, row: Row) -> None:
        """Another hand adds a row, which comes before all others."""
        self._alter((row, *self.table.rows), row.id)

    def _alter(self, rows: tuple[Row, ...], what: str) -> None:
        self.former = self.table
        self.table = RouteTable(rows=rows, published=self.table.published)
        self._edited.append(what)

    def take_out(self, backend: Backend) -> None:
        """Another hand takes the first endpoint of a backend out of service."""
        left = {one: ends[1:] if one == backend else ends for one, ends in self.endpoints.items()}
        self._replace(left)
        self._fade()

    # -- what is so ---------------------------------------------------------------------------

    @property
    def was_told(self) -> bool:
        """Whether it has anything that a control plane told it."""
        return bool(self.table.rows or self.endpoints)

    def meets(self, endpoint: tuple[str, int]) -> bool:
        """Whether a new request may be sent there now."""
        fading = (old for until, old in self._fading if until > _now())
        return any(endpoint in _flat(known) for known in (self.endpoints, *fading))

    def reaches(self, endpoint: tuple[str, int]) -> bool:
        """Whether requests are sent there, wherever they come in."""
        since = self._since.get(endpoint)
        return since is not None and _now() >= since + self._propagation

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
    """A router as one life reaches it: a call that is under way when it ends still arrives."""

    def __init__(self, router: SimulatedRouter, road: Road) -> None:
        self._router, self._road = router, road

    @property
    @override
    def propagation(self) -> float:
        return self._router.propagation

    @property
    @override
    def without_copies(self) -> str:
        return self._router.without_copies

    @override
    async def apply(self, table: RouteTable) -> Applied:
        return await self._send(
            f"router apply of {len(table.rows)} rows", lambda: self._router.apply(table)
        )

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        there = ", ".join(
            f"{backend.app} {backend.port}: {' '.join(end.host for end in ends)}"
            for backend, ends in endpoints.items()
        )
        await self._send(f"router publish of {there}", lambda: self._router.publish(endpoints))

    async def _send[T](self, words: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._road.send(words, call)

    @override
    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:
        await self._road.life.present()
        return await self._router.unanswered(endpoints)

    @override
    async def watch(self) -> AsyncIterator[None]:
        async for _ in self._router.watch():
            await self._road.life.present()
            yield None


def silent() -> RouterError:
    """What a router that does not answer makes of a call."""
    return RouterUnavailable("the simulated router does not answer")


def _flat(endpoints: Endpoints) -> dict[tuple[str, int], None]:
    return {(end.host, end.number): None for ends in endpoints.values() for end in ends}


def _now() -> float:
    return asyncio.get_running_loop().time()
