"""Caddy as a router: routes through its admin API, endpoints through a file that resolvers read.

An `apply` writes the new pools before the routes that name them, so no route ever leads nowhere
for being new; a `publish` writes a file and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final, override

import structlog

from adapters.caddy import contexts, pools
from adapters.caddy.addresses import addresses
from adapters.caddy.admin import Admin, Overtaken
from adapters.caddy.certificates import Certificates, OwnCertificates, no_certificates
from adapters.caddy.drift import drift, drift_of_contexts
from adapters.caddy.files import Files, is_free
from adapters.caddy.limits import limits_met
from adapters.caddy.programs import Container, Programs
from adapters.caddy.render import render
from adapters.caddy.site import (
    CONTEXT_HEADERS,
    IDENTITY_HEADER,
    Acme,
    Site,
    Verify,
)
from adapters.caddy.snapshot import Pool, Snapshot, host_name
from adapters.caddy.troubles import troubles
from adapters.keeping.shown import shown
from projections.route_table import Endpoint, Endpoints, RouteTable
from reconcilers.ports import EngineUnavailable
from reconcilers.router_ports import Applied, Certified, Router, RouterUnavailable

JSON = dict[str, Any]

_ANSWER_SECONDS: Final = 0.05  # that a question and its answer take
_ATTEMPTS: Final = 5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaddySettings:
    """What an operator says about the Caddy of a target; see `adapters.caddy.site.Site`."""

    program: str = "caddy"
    http: tuple[str, ...] = (":80",)
    https: tuple[str, ...] = (":443",)
    refresh: float = 0.25
    drain: float = 30.0
    acme: Acme = field(default_factory=Acme)
    trust: str = ""  # PEM certificates that the directory is known by
    verify: Verify | None = None
    identity_header: str = IDENTITY_HEADER
    context_headers: tuple[str, ...] = CONTEXT_HEADERS


@final
class CaddyRouter(Router):
    """The Caddy of one target, begun when it is first needed and going on when we end.

    Args:
        root: a directory for all routers of this data directory, absolute.
        target: of which this is the router.
        settings: of the operator.
        certificates: gives what rows with `secret` name.
        container: runs Caddy in a container, where this host has no program.
    """

    def __init__(
        self,
        root: Path,
        target: str,
        settings: CaddySettings,
        certificates: Certificates = no_certificates,
        *,
        container: Container | None = None,
    ) -> None:
        self._settings = settings
        self._files = Files(root / target / "files")
        self._own = OwnCertificates(self._files, certificates)
        self._admin = Admin(self._files.admin)
        self._anew = asyncio.Event()
        self.programs = Programs(
            root, target, self._files, settings.program, self._began, container
        )
        self._at_work = asyncio.Lock()
        self._site: Site | None = None
        self._has_answered = False
        self._pools: dict[str, Pool] = {}
        self._headers: tuple[str, ...] = ()
        self._switched: frozenset[str] | None = None
        self._snapshot = Snapshot(0, {}, {})

    @property
    @override
    def propagation(self) -> float:
        return self._settings.refresh + _ANSWER_SECONDS

    @property
    @override
    def without_copies(self) -> str:
        return "Caddy makes none; use a target whose router is traefik"

    @override
    async def apply(self, table: RouteTable) -> Applied:
        async with self._at_work:
            site = await self._started()
            await self._answering(site)
            headers = contexts.headers_to_know(
                self._settings.context_headers, table.rows, self._headers
            )
            switched = contexts.switched(table.rows, headers)
            wanted_pools = {**pools.pools(switched.rows), **switched.pools}
            self._write(self._snapshot._replace(pools={**self._pools, **wanted_pools}))
            found = await self._own.of(table.rows)
            routed = RouteTable(rows=switched.rows)
            wanted = render(routed, replace(site, certificates=found, context_headers=headers))
            applied = await self._switch(wanted, switched.files)
            if any(self._pools.get(name, pool) != pool for name, pool in switched.pools.items()):
                await asyncio.sleep(self.propagation)  # a context is another app's now
                applied = applied._replace(changed=True)
            self._pools, self._headers = wanted_pools, headers
            unserved = tuple(limits_met(table.rows, site.verify, found))
            await self._own.keep(found)
            return applied._replace(unserved=unserved)

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        async with self._at_work:
            await self._started()
            address_of = await addresses(
                {one.host for found in endpoints.values() for one in found}
            )
            places = pools.places(endpoints, address_of)
            self._write(Snapshot(self._snapshot.page, self._pools, places))

    @override
    async def certified(self, hosts: Collection[str]) -> Mapping[str, Certified]:
        if not self._settings.https:
            return {}
        found = await shown(self._settings.https[0], hosts)
        said = await asyncio.to_thread(troubles, self._files.directory)
        said = {**said, **self._own.useless}
        return {host: Certified(*dates, said.get(host, "")) for host, dates in found.items()}

    @override
    async def unanswered(self, endpoints: Set[Endpoint]) -> int | None:
        address_of = await addresses({one.host for one in endpoints})
        dialled = {
            f"{host_name(address_of[one.host])}:{one.number}"
            for one in endpoints
            if one.host in address_of
        }
        found = await self._admin.requests()
        return sum(number for address, number in found.items() if address in dialled)

    @override
    async def watch(self) -> AsyncIterator[None]:
        while True:
            await self._anew.wait()
            self._anew.clear()
            yield

    async def close(self) -> None:
        """Let go of it; it serves on."""
        await self.programs.close()
        await self._admin.close()

    async def stop(self) -> None:
        """End it: the target has another router now, or none.

        Raises:
            RouterUnavailable: one of its programs may run on; says why.
        """
        try:
            await self.programs.stop()
        except EngineUnavailable as error:
            raise RouterUnavailable(f"Caddy cannot be ended: {error}") from error
        finally:
            await self.close()

    # -- what runs --------------------------------------------------------------------------

    def _began(self) -> None:
        """One of the programs began anew, perhaps another version."""
        self._site = None
        self._anew.set()

    async def _started(self) -> Site:
        """See to it that all programs run; what was said of the world before still holds."""
        if self._site is None:
            version = await self.programs.version()
            self._site = await asyncio.to_thread(self._prepare, version)
        site = self._site
        await self.programs.start(site.inner_port)
        return site

    async def _answering(self, site: Site) -> None:
        """Wait until Caddy can be told something.

        If it cannot even begin with the configuration that it is to begin with, and none has
        answered to us yet, it may begin without routes: they are on their way.
        """
        if await self._admin.answers() or await self.programs.answering(self._admin):
            self._has_answered = True
            return
        caddy, empty = self.programs.caddy, render(RouteTable(), site)
        assert caddy is not None
        said = caddy.last_words
        if not self._has_answered and self._files.read_config() != empty:
            await asyncio.to_thread(self._files.write_config, empty)
            if await self.programs.answering(self._admin):
                _log.warning("Caddy began without its last routes", reason=said)
                return
        raise RouterUnavailable(f"Caddy does not start, and is tried again; it said: {said}")

    def _prepare(self, version: tuple[int, int, int]) -> Site:
        self._files.prepare()
        acme, trust = self._settings.acme, self._settings.trust
        if trust:
            acme = acme._replace(roots=(str(self._files.write_trust(trust)),))
        port, chosen = self._port()
        site = Site(
            http=self._settings.http,
            https=self._settings.https,
            inner_port=port,
            admin=self._files.admin.name,
            storage=str(self._files.storage),
            contexts=str(self._files.contexts),
            context_headers=self._settings.context_headers,
            refresh=self._settings.refresh,
            drain=self._settings.drain,
            acme=acme,
            verify=self._settings.verify,
            identity_header=self._settings.identity_header,
            version=version,
        )
        known = self._files.read_snapshot()
        if known is None or known.page != port:
            known = Snapshot(port, {}, {})
            self._files.write_snapshot(known)
        self._snapshot = known
        self._pools = dict(known.pools)
        self._headers = contexts.headers_known(self._files.read_config())
        if chosen or self._files.read_config() is None:
            self._files.write_config(render(RouteTable(), site))
        return site

    def _port(self) -> tuple[int, bool]:
        """The inner port, and whether it is a new one."""
        port = self._files.inner_port()
        if port is not None and (self.programs.any_runs() or is_free(port)):
            return port, False
        return self._files.choose_port(), True

    # -- what it is told --------------------------------------------------------------------

    async def _switch(self, wanted: JSON, files: frozenset[str]) -> Applied:
        """Have these contexts beside a configuration; one that stays is there all the time."""
        found = await asyncio.to_thread(self._files.read_contexts)
        foreign = () if self._switched is None else drift_of_contexts(self._switched, found)
        await asyncio.to_thread(self._files.add_contexts, files - found)
        applied = await self._load(wanted)
        await asyncio.to_thread(self._files.remove_contexts, found - files)
        self._switched = files
        changed = applied.changed or found != files
        return Applied(changed=changed, drift=(*applied.drift, *foreign))

    async def _load(self, wanted: JSON) -> Applied:
        found_drift: tuple[str, ...] = ()
        for _ in range(_ATTEMPTS):
            read = await self._admin.read()
            written = await asyncio.to_thread(self._files.read_config)
            if read.config not in (written, wanted):
                found_drift = drift(written, read.config)
            if read.config != wanted:
                try:
                    await self._admin.replace(wanted, read)
                except Overtaken:
                    continue
            if written != wanted:
                await asyncio.to_thread(self._files.write_config, wanted)
            return Applied(changed=read.config != wanted, drift=found_drift)
        raise RouterUnavailable(
            f"somebody else changes Caddy's configuration at {self._files.admin} all the time; "
            "find out who, then ask again"
        )

    def _write(self, snapshot: Snapshot) -> None:
        if snapshot == self._snapshot and self._files.snapshot.exists():
            return
        try:
            self._files.write_snapshot(snapshot)
        except OSError as error:
            raise RouterUnavailable(f"{self._files.snapshot} cannot be written: {error}") from error
        self._snapshot = snapshot
