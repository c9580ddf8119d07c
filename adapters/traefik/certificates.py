"""Certificates of Secrets, for rows that show their own.

Traefik takes them as text, the key as well: what holds them is read only by who may see them.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, final

import structlog

from adapters.files import pem
from domain.secret import SecretText
from projections.route_table import Row

_log = structlog.get_logger(__name__)

type Secrets = Callable[[str], Awaitable[tuple[bytes, bytes] | None]]
"""Gives the certificate in a Secret and its key, by its stream; None: none can be read now."""


class Certificate(NamedTuple):
    """A certificate with those that vouch for it, and its key, both as PEM."""

    chain: str
    key: SecretText


async def no_secrets(_stream: str) -> None:
    return None


def secrets_of(rows: Iterable[Row]) -> list[str]:
    """The Secrets whose certificates rows show, by their streams, in order."""
    asked = {row.tls.secret for row in rows if row.tls is not None and row.tls.mode == "secret"}
    return sorted(asked)


@final
class Certificates:
    """What was found in Secrets; one stays as it was while its Secret has nothing better."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.found: dict[str, Certificate] = {}
        self.faults: dict[str, str] = {}
        """Why there is none, by the stream of the Secret."""

    async def read(self, rows: Iterable[Row]) -> None:
        """Find those that rows ask for, and forget all others."""
        found: dict[str, Certificate] = {}
        faults: dict[str, str] = {}
        rows = tuple(rows)
        for stream in secrets_of(rows):
            pair = await self._secrets(stream)
            fault = "none can be read in it now; set it, or name another"
            if pair is not None:
                fault = pem.fault(*pair, _hosts(rows, stream))
            if pair is not None and not fault:
                chain, key = (part.decode().strip() + "\n" for part in pair)
                found[stream] = Certificate(chain, SecretText(key))
            elif stream in self.found:
                found[stream] = self.found[stream]
                _log.warning("a certificate stays as it was", secret=stream, reason=fault)
            else:
                faults[stream] = f"{stream} has no certificate: {fault}"
        self.found, self.faults = found, faults


def _hosts(rows: Iterable[Row], stream: str) -> dict[str, None]:
    return {row.host: None for row in rows if row.tls is not None and row.tls.secret == stream}
