"""A certificate authority of our own, for names that only people who know it need to trust.

Its key stays in the router's directory; `authority.crt` there is what clients are given to trust.
"""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters.files.durable import replace_file

ROOT: Final = "authority.crt"
_KEY: Final = "authority.key"
_ROOT_DAYS: Final = 3650
_LEAF_DAYS: Final = 90
_RENEWED_DAYS: Final = 30  # before its end, a certificate is made anew


class Authority:
    """Makes certificates for hosts; made with its key at first use."""

    def __init__(self, directory: Path, now: Callable[[], datetime.datetime]) -> None:
        self._directory = directory
        self._now = now

    def certificate(self, host: str, present: str | None) -> str:
        """Return a PEM of certificate and key: `present`, as long as that is good."""
        root, key = self._load() or self._make()
        if present is not None and self._is_good(present, host, root):
            return present
        leaf_key = ec.generate_private_key(ec.SECP256R1())
        leaf = (
            self._builder(_name(host), root.subject, leaf_key, _LEAF_DAYS)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return _pem(leaf) + _key_pem(leaf_key)

    def _is_good(self, pem: str, host: str, root: x509.Certificate) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(pem.encode())
            leaf.verify_directly_issued_by(root)
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        left = leaf.not_valid_after_utc - self._now()
        return left.days >= _RENEWED_DAYS and host in names.get_values_for_type(x509.DNSName)

    def _load(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None:
        try:
            root = x509.load_pem_x509_certificate((self._directory / ROOT).read_bytes())
            key = serialization.load_pem_private_key((self._directory / _KEY).read_bytes(), None)
        except FileNotFoundError:
            return None
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return root, key

    def _make(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Stateward internal authority")
        root = (
            self._builder(name, name, key, _ROOT_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        replace_file(self._directory / _KEY, _key_pem(key).encode())
        replace_file(self._directory / ROOT, _pem(root).encode(), mode=0o644)
        return root, key

    def _builder(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: int,
    ) -> x509.CertificateBuilder:
        now = self._now()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))  # clocks differ
            .not_valid_after(now + datetime.timedelta(days=days))
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
