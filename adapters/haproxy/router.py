"""HAProxy as a router: what is asked for, what runs, and how the one becomes the other.

Everything is told to the running program; only what no command can say (`fingerprint`) makes a
new worker, to whom listening sockets are handed over. Its files are written after it took a
change, so that it starts again as it was.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final, final, override

import msgspec
import structlog

from adapters.haproxy.certificates import Certificates, named
from adapters.haproxy.config import Shape
from adapters.haproxy.disk import Disk, State, told
from adapters.haproxy.limits import limits_met
from adapters.haproxy.pool import Pool
from adapters.haproxy.process import HAProxyProcess
from adapters.haproxy.runtime import Runtime
from adapters.haproxy.servers import EMPTY, Slots, commands, configured
from adapters.haproxy.settings import (
    CERTIFICATES,
    CONFIGURATION,
    KEEP_ALIVE_SECONDS,
    HAProxySettings,
)
from adapters.haproxy.wanted import Wanted, differences, filled, wanted, written
from projections.route_table import Endpoints, RouteTable
from reconcilers.router_ports import Applied, Router, RouterError, RouterUnavailable, Unserved

_PROPAGATION: Final = 0.05  # seconds: a request that was matched reaches its server by then
_RELOAD_SECONDS: Final = 15.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

_log = structlog.get_logger(__name__)


@final
class HAProxyRouter(Router):
    """One HAProxy, which lives on when we end.

    `open` takes up the one that runs, or starts it as its files say; the first `apply` starts it
    otherwise. `close` leaves it running, `stop` ends it.
    """

    def __init__(self, settings: HAProxySettings, certificates: Certificates) -> None:
        self._settings = settings
        self._certificates = certificates
        self._disk = Disk(settings.directory)
        self._process = HAProxyProcess(settings)
        self._state = State(pool=Pool.fresh(), shape=Shape(), slots={})
        self._entries: Mapping[str, str] = {}
        self._pems: Mapping[str, str] = {}
        self._turn = asyncio.Lock()
        self._anew = asyncio.Event()
        self._supervision: asyncio.Task[None] | None = None
        self._stale_until = 0.0
        self.reloads = 0
        """How often a new worker was needed since `open`."""

    @property
    @override
    def propagation(self) -> float:
        """Longer while clients may still hold connections to a worker from before a reload."""
        left = self._stale_until - asyncio.get_running_loop().time()
        return max(_PROPAGATION, left)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def runtime(self) -> Runtime:
        """What takes commands now."""
        return Runtime(self._settings.directory, self._state.shape.socket_name)

    async def open(self) -> None:
        """Take up what an earlier control plane left, running or not."""
        await asyncio.to_thread(self._disk.prepare)
        self._state = self._disk.state() or self._state
        self._entries, self._pems = self._disk.entries(), self._disk.certificates()
        if self._state.loaded:
            if self._process.pid is None:
                with contextlib.suppress(RouterUnavailable):  # `apply` will say so
                    await self._process.start()
            self._supervise()

    async def close(self) -> None:
        """Leave it alone. It goes on with what it has."""
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.gather(self._supervision, return_exceptions=True)

    async def stop(self) -> None:
        """End it. Nothing is served any more."""
        await self.close()
        await self._process.stop()

    @override
    async def apply(self, table: RouteTable) -> Applied:
        async with self._turn:
            unserved = limits_met(table.rows, has_https=bool(self._settings.https))
            rows = [row for row in table.rows if row.id not in unserved]
            pems, missing = await self._certificates.of(rows)
            unserved |= missing
            applied = await self._bring(table, unserved, named(pems))
            return applied._replace(unserved=tuple(Unserved(*one) for one in unserved.items()))

    async def _bring(
        self, table: RouteTable, unserved: Mapping[str, str], pems: Mapping[str, str]
    ) -> Applied:
        files = written(self._settings, self._state, self._entries)
        foreign = self._disk.differing(files)
        drift = tuple(f"file {name}" for name in foreign)
        state = self._state
        if self._process.pid is not None and not await self._answers():
            shape = msgspec.structs.replace(state.shape, socket=state.shape.socket + 1)
            state = msgspec.structs.replace(state, shape=shape)
        want = wanted(self._settings, state, table, unserved)
        if self._process.pid is None or want.loaded != state.loaded or CONFIGURATION in foreign:
            await self._load(want, pems)
            return Applied(changed=True, drift=drift)
        seen, slots = await self.runtime.entries(), await self.runtime.slots()
        drift = (*differences(self._state, self._entries, slots, seen), *drift)
        changed = await self._tell(want, pems, seen, slots)
        return Applied(changed=changed or bool(foreign), drift=drift)

    async def _answers(self) -> bool:
        try:
            await self.runtime.worker()
        except RouterUnavailable:
            return False
        return True

    async def _tell(
        self,
        want: Wanted,
        pems: Mapping[str, str],
        seen: Mapping[str, str],
        slots: Mapping[str, Slots],
    ) -> bool:
        """Bring the running program there, without a reload. Return whether that took anything."""
        filling = list(_between(slots, want.slots))
        await self.runtime.do(filling)
        await self._show(pems)
        if seen != want.entries:
            await self.runtime.replace_map(want.entries)
        after = want.after
        emptying = list(_between(want.slots, after.slots))
        await self._write(want, pems)
        await self.runtime.do(emptying)
        await self._withdraw(pems)
        changed = bool(filling or emptying) or seen != want.entries or pems != self._pems
        await self._remember(after, want.entries, pems)
        return changed

    async def _show(self, pems: Mapping[str, str]) -> None:
        for name, pem in pems.items():
            if self._pems.get(name) != pem:
                listing = None if name in self._pems else CERTIFICATES
                await self.runtime.put_certificate(name, pem, listing)

    async def _withdraw(self, pems: Mapping[str, str]) -> None:
        for name in self._pems:
            if name not in pems:
                await self.runtime.drop_certificate(name, CERTIFICATES)

    async def _load(self, want: Wanted, pems: Mapping[str, str]) -> None:
        """Start it, or a new worker of it, with new files; check them first."""
        tried = self._disk.try_out(want.configuration, configured(want.slots))
        await self._process.check(*tried)
        await self._write(want, pems)
        await asyncio.to_thread(self._disk.write_configuration, want.configuration)
        if self._process.pid is None:
            await self._process.start()
        else:
            before = await self.runtime.worker() if await self._answers() else 0
            shape = want.shape
            await self._load_again(Runtime(self._settings.directory, shape.socket_name), before)
        self._supervise()
        await self._remember(want.after, want.entries, pems)

    async def _load_again(self, runtime: Runtime, before: int) -> None:
        """Wait until a new worker serves. The signal is repeated: a master may be just starting."""
        clock = asyncio.get_running_loop().time
        end = clock() + _RELOAD_SECONDS
        asked = 0.0
        while clock() < end:
            if clock() - asked > 1:
                asked = clock()
                self._process.load_again()
            with contextlib.suppress(RouterUnavailable):
                if await runtime.worker() != before:
                    self.reloads += 1
                    self._stale_until = clock() + KEEP_ALIVE_SECONDS
                    _log.info("HAProxy was loaded again", reloads=self.reloads)
                    return
            await asyncio.sleep(0.02)
        raise RouterUnavailable(
            f"HAProxy has no new worker {_RELOAD_SECONDS:.0f} s after it was asked for one; "
            "the former goes on"
        )

    async def _write(self, want: Wanted, pems: Mapping[str, str]) -> None:
        """Backends before the map: it may lead only to what exists."""
        await asyncio.to_thread(self._disk.write_backends, configured(want.slots))
        await asyncio.to_thread(self._disk.write_certificates, pems)
        await asyncio.to_thread(self._disk.write_entries, want.entries)

    async def _remember(
        self, state: State, entries: Mapping[str, str], pems: Mapping[str, str]
    ) -> None:
        self._state, self._entries, self._pems = state, entries, pems
        await self._write_state()

    async def _write_state(self) -> None:
        await asyncio.to_thread(self._disk.write_backends, configured(self._state.slots))
        await asyncio.to_thread(self._disk.write_state, self._state)

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        async with self._turn:
            slots = filled(self._state.pool, self._state.slots, endpoints)
            if self._state.loaded:
                await self.runtime.do(_between(self._state.slots, slots))
            before = self._state
            self._state = msgspec.structs.replace(before, slots=slots, told=told(endpoints))
            if self._state != before:
                await self._write_state()

    @override
    async def watch(self) -> AsyncIterator[None]:
        while True:
            await self._anew.wait()
            self._anew.clear()
            yield

    def _supervise(self) -> None:
        if self._supervision is None:
            self._supervision = asyncio.create_task(self._keep_alive(), name="haproxy")

    async def _keep_alive(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._process.ended()
            await asyncio.sleep(pause)
            async with self._turn:
                if self._process.pid is not None:
                    continue  # `apply` was faster
                try:
                    await self._process.start()
                except RouterError as error:
                    pause = min(pause * 2, _LONGEST_PAUSE)
                    _log.warning("HAProxy ended and does not start", reason=str(error))
                else:
                    pause = _FIRST_PAUSE
                    _log.warning("HAProxy ended and was started again")
                    self._anew.set()


def _between(before: Mapping[str, Slots], after: Mapping[str, Slots]) -> Iterator[str]:
    for name, slots in after.items():
        yield from commands(name, before.get(name, EMPTY), slots)
