"""A certificate authority for one test, and a server's certificate by it."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.kubernetes.schema import Object
from tests.support.kubernetes.server import ADMIN_TOKEN

_PEM = serialization.Encoding.PEM


@dataclass(frozen=True, slots=True)
class Certified:
    """`authority` is the file to trust; `server` is what a server serves with."""

    authority: Path
    server: ssl.SSLContext
    folder: Path
    root: ec.EllipticCurvePrivateKey

    def client(self, name: str, *, valid: timedelta = timedelta(days=1)) -> Object:
        """A kubeconfig's user who comes with a certificate; made again, it has another."""
        key = ec.generate_private_key(ec.SECP256R1())
        start, end = _span(valid)
        signed = _signed(_named(name), key, self.root, start, end, is_root=False)
        _replace(self.folder / "client.pem", signed.public_bytes(_PEM))
        _replace(self.folder / "client.key", _private(key))
        return {
            "client-certificate": str(self.folder / "client.pem"),
            "client-key": str(self.folder / "client.key"),
            "token": ADMIN_TOKEN,  # the double knows users by nothing else
        }

    def ask(self) -> None:
        """Serve only who comes with a certificate of this authority."""
        self.server.load_verify_locations(self.authority)
        self.server.verify_mode = ssl.CERT_REQUIRED


def certified(folder: Path, *, valid: timedelta = timedelta(days=1)) -> Certified:
    """Certify `localhost` for a time that may have passed already (negative)."""
    now = datetime.now(UTC)
    start, end = _span(valid)
    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    trusted = _signed(
        _named("test authority"),
        root,
        root,
        now - timedelta(days=2),
        now + timedelta(days=2),
        is_root=True,
    )
    signed = _signed(_named("localhost"), key, root, start, end, is_root=False)
    authority, chain = folder / "ca.crt", folder / "server.pem"
    authority.write_bytes(trusted.public_bytes(_PEM))
    chain.write_bytes(_private(key) + signed.public_bytes(_PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    return Certified(authority, context, folder, root)


def _span(valid: timedelta) -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    end = now + valid
    return min(now, end) - timedelta(days=1), end


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _replace(path: Path, content: bytes) -> None:
    """As programs that renew certificates do it: whoever reads sees the old or the new one."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    root: ec.EllipticCurvePrivateKey,
    start: datetime,
    end: datetime,
    *,
    is_root: bool,
) -> x509.Certificate:
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(_named("test authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False
        )
    )
    if is_root:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        built = built.add_extension(usage, critical=True)
    else:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        built = built.add_extension(names, critical=False)
    return built.sign(root, hashes.SHA256())
