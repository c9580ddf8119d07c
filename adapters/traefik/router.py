"""Traefik as a router: what it is to serve is written down, and it comes to read it.

Nothing is done until it has come: `apply` and `publish` return when their document was read.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, final, override

from adapters.traefik.certificates import Certificates, Secrets, no_secrets, secrets_of
from adapters.traefik.limits import limits_met
from adapters.traefik.render import encoded, render
from adapters.traefik.settings import TraefikSettings
from projections.route_table import Endpoints, RouteTable
from reconcilers.router_ports import (
    Applied,
    Document,
    PolledRouter,
    Router,
    RouterUnavailable,
    Unserved,
)

_READING: Final = 0.1  # seconds that Traefik takes to begin with what it has read
_POLLS: Final = 3  # that may fail, each, before its absence is said
_POLL_TIMEOUT: Final = 5.0  # seconds, of `providers.http.pollTimeout` as it is by default

_NEVER: Final = float("-inf")


class _Documents(NamedTuple):
    """What is read by who may see keys, and by who may not."""

    whole: Document
    without_keys: Document


@final
class TraefikRouter(Router, PolledRouter):
    """The Traefik of one target. After our start it is told nothing until all is known to us.

    So it goes on with what it has: an answer that is no document changes nothing for it.
    """

    def __init__(
        self, target: str, settings: TraefikSettings, secrets: Secrets = no_secrets
    ) -> None:
        self._target, self._settings = target, settings
        self._certificates = Certificates(secrets)
        self._table: RouteTable | None = None
        self._endpoints: Endpoints | None = None
        self._documents: _Documents | None = None
        self._sees_keys = False  # who read last
        self._read = asyncio.Event()
        self._read_at = _NEVER
        """When the document was read as it is now."""

    @property
    @override
    def propagation(self) -> float:
        """One of several may have read it; the others do so within one interval more."""
        settings = self._settings
        return settings.poll_seconds + settings.throttle_seconds + _READING

    @override
    def read(self, *, sees_keys: bool = False) -> Document:
        if self._documents is None:
            missing = "routes" if self._table is None else "endpoints"
            raise RouterUnavailable(
                f"the {missing} of target {self._target!r} are not known yet; ask again, and go on "
                "with what you have"
            )
        self._read_at = asyncio.get_running_loop().time()
        self._read.set()
        self._sees_keys = sees_keys
        return self._documents.whole if sees_keys else self._documents.without_keys

    @override
    async def apply(self, table: RouteTable) -> Applied:
        await self._certificates.read(table.rows)
        self._table = table
        changed = self._write()
        await self._until_read()
        unserved = self._limits_met(table, sees_keys=self._sees_keys)
        return Applied(changed, unserved=tuple(Unserved(*one) for one in unserved.items()))

    @override
    async def publish(self, endpoints: Endpoints) -> None:
        self._endpoints = dict(endpoints)
        self._write()
        await self._until_read()

    @override
    async def watch(self) -> AsyncIterator[None]:
        """A Traefik that starts anew reads the same again, so there is never anything to tell."""
        await asyncio.Event().wait()
        yield

    def _write(self) -> bool:
        """Write the document anew; return whether it is another one."""
        if self._table is None or self._endpoints is None:
            return True
        documents = _Documents(
            *(self._rendered(self._table, self._endpoints, sees_keys=one) for one in (True, False))
        )
        if documents == self._documents:
            return False
        self._documents = documents
        self._read_at = _NEVER
        return True

    def _rendered(self, table: RouteTable, endpoints: Endpoints, *, sees_keys: bool) -> Document:
        unserved = self._limits_met(table, sees_keys=sees_keys)
        found = self._certificates.found
        shown = [found[one] for one in sorted(found)] if sees_keys else []
        body = encoded(render(table, endpoints, self._settings, unserved, shown))
        return Document(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    def _limits_met(self, table: RouteTable, *, sees_keys: bool) -> dict[str, str]:
        lacking = self._certificates.faults
        if not sees_keys:
            why = (
                f"Traefik reads the routes of target {self._target!r} with a token that does not "
                "let it see keys of certificates; give it one of `stateward token create traefik "
                "--role router`"
            )
            lacking = dict.fromkeys(secrets_of(table.rows), why)
        return limits_met(table.rows, self._settings, lacking)

    async def _until_read(self) -> None:
        if self._documents is None:
            return
        patience = _POLLS * self._settings.poll_seconds + _POLL_TIMEOUT
        if asyncio.get_running_loop().time() - self._read_at < patience:
            return
        self._read.clear()
        try:
            async with asyncio.timeout(patience):
                await self._read.wait()
        except TimeoutError as error:
            raise RouterUnavailable(
                f"no Traefik has read the routes of target {self._target!r} for {patience:g} s; "
                f"let its providers.http.endpoint be /api/v1/targets/{self._target}/traefik of "
                "this server, with the token of somebody who may read that target"
            ) from error
