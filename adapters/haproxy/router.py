"""HAProxy as a router: what is asked for, what runs, and how the one becomes the other.

Everything is told to the running program; only what no command can say (`fingerprint`) makes a
new worker, to whom listening sockets are handed over. Its files are written after it took a
change, so that it starts again as it was.
"""

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import final, override

import msgspec

from adapters.haproxy.certificates import Certificates, Secrets, named, no_secrets
from adapters.haproxy.config import Shape
from adapters.haproxy.disk import Disk, State, told
from adapters.haproxy.limits import limits_met
from adapters.haproxy.pool import Pool
from adapters.haproxy.process import HAProxyProcess
from adapters.haproxy.running import Running
from adapters.haproxy.runtime import Runtime
from adapters.haproxy.servers import EMPTY, Slots, commands, configured
from adapters.haproxy.settings import (
    ASKING,
    CERTIFICATES,
    CONFIGURATION,
    HAProxySettings,
)
from adapters.haproxy.wanted import Wanted, differences, filled, wanted, written
from adapters.keeping.shown import shown
from projections.route_table import Endpoint, Endpoints, RouteTable
from reconcilers.router_ports import Applied, Certified, Router, Unserved


@final
class HAProxyRouter(Router):
    """One HAProxy, which lives on when we end.

    Args:
        root: a directory for all routers of this data directory, absolute.
        target: of which this is the router.
        settings: of the operator.
        secrets: gives the certificates that rows with `secret` name.
        now: for the ends of certificates.
    """

    def __init__(
        self,
        root: Path,
        target: str,
        settings: HAProxySettings,
        secrets: Secrets = no_secrets,
        *,
        now: Callable[[], datetime.datetime],
    ) -> None:
        directory = root / target / "files"
        self._settings = settings
        self._certificates = Certificates(directory, secrets, now)
        self._disk = Disk(directory)
        self._anew = asyncio.Event()
        process = HAProxyProcess(root, target, directory, settings, self._anew.set)
        self.running = Running(process, directory)
        self._turn = asyncio.Lock()
        self._is_known, self._has_lua = False, True
        self._state = State(pool=Pool.fresh(), shape=Shape(), slots={})
        self._entries: Mapping[str, str] = {}
        self._pems: Mapping[str, str] = {}

    @property
    @override
    def propagation(self) -> float:
        return self.running.propagation

    @property
    @override
    def without_copies(self) -> str:
        return "HAProxy makes none without an agent beside it; use a target whose router is traefik"

    @property
    def backends(self) -> tuple[str, ...]:
        """The backends that lead to apps now."""
        return tuple(one.backend for one in self._state.pool.taken)

    @property
    def runtime(self) -> Runtime:
        """What takes commands now."""
        return self.running.runtime(self._state.shape.socket_name)

    async def close(self) -> None:
        """Let go of it; it serves on."""
        await self.running.process.close()

    async def stop(self) -> None:
        """End it: the target has another router now, or none."""
        await self.running.process.stop()

    async def _look(self) -> None:
        """Take up what an earlier control plane left; if it does not run, begin it as it was."""
        if not self._is_known:
            await asyncio.to_thread(self._disk.prepare)
            self._state = self._disk.state() or self._state
            self._entries, self._pems = self._disk.entries(), self._disk.certificates()
            if self._settings.verify and not await self.running.process.has_lua():
                self._has_lua, self._settings = False, replace(self._settings, verify=None)
            self._is_known = True
        if self._state.loaded:
            await self.running.process.start()

    @override
    async def apply(self, table: RouteTable) -> Applied:
        async with self._turn:
            await self._look()
            unserved = limits_met(
                table.rows,
                has_https=bool(self._settings.https),
                has_lua=self._has_lua,
                knows_users=self._settings.verify is not None,
            )
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
        runs = await self.running.answers(state.shape.socket_name)
        if not runs and self.running.process.pid is not None:
            shape = msgspec.structs.replace(state.shape, socket=state.shape.socket + 1)
            state = msgspec.structs.replace(state, shape=shape)
        want = wanted(self._settings, state, table, unserved)
        if not runs or want.loaded != state.loaded or {CONFIGURATION, ASKING}.intersection(foreign):
            await self._load(want, pems)
            return Applied(changed=True, drift=drift)
        seen, slots = await self.runtime.entries(), await self.runtime.slots()
        drift = (*differences(self._state, self._entries, slots, seen), *drift)
        changed = await self._tell(want, pems, seen, slots)
        return Applied(changed=changed or bool(foreign), drift=drift)

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
        """Start it, or a new worker of it, with new files; check them first.

        The configuration is written before the map: one of before would not know its marks.
        """
        await asyncio.to_thread(self._disk.write_program)
        tried = self._disk.try_out(want.configuration, configured(want.slots))
        await self.running.process.check(*tried)
        await asyncio.to_thread(self._disk.write_configuration, want.configuration)
        await self._write(want, pems)
        if self.running.process.pid is None:
            await self.running.begin(want.shape.socket_name)
        else:
            await self.running.process.start()
            before = self._state.shape.socket_name
            await self.running.renew(before, want.shape.socket_name)
        await self._remember(want.after, want.entries, pems)

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
            await self._look()
            slots = filled(self._state.pool, self._state.slots, endpoints)
            if self._state.loaded:
                held = await self._held(slots)
                slots = filled(self._state.pool, self._state.slots, endpoints, held)
                await self.runtime.do(_between(self._state.slots, slots))
            before = self._state
            self._state = msgspec.structs.replace(before, slots=slots, told=told(endpoints))
            if self._state != before:
                await self._write_state()

    async def _held(self, coming: Mapping[str, Slots]) -> dict[str, set[int]]:
        """The free slots of backends that change whose last server is not done yet."""
        slots, held = self._state.slots, dict[str, set[int]]()
        moved = [name for name, each in coming.items() if each != slots.get(name, EMPTY)]
        for one in await self.runtime.in_use(moved) if moved else ():
            if one.connections:
                held.setdefault(one.backend, set()).add(one.slot)
        return held

    @override
    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:
        used = await self.runtime.in_use()
        return sum(one.connections for one in used if one.endpoint in endpoints)

    @override
    async def certified(self, hosts: Collection[str]) -> Mapping[str, Certified]:
        if not self._settings.https:
            return {}
        found = await shown(self._settings.https[0], hosts)
        kept = self._certificates.kept
        return {host: Certified(*dates, kept.get(host, "")) for host, dates in found.items()}

    @override
    async def watch(self) -> AsyncIterator[None]:
        while True:
            await self._anew.wait()
            self._anew.clear()
            yield


def _between(before: Mapping[str, Slots], after: Mapping[str, Slots]) -> Iterator[str]:
    for name, slots in after.items():
        yield from commands(name, before.get(name, EMPTY), slots)
