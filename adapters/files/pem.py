"""A certificate and its key as text, and whether they are what they should be."""

from collections.abc import Collection

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID


def fault(chain: bytes, key: bytes, hosts: Collection[str] = ()) -> str:
    """Why these are no certificate and its key, for one of these hosts at least; empty if they are.

    The certificate stands before those that vouch for it.
    """
    try:
        certificate = x509.load_pem_x509_certificate(chain)
        private = serialization.load_pem_private_key(key, None)
        fits = private.public_key() == certificate.public_key()
    except (ValueError, TypeError):
        return (
            "it holds no PEM of a certificate and its key without password; put both into it, "
            "the certificate of the host before those that vouch for it"
        )
    if not fits:
        return "its key belongs to another certificate; replace one of them"
    names = _names(certificate)
    if hosts and not any(_is_for(name, host) for name in names for host in hosts):
        return (
            f"its certificate is for {', '.join(names) or 'no host'}, not for {', '.join(hosts)}; "
            "put one for that into it, before those that vouch for it"
        )
    return ""


def _names(certificate: x509.Certificate) -> list[str]:
    """The hosts of a certificate; an old one says its host as its subject."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return found.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        named = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(one.value) for one in named]


def _is_for(name: str, host: str) -> bool:
    name = name.lower()
    return name == host or (name.startswith("*.") and name[1:] == host[host.find(".") :])
