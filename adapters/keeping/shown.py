"""Which certificate a program shows to those who ask for a host over TLS: as clients see it."""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from cryptography import x509

_AT_ONCE: Final = 8  # connections
_SECONDS: Final = 5.0  # that one may take
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "[::]", "*"})  # noqa: S104 -- they are not bound here


class Shown(NamedTuple):
    """From when until when it is valid, in seconds since the epoch; zero: none is shown."""

    not_before: float = 0.0
    not_after: float = 0.0


async def shown(entry: str, hosts: Collection[str]) -> Mapping[str, Shown]:
    """Ask at `HOST:PORT` for each host; while nothing listens there, nothing is known."""
    address, _, port = entry.rpartition(":")
    where = "127.0.0.1" if address in _ANYWHERE else address.strip("[]")
    turns, context = asyncio.Semaphore(_AT_ONCE), _anything()

    async def one(host: str) -> Shown | None:
        async with turns:
            return await _ask(where, int(port), host, context)

    asked = sorted(hosts)
    answers = await asyncio.gather(*map(one, asked))
    return {host: found for host, found in zip(asked, answers, strict=True) if found is not None}


async def _ask(where: str, port: int, host: str, context: ssl.SSLContext) -> Shown | None:
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(
                where, port, ssl=context, server_hostname=host
            )
    except (ssl.SSLError, ConnectionResetError):
        return Shown()  # it listens, and refuses the name
    except (OSError, TimeoutError, ValueError):
        return None
    try:
        found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.transport.abort()
    return _dates(found, host) if found else Shown()


def _dates(found: bytes, host: str) -> Shown:
    """Those of a certificate of the host: one of another is what nobody's browser takes."""
    certificate = x509.load_der_x509_certificate(found)
    if not _is_of(certificate, host):
        return Shown()
    return Shown(
        certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    )


def _is_of(certificate: x509.Certificate, host: str) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    named = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    return host in named or f"*.{host.partition('.')[2]}" in named


def _anything() -> ssl.SSLContext:
    """Whoever signed it: what matters is what is shown, not whether this host trusts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
