"""Which authority vouches for a server, and what we prove ourselves with: the TLS of a connection.

A server that speaks TLS is always verified. Whether TLS is demanded, so that nothing is sent in
the clear, is told by an address that begins with `tls://` or by any of these files.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bus.nats.credentials import BadCredentials


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """`ca` takes the place of the system's authorities; `certificate` and `key` go together."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def is_set(self) -> bool:
        return any((self.ca, self.certificate, self.key))

    def context(self) -> ssl.SSLContext:
        """What a connection is secured with.

        Raises:
            BadCredentials: a file cannot be read, or is none of its kind.
        """
        if self.ca is not None:
            _check_readable(self.ca, "authority (nats.tls_ca)")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (ssl.SSLError, ValueError) as error:
            raise BadCredentials(
                f"{str(self.ca)!r} holds no certificate of an authority: {_said(error)}; "
                "nats.tls_ca is a file in PEM form"
            ) from error
        if self.certificate is not None and self.key is not None:
            self._prove(context, self.certificate, self.key)
        return context

    def _prove(self, context: ssl.SSLContext, certificate: Path, key: Path) -> None:
        _check_readable(certificate, "certificate (nats.tls_certificate)")
        _check_readable(key, "key (nats.tls_key)")
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise BadCredentials(
                f"{str(certificate)!r} and {str(key)!r} are no certificate with its key: "
                f"{_said(error)}; give both in PEM form, the key without a password"
            ) from error


def _check_readable(path: Path, what: str) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise BadCredentials(
            f"the {what} {str(path)!r} cannot be read: {error.strerror}; "
            "correct the path, or let this user read the file"
        ) from error


def _no_password() -> str:
    """Keeps OpenSSL from asking at the terminal."""
    raise ValueError("the key has a password")


def _said(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__
