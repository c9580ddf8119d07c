"""Certificates of Secrets as files that Caddy is told of; what cannot be used leaves those before.

Caddy finds one by the names in it, so a Secret whose certificate is for none of the hosts that ask
for it is of no use to them.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import final

import structlog

from adapters.caddy.files import Certificate, Files
from adapters.caddy.site import CertificateFiles
from adapters.files import pem
from projections.route_table import Row

type Certificates = Callable[[str], Awaitable[Certificate | None]]
"""The certificate in a Secret, by its stream; None if there is none that can be read now."""

_log = structlog.get_logger(__name__)


async def no_certificates(_secret: str) -> Certificate | None:
    return None


@final
class OwnCertificates:
    """Those that rows of one Caddy name."""

    def __init__(self, files: Files, certificates: Certificates) -> None:
        self._files, self._certificates = files, certificates
        self.useless: Mapping[str, str] = {}
        """Why a host gets nothing from what its Secret has now."""

    async def of(self, rows: Iterable[Row]) -> Mapping[str, CertificateFiles]:
        """The files of all Secrets that rows name; what cannot be had now stays as it was."""
        hosts: dict[str, list[str]] = {}
        for row in rows:
            if row.tls and row.tls.mode == "secret" and row.scheme == "https":
                hosts.setdefault(row.tls.secret, []).append(row.host)
        files = await asyncio.to_thread(self._files.read_certificates) if hosts else {}
        useless: dict[str, str] = {}
        for secret, asking in sorted(hosts.items()):
            found = await self._certificates(secret)
            reason = "it has none that can be read now; set it again"
            if found is not None:
                reason = pem.fault(found.chain, found.key, dict.fromkeys(asking))
            if not reason and found is not None:
                try:
                    files[secret] = await asyncio.to_thread(self._files.write_certificate, found)
                except ssl.SSLError as error:
                    reason = str(error)
            if reason:
                useless |= dict.fromkeys(asking, f"{secret}: {reason}")
                _log.warning("a Secret has no certificate", secret=secret, reason=reason)
        self.useless = useless
        return {secret: found for secret, found in files.items() if secret in hosts}

    async def keep(self, used: Mapping[str, CertificateFiles]) -> None:
        """Remove the files of all others."""
        paths = {path for files in used.values() for path in files}
        await asyncio.to_thread(self._files.keep_certificates, paths)
