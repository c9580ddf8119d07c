"""Which certificate HAProxy shows for which host; each in a file, all in one list.

HAProxy picks by the names in a certificate, and refuses a TLS connection to any other name. A
file's name says the host that it is for; a host named by several rows has the certificate of the
first.
"""

import datetime
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog

from adapters.files import pem
from adapters.haproxy.authority import Authority
from projections.route_table import Row, Tls

_log = structlog.get_logger(__name__)

type Certificate = tuple[bytes, bytes]
"""A certificate with those that vouch for it, and its key, both as PEM."""

type Secrets = Callable[[str], Awaitable[Certificate | None]]
"""Gives the certificate in a Secret, by its stream; None if there is none that can be read now."""


async def no_secrets(_stream: str) -> Certificate | None:
    return None


class _Useless(Exception):
    """A certificate that cannot be shown; says why and what to do."""


FOLDER: Final = "certificates"


class Certificates:
    """Finds the certificates that rows ask for."""

    def __init__(
        self, directory: Path, secrets: Secrets, now: Callable[[], datetime.datetime]
    ) -> None:
        self._folder = directory / FOLDER
        self._secrets = secrets
        self._authority = Authority(directory, now)
        self.kept: dict[str, str] = {}
        """Why a host shows what it had, and nothing newer."""

    async def of(self, rows: Iterable[Row]) -> tuple[dict[str, str], dict[str, str]]:
        """Return the PEM of each host, and for rows that can have none the reason, by their id.

        A host keeps what it shows while its Secret has nothing better.
        """
        found: dict[str, str] = {}
        missing: dict[str, str] = {}
        kept: dict[str, str] = {}
        for row in rows:
            if row.tls is None or row.scheme != "https" or row.host in found:
                continue
            try:
                found[row.host] = await self._one(row.host, row.tls)
            except _Useless as error:
                reason = f"https://{row.host}{row.path} has no certificate: {error}"
                if (present := self._present(row.host)) is None:
                    missing[row.id] = reason
                else:
                    found[row.host], kept[row.host] = present, str(error)
                    _log.warning("a host keeps the certificate that it has", reason=reason)
        self.kept = kept
        return found, missing

    async def _one(self, host: str, tls: Tls) -> str:
        if tls.mode == "internal":
            return self._authority.certificate(host, self._present(host))
        found = await self._secrets(tls.secret)
        if found is None:
            raise _Useless(f"none in {tls.secret} can be read now; set it, or name another")
        if fault := pem.fault(*found, [host]):
            raise _Useless(f"{tls.secret}: {fault}")
        return "\n".join(part.decode().strip() for part in found) + "\n"

    def _present(self, host: str) -> str | None:
        try:
            return (self._folder / f"{host}.pem").read_text()
        except FileNotFoundError:
            return None


def named(pems: Mapping[str, str]) -> dict[str, str]:
    """Return PEMs by the names of their files."""
    return {f"{FOLDER}/{host}.pem": pem for host, pem in pems.items()}
