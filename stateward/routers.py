"""Routers: from what a target's operator says of its routing to the program that takes requests."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, final

import structlog

from adapters.caddy.files import Certificate
from adapters.caddy.programs import absence as caddy_absence
from adapters.caddy.router import CaddyRouter, CaddySettings
from adapters.caddy.site import Acme, Verify
from adapters.haproxy.process import absence as haproxy_absence
from adapters.haproxy.router import HAProxyRouter
from adapters.haproxy.settings import HAProxySettings
from adapters.haproxy.settings import Verify as HAProxyVerify
from adapters.traefik.router import TraefikRouter
from adapters.traefik.settings import TraefikSettings
from bus import codec
from bus.log import Log, LogUnavailable
from bus.secrets import SecretStore, SecretUnavailable
from domain import events as e
from domain.names import Ref
from domain.route import CERTIFICATE_KEYS
from domain.routing import Routing
from domain.target import TargetSpec
from gateway.login import USER, VERIFY
from gateway.server import Serving
from reconcilers.router_ports import (
    OpenedRouter,
    PolledRouter,
    RouterMissing,
    RouterOpener,
    RouterUnwanted,
)
from stateward import caged

FOLDER: Final = "routers"

_log = structlog.get_logger(__name__)


@final
class Routers(RouterOpener):
    """Opens the routers of one data directory.

    Args:
        directory: the data directory.
        log: where the events of Secrets are.
        secrets: where their values are.
        now: for the ends of certificates.
        login: whether the API knows users; routers are told where, once it listens.
    """

    def __init__(
        self,
        directory: Path,
        log: Log,
        secrets: SecretStore,
        *,
        now: Callable[[], datetime],
        login: bool = False,
    ) -> None:
        self._root = directory / FOLDER
        self._log, self._secrets, self._login = log, secrets, login
        self._now = now
        self._api: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._polled: dict[str, PolledRouter] = {}

    def listening(self, serving: Serving) -> None:
        """The API answers here."""
        self._api.set_result(f"{serving.host}:{serving.port}")

    def polled(self, target: str) -> PolledRouter | None:
        """The open router of a target, if it is one that comes to read."""
        return self._polled.get(target)

    def was_begun(self, target: str) -> bool:
        """Whether a target ever had a router here: it may serve still what it had."""
        return (self._root / target).is_dir()

    def begun(self) -> Sequence[str]:
        """The targets that ever had a router here, deleted ones too."""
        there = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(one.name for one in there if one.is_dir() and one.name[0] != ".")

    async def __call__(self, name: str, spec: TargetSpec) -> OpenedRouter:
        routing = spec.routing or Routing()
        match routing.router_for(spec.engine):
            case "caddy":
                await self._end_haproxy(name, routing)
                caddy = await self._caddy(name, spec, routing)
                return OpenedRouter(caddy, caddy.close)
            case "haproxy":
                if missing := haproxy_absence(HAProxySettings().program):
                    raise RouterMissing(missing)
                await self._end_caddy(name, spec)
                verify = HAProxyVerify(await self._api, VERIFY) if self._login else None
                haproxy = self._haproxy(name, routing, verify)
                return OpenedRouter(haproxy, haproxy.close)
            case "traefik":
                await self._end_caddy(name, spec)
                await self._end_haproxy(name, routing)
                return await self._traefik(name, routing)
            case "none":
                await self._end_caddy(name, spec)
                await self._end_haproxy(name, routing)
                raise RouterUnwanted(f"target {name} is to have no router, and has none")
            case other:
                raise RouterMissing(
                    f"this server drives no router {other!r} for engine {spec.engine}; "
                    f"have spec.routing.router of target {name} be caddy, haproxy, traefik or none"
                )

    async def _caddy(self, name: str, spec: TargetSpec, routing: Routing) -> CaddyRouter:
        image = ""
        if missing := caddy_absence(CaddySettings().program):
            image = caged.may_be(spec)
            if not image:
                raise RouterMissing(missing)
        if caged.remembered(self._root, name) not in ("", image):
            await self._end_container(name, spec)
        if image:
            caged.remember(self._root, name, spec, image)
        settings = CaddySettings(
            http=(routing.entries.http,),
            https=(routing.entries.https,),
            acme=Acme(
                routing.acme.directory, routing.acme.email, challenges=routing.acme.challenges
            ),
            trust=routing.acme.trust,
            verify=Verify(await self._api, VERIFY) if self._login else None,
            identity_header=USER,
            context_headers=routing.context_headers,
        )
        host = caged.host(spec)
        container = caged.container(self._root, name, host, image) if image else None
        return CaddyRouter(self._root, name, settings, self._certificate, container=container)

    def _haproxy(
        self, name: str, routing: Routing, verify: HAProxyVerify | None = None
    ) -> HAProxyRouter:
        settings = HAProxySettings(
            http=(routing.entries.http,),
            https=(routing.entries.https,),
            verify=verify,
            identity_header=USER,
            context_headers=routing.context_headers,
        )
        return HAProxyRouter(self._root, name, settings, self._certificate, now=self._now)

    async def _traefik(self, name: str, routing: Routing) -> OpenedRouter:
        settings = TraefikSettings(
            https_port=int(routing.entries.https.rpartition(":")[2]),
            verify=f"http://{await self._api}{VERIFY}" if self._login else "",
            identity_header=USER,
        )
        opened = self._polled[name] = TraefikRouter(name, settings, self._certificate)

        async def close() -> None:
            if self._polled.get(name) is opened:
                del self._polled[name]

        return OpenedRouter(opened, close)

    async def _end_caddy(self, name: str, spec: TargetSpec) -> None:
        """Another router has the entries now."""
        await self._end_container(name, spec)
        former = CaddyRouter(self._root, name, CaddySettings())
        if former.programs.any_runs():
            await former.stop()
        else:
            await former.close()

    async def _end_container(self, name: str, spec: TargetSpec) -> None:
        image = caged.remembered(self._root, name)
        if not image:
            return
        host = caged.host_of(self._root, name) or caged.host(spec)
        container = caged.container(self._root, name, host, image)
        await CaddyRouter(self._root, name, CaddySettings(), container=container).stop()
        caged.forget(self._root, name)

    async def _end_haproxy(self, name: str, routing: Routing) -> None:
        former = self._haproxy(name, routing)
        if former.running.process.pid is not None:
            await former.stop()
        else:
            await former.close()

    async def _certificate(self, secret: str) -> Certificate | None:
        """The certificate in a Secret as it is now."""
        try:
            rows = await self._log.stream(secret)
            event = codec.decode(rows[-1].type, rows[-1].data) if rows else None
            if not isinstance(event, e.SecretSet):
                return None
            values = await self._secrets.get(Ref.parse(secret), event.token)
        except (LogUnavailable, SecretUnavailable) as error:
            _log.warning("a certificate cannot be read now", secret=secret, reason=str(error))
            return None
        if any(key not in values for key in CERTIFICATE_KEYS):
            return None
        return Certificate(*(values[key].reveal().encode() for key in CERTIFICATE_KEYS))
