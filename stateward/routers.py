"""Routers: from what a target's operator says of its routing to the program that takes requests."""

import asyncio
from pathlib import Path
from typing import Final, final

import structlog

from adapters.caddy.files import Certificate
from adapters.caddy.programs import absence
from adapters.caddy.router import CaddyRouter, CaddySettings
from adapters.caddy.site import Acme, Verify
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
from reconcilers.router_ports import OpenedRouter, RouterMissing, RouterOpener

FOLDER: Final = "routers"

_log = structlog.get_logger(__name__)


@final
class Routers(RouterOpener):
    """Opens the routers of one data directory.

    Args:
        directory: the data directory.
        log: where the events of Secrets are.
        secrets: where their values are.
        login: whether the API knows users; routers are told where, once it listens.
    """

    def __init__(
        self,
        directory: Path,
        log: Log,
        secrets: SecretStore,
        *,
        login: bool = False,
    ) -> None:
        self._root = directory / FOLDER
        self._log, self._secrets, self._login = log, secrets, login
        self._api: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def listening(self, serving: Serving) -> None:
        """The API answers here."""
        self._api.set_result(f"{serving.host}:{serving.port}")

    async def __call__(self, name: str, spec: TargetSpec) -> OpenedRouter:
        routing = spec.routing or Routing()
        router = routing.router_for(spec.engine)
        if router != "caddy":
            raise RouterMissing(
                f"this version drives no router {router!r} for engine {spec.engine}; "
                f"have spec.routing.router of target {name} be caddy, or none"
            )
        settings = CaddySettings(
            http=(routing.entries.http,),
            https=(routing.entries.https,),
            acme=Acme(routing.acme.directory, routing.acme.email),
            verify=Verify(await self._api, VERIFY) if self._login else None,
            identity_header=USER,
        )
        if missing := absence(settings.program):
            raise RouterMissing(missing)
        opened = CaddyRouter(self._root, name, settings, self._certificate)
        return OpenedRouter(opened, opened.close)

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
