"""An authority of a test's own, and the certificates it gives out for servers and clients."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bus.nats.tls import Tls

LOOPBACK = "127.0.0.1"


class Certificate(NamedTuple):
    """Files in PEM form."""

    certificate: Path
    key: Path


class Authority:
    """Vouches for whom it likes, with files in `directory`."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = directory / f"{name}.pem"
        own = self._builder(self._name, self._key, days=1).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        signed = own.sign(self._key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(Encoding.PEM))

    def certify(self, name: str, host: str = LOOPBACK, *, days: int = 1) -> Certificate:
        """A certificate for a host; one of -1 days has run out."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        known = ip_address(host) if host[0].isdigit() else None
        alternative = x509.IPAddress(known) if known else x509.DNSName(host)
        signed = (
            self._builder(subject, key, days=days)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        made = Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        made.certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    def tls(self, name: str) -> Tls:
        """What a client trusts, and what it proves itself with."""
        own = self.certify(name)
        return Tls(ca=self.file, certificate=own.certificate, key=own.key)

    def server_block(
        self, name: str, host: str = LOOPBACK, *, verify: bool = True, days: int = 1
    ) -> str:
        """The `tls` of a server's configuration, or of its cluster's."""
        own = self.certify(name, host, days=days)
        return (
            f'tls {{cert_file: "{own.certificate}", key_file: "{own.key}", '
            f'ca_file: "{self.file}", verify: {str(verify).lower()}}}'
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
        )
