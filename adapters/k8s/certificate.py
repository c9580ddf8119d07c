"""The certificate by which a cluster knows us: when it ends, for who has to renew it.

A server that turns such a client away says nothing a client could read, so it is looked at here.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509


class ClientCertificate(NamedTuple):
    """`source` says where it is configured, in words."""

    subject: str
    begins: datetime
    ends: datetime
    source: str

    def trouble(self, now: float) -> str:
        """Why no server accepts it at a moment, in seconds since the epoch; empty if one may."""
        at = datetime.fromtimestamp(now, UTC)
        if at > self.ends:
            return f"{self._named} ended on {_shown(self.ends)}; renew it there"
        if at < self.begins:
            return f"{self._named} begins only on {_shown(self.begins)}; set the clocks right"
        return ""

    @property
    def _named(self) -> str:
        return f"the client certificate {self.subject!r} of {self.source}"


def read(path: Path, source: str) -> ClientCertificate:
    """The first certificate of a file in PEM.

    Raises:
        ValueError, OSError: there is none.
    """
    found = x509.load_pem_x509_certificate(path.read_bytes())
    begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    return ClientCertificate(found.subject.rfc4514_string(), begins, ends, source)


def _shown(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")
